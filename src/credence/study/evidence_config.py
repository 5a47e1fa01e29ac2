"""What is good, as settings: each entry gives nats, and nats add up."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from credence.study.experts import ExpertConfig, RealignConfig
from credence.study.listening import ListenerConfig
from credence.study.preference import PreferenceConfig
from credence.study.reward_heads import RewardHeadConfig
from credence.study.section import Rate, Section


def _as_list(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return [value] if isinstance(value, dict) else value


class RewardConfig(Section):
    """One reward: nats = weight · r / beta."""

    fn: str = Field(description='"vader", or "file.py:function" with fn(prompts, completions, **columns) -> floats')
    beta: float = Field(description="reward units per nat: small is strong evidence")
    weight: float = Field(1.0, description="scales this reward among several; negative: less of it is better")
    name: str = Field("", description="of the reading in reports; the function's own name by default")
    bound: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None,
        examples=[1.0],
        description="largest value the reward (negated, if weight is negative) can take: rejection needs it",
    )
    on_prefix: bool = Field(
        False,
        description="unfinished texts already hint at the reward: SMC then steers by it (never changes the target)",
    )
    messages: bool = Field(
        False, description="fn gets prompts and completions as message lists, the form in which TRL gives chats"
    )
    none: Literal["refuse", "skip"] = Field(
        "refuse",
        description="a None from fn: refuse it as a mistake, or skip this reward for that reply (0 nats)",
    )
    timeout: Rate = Field(60.0, description="seconds after which one call is given up")

    @field_validator("beta")
    @classmethod
    def _positive(cls, beta: float) -> float:
        if not (beta > 0 and math.isfinite(beta) and math.isfinite(1 / beta)):
            raise ValueError(
                "reward units per nat must be finite and above 0, and so must 1/beta (for the pure maximum there is "
                "no posterior; try 0.05 times the reward's range)"
            )
        return beta

    @field_validator("weight")
    @classmethod
    def _usable(cls, weight: float) -> float:
        if weight == 0 or not math.isfinite(weight):
            raise ValueError("a finite weight other than 0 is needed (remove the entry to ignore the reward)")
        return weight


class EndedConfig(Section):
    """A reply should come to its own end."""

    cut: float = Field(
        -3.0,
        le=0,
        description="nats of a reply that the horizon cut; 0 switches it off, as where evidence is other models alone",
    )


class ConstraintConfig(Section):
    """An event of the text: give contains, or matches, or min_chars and max_chars."""

    contains: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="at least one of these stands in the reply"
    )
    matches: str = Field("", description="a regular expression found in the reply")
    min_chars: int = Field(0, ge=0, description="least characters")
    max_chars: int | None = Field(None, ge=0, description="most characters")
    otherwise: float = Field(-math.inf, lt=0, description="nats where it fails; training needs a finite value")

    @model_validator(mode="after")
    def _one_event(self) -> Self:
        length = self.min_chars > 0 or self.max_chars is not None
        if [bool(self.contains), bool(self.matches), length].count(True) != 1:
            raise ValueError("exactly one of contains, matches, or min_chars/max_chars is needed in each entry")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(f"max_chars = {self.max_chars} lies below min_chars = {self.min_chars}")
        if any(not word for word in self.contains):
            raise ValueError("contains holds an empty word, which every reply contains")
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ValueError(f"matches = {self.matches!r} is not a regular expression: {error}") from None
        return self


class ClassifierConfig(Section):
    """A label that replies should have, by a `credence believe classify` run; nats = log p(label) / beta."""

    run: str = Field(examples=["runs/sentiment_zh"], description="the run's folder or name")
    label: str = Field(examples=["good"], description="one of its labels")
    beta: Rate = Field(1.0, description="nats of log p(label | reply) per nat of evidence; 1 is Bayes' rule itself")
    on_prefix: bool = Field(
        False, description="half a reply already tells its label: SMC then steers by it (never changes the target)"
    )
    name: str = Field("", description="of the reading in reports; log p(label) by default")


class EvidenceConfig(Section):
    """What is good: the nats of all entries add up."""

    reward: Annotated[tuple[RewardConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.reward]]"
    )
    ended: EndedConfig = Field(EndedConfig(), description="replies should end by themselves")  # pyright: ignore[reportCallIssue]
    constraint: Annotated[tuple[ConstraintConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.constraint]]"
    )
    classifier: Annotated[tuple[ClassifierConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.classifier]]"
    )

    @property
    def first_beta(self) -> float | None:
        """β of the reading that reports call the reward; None where there is neither reward nor classifier."""
        if self.reward:
            return self.reward[0].beta / abs(self.reward[0].weight)
        return self.classifier[0].beta if self.classifier else None


class TargetConfig(EvidenceConfig):
    """What is good: the nats of all entries add up."""

    expert: Annotated[tuple[ExpertConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.expert]]"
    )
    realign: RealignConfig | None = Field(None, description="a policy at another beta than it was trained at")
    listener: ListenerConfig | None = Field(None, description="what the model would say on hearing the reply")
    preference: PreferenceConfig | None = Field(None, description="a reward that comparisons of replies taught")
    reward_head: Annotated[tuple[RewardHeadConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.reward_head]]"
    )

    @model_validator(mode="before")
    @classmethod
    def _only_models(cls, given: Any) -> Any:  # noqa: ANN401 - whatever TOML held
        """Where other models are all the evidence, the target is their product and nothing else, unless it says so."""
        more = isinstance(given, dict) and any(
            given.get(x) for x in ("reward", "classifier", "constraint", "listener", "preference", "reward_head")
        )
        if not isinstance(given, dict) or "ended" in given or more:
            return given
        return {**given, "ended": {"cut": 0.0}} if given.get("expert") or given.get("realign") else given

    @property
    def compares(self) -> bool:
        """Whether other models are part of it."""
        return bool(self.expert) or self.realign is not None

    @property
    def needs_prior(self) -> bool:
        """Whether it cannot be made before the prior is loaded."""
        return self.compares or self.learnt or self.listener is not None

    @property
    def learnt(self) -> bool:
        """Whether a reward that opinions taught is part of it: it reads states or texts, and centres them."""
        return self.preference is not None or bool(self.reward_head)

    @property
    def first_beta(self) -> float | None:
        """β of the reading that reports call the reward; None where nothing has one."""
        beta = super().first_beta
        if beta is not None:
            return beta
        if self.preference is not None:
            return self.preference.beta
        return self.reward_head[0].beta if self.reward_head else None
