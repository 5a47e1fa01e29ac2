"""A run as a file: every setting with its meaning, checked before anything is loaded.

Reading the file, `--set`, profiles and error messages live in study/toml.py; the parts are made in study/build.py.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from credence.core.errors import ConfigError, nearest
from credence.study.engine import EngineConfig
from credence.study.engines import NAMES, PRIOR, Engines
from credence.study.experts import ExpertConfig, RealignConfig
from credence.study.learner import BetaConfig, LearnerConfig, ReplayConfig, StopsConfig
from credence.study.learners import LEARNERS, Learners
from credence.study.section import Count, Rate, Section
from credence.study.weights import WeightsConfig


def _as_list(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return [value] if isinstance(value, dict) else value


class PriorConfig(Section):
    """Who speaks."""

    model: str = Field("smollm2", description='"smollm2" (embedded), a folder, or a hub id')
    system: str = Field("Reply with one short sentence.", description="system message before every prompt")
    style: Literal["chat", "plain", "raw"] = Field(
        "chat", description="chat: the model's template; plain: role names; raw: the text itself, for base models"
    )
    temperature: Rate = Field(0.7, description="reshapes the prior: what is sampled is what is scored")
    top_k: Count | None = Field(None, examples=[50], description="for `credence sample` only: training refuses it")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, examples=[0.95], description="for `credence sample` only: training refuses it"
    )
    horizon: Count = Field(24, description="most tokens of a reply, the end token counted")
    device: str = Field("cpu", description='a torch device: "cpu", "cuda", "cuda:1", "mps"')
    dtype: Literal["float32", "bfloat16", "float64"] = Field("float32", description="of the weights")


class PromptsConfig(Section):
    """What is asked."""

    source: str = Field(
        "chatterbot:english",
        description="conversation openers of a language, or a file: .jsonl (prompt or messages), .csv (column prompt), "
        ".txt (one a line); other columns reach your rewards by name",
    )
    train: int = Field(0, ge=0, description="prompts to train on; 0: all that the other two leave")
    validation: Count = Field(8, description="prompts that choose the best checkpoint")
    heldout: Count = Field(8, description="prompts that only the final ruler sees; they choose nothing")


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


class EvidenceConfig(Section):
    """What is good: the nats of all entries add up."""

    reward: Annotated[tuple[RewardConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.reward]]"
    )
    ended: EndedConfig = Field(EndedConfig(), description="replies should end by themselves")  # pyright: ignore[reportCallIssue]
    constraint: Annotated[tuple[ConstraintConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.constraint]]"
    )


class TargetConfig(EvidenceConfig):
    """What is good: the nats of all entries add up."""

    expert: Annotated[tuple[ExpertConfig, ...], BeforeValidator(_as_list), Field(strict=False)] = Field(
        (), description="one table, or several as [[evidence.expert]]"
    )
    realign: RealignConfig | None = Field(None, description="a policy at another beta than it was trained at")

    @model_validator(mode="before")
    @classmethod
    def _only_models(cls, given: Any) -> Any:  # noqa: ANN401 - whatever TOML held
        """Where other models are all the evidence, the target is their product and nothing else, unless it says so."""
        if not isinstance(given, dict) or "ended" in given or given.get("reward") or given.get("constraint"):
            return given
        return {**given, "ended": {"cut": 0.0}} if given.get("expert") or given.get("realign") else given

    @property
    def compares(self) -> bool:
        """Whether other models are part of it."""
        return bool(self.expert) or self.realign is not None


class SmcConfig(Section):
    """Sequential Monte Carlo."""

    particles: Annotated[int, Field(ge=2)] = Field(16, description="particles an island")
    islands: Count = Field(4, description="independent runs: they give log Z its standard error")


class MeasureConfig(Section):
    """The ruler: how many draws it rests on."""

    draws: Annotated[int, Field(ge=2)] = Field(256, description="prior draws a held-out prompt")
    policy_draws: Annotated[int, Field(ge=2)] = Field(128, description="policy draws a held-out prompt")
    best_of_n: Count = Field(16, description="candidates of best-of-n")
    smc: SmcConfig = Field(SmcConfig(), description="settings of SMC")  # pyright: ignore[reportCallIssue]


class StopConfig(Section):
    """Stop rules: rounds of replies until the first of them is met; with none, one round."""

    draws: Count | None = Field(None, examples=[4096], description="replies a prompt; 16384 if only others are given")
    log_z_se: Rate | None = Field(None, examples=[0.05], description="standard error of a prompt's log Z, nats")
    tokens: Count | None = Field(None, examples=[100_000], description="model tokens of all prompts together")
    seconds: Rate | None = Field(None, examples=[60.0], description="of all prompts together")

    @property
    def rules(self) -> dict[str, Any]:
        """Those that are given."""
        return self.model_dump(exclude_none=True)


class SampleConfig(Engines):
    """`credence sample`: which engine, and each engine's own table."""

    engine: str = Field("smc", description=f"how to draw: {', '.join(NAMES)}")
    draws: Count | None = Field(
        None, examples=[8], description="replies a prompt, by default 8; under a stop rule a round, by default 64"
    )
    stop: StopConfig = Field(StopConfig(), description="when enough has been drawn")  # pyright: ignore[reportCallIssue]

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        if engine not in NAMES:
            raise ValueError(f"there is no such engine.{nearest(engine, NAMES)} Known: {', '.join(NAMES)}")
        return engine

    @property
    def size(self) -> int:
        """Replies a prompt, or of a round."""
        return self.draws or (64 if self.stop.rules else 8)

    @property
    def chosen(self) -> EngineConfig | None:
        """The table of the engine; None for the prior's own draws."""
        return None if self.engine == PRIOR else getattr(self, self.engine)


