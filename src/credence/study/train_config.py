"""How the posterior is learnt, as settings: the stages, and the loop around them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from credence.core.errors import nearest
from credence.study.learner import BetaConfig, LearnerConfig, ReplayConfig, StopsConfig
from credence.study.learners import LEARNERS, Learners
from credence.study.section import Count, Rate, Section
from credence.study.weights import WeightsConfig


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
