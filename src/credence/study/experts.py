"""Other models as evidence, in the file: experts with their weights, and a policy realigned to another β."""

import math
from typing import TYPE_CHECKING, Self

from pydantic import Field, field_validator, model_validator

from credence.core.protocols import Evidence, StepPrior
from credence.evidence.experts import Expert
from credence.posterior.experts import product_of_experts
from credence.study.section import Rate, Section

if TYPE_CHECKING:  # config.py imports this
    from credence.study.evidence_config import TargetConfig
    from credence.study.job import Job


class ExpertConfig(Section):
    """An expert: the prior is multiplied by (model/against)^weight, as a law of whole replies."""

    model: str = Field(
        examples=["runs/small-tuned"],
        description="what has learnt something: a run, an exported model, a folder or a hub id",
    )
    against: str | None = Field(
        None, examples=["models/small"], description="the same before it learnt; default: the prior"
    )
    weight: float = Field(1.0, description="1 takes it over as it is, more is more of it, negative turns away from it")

    @field_validator("weight")
    @classmethod
    def _usable(cls, weight: float) -> float:
        if weight == 0 or not math.isfinite(weight):
            raise ValueError("a finite weight other than 0 is needed (remove the entry to ignore the expert)")
        return weight


class RealignConfig(Section):
    """Realignment: what a policy that was trained at one beta says at another; needs no reward."""

    policy: str = Field(examples=["runs/latest"], description="trained from this prior: a run or an exported model")
    beta: Rate = Field(examples=[0.1], description="at which it was trained, reward units per nat")
    to: Rate = Field(examples=[0.2], description="wanted; smaller than beta goes beyond what the policy has learnt")

    @model_validator(mode="after")
    def _power(self) -> Self:
        if not 0 < self.beta / self.to < math.inf:
            raise ValueError(f"beta/to = {self.beta:g}/{self.to:g} is no finite power above 0")
        return self


def experts(given: "TargetConfig", job: "Job", prior: StepPrior) -> Evidence:
    """The experts and the realigned policy as evidence; a model that is named twice is loaded once.

    Args:
        given: at least one of them.
        job: whose prior's settings hold for the other models too (study.laws).
        prior: what they multiply, and what is compared with where nothing else is said.

    Raises:
        ConfigError: no such model, or other tokens, ends or horizon than the prior's.
        BackendError: its files cannot be read.
    """
    from credence.study.laws import law  # which imports build, by way of served, and build imports this

    known: dict[str, StepPrior] = {}

    def named(name: str) -> StepPrior:
        if name not in known:
            known[name] = law(name, job, prior)
        return known[name]

    pairs = [Expert(named(e.model), prior if e.against is None else named(e.against), e.weight) for e in given.expert]
    if given.realign is not None:
        pairs.append(Expert(named(given.realign.policy), prior, given.realign.beta / given.realign.to))
    return product_of_experts(prior, *pairs).evidence
