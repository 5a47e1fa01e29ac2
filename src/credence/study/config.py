"""A run as a file: every setting with its meaning, checked before anything is loaded.

Reading the file, `--set`, profiles and error messages live in study/toml.py; the parts are made in study/build.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, field_validator

from credence.core.errors import nearest
from credence.study.engine import EngineConfig
from credence.study.engines import NAMES, PRIOR, Engines
from credence.study.evidence_config import TargetConfig
from credence.study.section import Count, Rate, Section
from credence.study.train_config import TrainConfig


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