class DpgConfig(Section):
    """Stage 1: forward KL on weighted prior draws."""

    prompts: Count = Field(48, description="training prompts")
    draws: Annotated[int, Field(ge=2)] = Field(32, description="prior draws a training prompt")
    epochs: int = Field(1, ge=0, description="passes over these draws; 0 skips the stage")
    batch: Count = Field(8, description="prompts a step")
    baseline: bool = Field(True, description="subtract π/q: less variance, but every draw then needs a backward pass")
    lr: Rate = Field(3e-4, description="Adam's step size after warm-up")
    seconds: Rate | None = Field(None, examples=[120.0], description="stop after this many seconds, if earlier")


ValueName = Literal["none", "soft_q", "path", "gumbel", "fudge", "ctl", "sixo", "linear", "ilql"]


class ValueConfig(Section):
    """The value of prefixes (method = "value"), and a stage of its own on the draws of [train.dpg]."""

    learner: ValueName = Field(
        "none",
        description="a loss of values that comes before the other stages; none: no such stage",
    )
    width: int = Field(0, ge=0, description="units of the head's hidden layer; 0: linear in the model's states")
    follow: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="share of the way that soft_q's target network goes a step"
    )
    epochs: Count = Field(3, description="passes over the draws")
    batch: Count = Field(16, description="prompts a step")
    lr: Rate = Field(1e-4, description="Adam's step size after warm-up")
    seconds: Rate | None = Field(None, examples=[120.0], description="stop after this many seconds, if earlier")
    span: int | None = Field(
        None, ge=0, examples=[2], description="of path: tokens of a path; default 0: whole replies"
    )
    tilt: float | None = Field(
        None, allow_inf_nan=False, examples=[1.0], description="of path: whole replies weigh e^(tilt * nats); default 0"
    )
    expectile: float | None = Field(
        None, ge=0.5, lt=1, examples=[0.9], description="of ilql: from the mean, 0.5, towards the maximum; default 0.7"
    )
    cql: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        examples=[0.1],
        description="of ilql: weight of its pull to the draws; default 0",
    )


class TrainConfig(WeightsConfig, Learners):
    """How the posterior is learnt."""

    engine: str = Field("reinforce", description=f"of stage 2: {', '.join(LEARNERS)}")
    method: Literal["lora", "full", "value"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - frozen
        "lora", description="what is trained: adapters, the weights, or a value of prefixes on the frozen model"
    )
    validate_every: Count = Field(5, description="steps between two looks at the validation prompts")
    validation_draws: Annotated[int, Field(ge=2)] = Field(16, description="policy draws a validation prompt")
    checkpoint_every: int = Field(
        5, ge=0, description="steps between two checkpoints, from which --resume goes on; 0: only where a stage ends"
    )
    keep: Count = Field(2, description="checkpoints kept of a stage that goes on; all are removed when the run is done")
    value: ValueConfig = Field(ValueConfig(), description="stage 0")  # pyright: ignore[reportCallIssue]
    dpg: DpgConfig = Field(DpgConfig(), description="stage 1")  # pyright: ignore[reportCallIssue]
    beta: BetaConfig = Field(BetaConfig(), description="of stage 2")  # pyright: ignore[reportCallIssue]
    stop: StopsConfig = Field(StopsConfig(), description="of stage 2")  # pyright: ignore[reportCallIssue]
    replay: ReplayConfig = Field(ReplayConfig(), description="of stage 2")  # pyright: ignore[reportCallIssue]

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        if engine not in LEARNERS:
            raise ValueError(f"there is no such engine.{nearest(engine, LEARNERS)} Known: {', '.join(LEARNERS)}")
        return engine

    @property
    def chosen(self) -> LearnerConfig:
        """The table of the engine of stage 2."""
        return getattr(self, self.engine)


TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]


class TrackConfig(Section):
    """Who else is told how the run goes."""

    to: Annotated[tuple[TrackerName, ...], Field(strict=False)] = Field(
        (), description='any of "tensorboard", "wandb", "trackio", "mlflow" (docs/runs.md)'
    )
    project: str = Field("credence", min_length=1, description="that the run belongs to, where a tracker has projects")


class Placed(Section):
    """A whole file of settings: `folder` is where its relative paths begin, `LEAST` what every file must say."""

    LEAST: ClassVar[Mapping[str, Any]] = {"evidence": {}}
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """Where relative paths begin: the config file's folder."""
        return self._folder

    def at(self, folder: Path) -> Self:
        """The same settings with relative paths beginning at `folder`."""
        copy = self.model_copy()
        copy._folder = folder
        return copy


class RunConfig(Placed):
    """Everything about one run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="the run's folder under runs/")
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same draws")
    prior: PriorConfig = Field(PriorConfig(), description="who speaks")  # pyright: ignore[reportCallIssue]
    prompts: PromptsConfig = Field(PromptsConfig(), description="what is asked")  # pyright: ignore[reportCallIssue]
    evidence: TargetConfig = Field(description="what is good")
    measure: MeasureConfig = Field(MeasureConfig(), description="the ruler")  # pyright: ignore[reportCallIssue]
    sample: SampleConfig = Field(SampleConfig(), description="how `credence sample` draws")  # pyright: ignore[reportCallIssue]
    train: TrainConfig = Field(TrainConfig(), description="how the posterior is learnt")  # pyright: ignore[reportCallIssue]
    track: TrackConfig = Field(TrackConfig(), description="who else is told")  # pyright: ignore[reportCallIssue]

    def check_training(self) -> None:
        """Refuse what can be sampled but not trained towards, with the reason.

        Raises:
            ConfigError: as check_learnable and check_finite.
        """
        self.check_learnable()
        self.check_finite()

    def check_learnable(self) -> None:
        """Refuse what no learner can train towards, nor the settings of one.

        Raises:
            ConfigError: top_k or top_p, other models as evidence, a learner of values without values, or settings that
                it does not have.
        """
        if self.evidence.compares:
            name = "expert" if self.evidence.expert else "realign"
            raise ConfigError(
                f"evidence.{name} states what other models make of the prior while it decodes: `credence sample` draws "
                "from it, nothing is trained towards it (a run that is resumed could not tell whether those models are "
                "still the same). Train on the reward itself."
            )
        if self.train.value.learner != "none" and self.train.method != "value":
            raise ConfigError(
                f"train.value.learner = {self.train.value.learner!r} trains a value of prefixes, and train.method = "
                f'{self.train.method!r} trains weights of the model. Set train.method = "value", or remove the learner.'
            )
        from credence.study.values import check_learner  # which imports this

        check_learner(self.train.value, self.train.dpg.draws)
        for name in ("top_k", "top_p"):
            if (value := getattr(self.prior, name)) is not None:
                raise ConfigError(
                    f"prior.{name} = {value} makes tokens impossible, so KL(posterior‖policy) would be inf during "
                    f"training. Remove it for `credence run` and use prior.temperature; `credence sample` allows it."
                )

    def check_finite(self) -> None:
        """Refuse evidence that forbids replies, for learners of the reverse KL.

        Raises:
            ConfigError: names the entry of -inf nats.
        """
        hard = [
            f"evidence.constraint.{i}.otherwise"
            for i, c in enumerate(self.evidence.constraint)
            if math.isinf(c.otherwise)
        ]
        hard += ["evidence.ended.cut"] if math.isinf(self.evidence.ended.cut) else []
        if hard:
            raise ConfigError(
                f"{hard[0]} = -inf forbids replies, so KL(policy‖posterior) would be inf for every policy that still "
                "says one. Give finite nats (-10 is nearly as strict), or use `credence sample`, which allows -inf."
            )
