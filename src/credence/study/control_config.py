"""A control run as a file: a world, a prior policy over its actions, β, and three engines that learn."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from credence.study.config import Placed, TrackConfig
from credence.study.section import Count, Rate, Section

Share = Annotated[float, Field(ge=0, le=1)]
Scalar = str | int | float | bool | list[str]


class WorldConfig(Section):
    """The world: a Gymnasium environment with discrete observations and actions and a table P of its outcomes."""

    id: str = Field(description='what gymnasium.make knows, "FrozenLake-v1"; "module:Name-v0" imports the module first')
    options: dict[str, Scalar] = Field({}, description="handed to the environment: map_name, is_slippery, …")
    max_steps: Count | None = Field(
        None,
        examples=[100],
        description="an episode is cut here and earns no more; default: the environment's own limit",
    )
    discount: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="γ: 1 adds up an episode's rewards; below 1, each step the world may stop with chance 1 − γ"
    )
    actions: tuple[str, ...] = Field((), strict=False, description="the actions' words, where they are not known here")


class ActionPriorConfig(Section):
    """The prior policy q(a|s): where learning starts, and what every departure from it is measured against."""

    model: str = Field("", description='a language model that is told the state and asked for the action: "smollm2", …')
    law: str = Field(
        "uniform", description='without a model: "uniform", "goalward" (on a map), or a .json file with a row a state'
    )
    strength: Rate = Field(1.0, description="of goalward: log-odds of a step nearer to the goal against one that stays")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the uniform law mixed in, so that no action is impossible"
    )
    told: str = Field(
        "",
        description="how the model is told a state: {state} {words}, on a map {row} {column} {around} {goal} {toward}",
    )
    system: str = Field("Answer with one word.", description="system message of the model")
    style: Literal["chat", "plain", "raw"] = Field("chat", description="how the question is rendered")
    temperature: Rate = Field(1.0, description="reshapes the model")
    device: str = Field("cpu", description="where the model computes")


class QConfig(Section):
    """Soft Q-learning, and Q-learning without the KL."""

    rate: Share = Field(1.0, description="step size: rate · N(s,a)^−power")
    power: Share = Field(0.7, description="0: constant steps; above ½: the values converge")
    explore: Share = Field(0.1, description="share of uniformly random actions while learning")


class SarsaConfig(Section):
    """Soft SARSA, and SARSA without the KL."""

    expected: bool = Field(False, description="average over the next action instead of taking the one drawn")
    rate: Share = Field(1.0, description="step size: rate · N(s,a)^−power")
    power: Share = Field(0.7, description="0: constant steps; above ½: the values converge")
    explore: Share = Field(0.0, description="with the KL: soft policies explore by themselves; it would be valued too")
    explore_without: Share = Field(0.1, description="without the KL: ε of the ε-greedy policy that SARSA values")


class ActorConfig(Section):
    """Policy gradient with the KL inside the return, and REINFORCE without it."""

    episodes: Count = Field(8, description="episodes a gradient step")
    lr: Rate = Field(0.05, description="Adam's step size, in logits")
    baseline: Share = Field(0.1, description="how fast the baseline b(s) follows the returns")
    trace: Share = Field(1.0, description="λ of the returns: 1 counts what really came, less leans on the baseline")
    steps: Count | None = Field(
        None, examples=[100_000], description="steps in the world, a run, if other than the value engines'"
    )


class LearnConfig(Section):
    """How long, how often, how many times."""

    seeds: Annotated[int, Field(ge=2)] = Field(
        20, description="independent runs of each engine: intervals are over them"
    )
    steps: Count = Field(20_000, description="steps in the world, a run")
    looks: Annotated[int, Field(ge=2)] = Field(40, description="how often the policy is measured on the way")
    checkpoint_every: int = Field(
        5,
        ge=0,
        description="looks between two checkpoints, from which --resume goes on; 0: only where an engine is done",
    )
    keep: Count = Field(2, description="checkpoints kept of an engine at work; all are removed when the run is done")
    q: QConfig = Field(QConfig(), description="soft Q-learning")  # pyright: ignore[reportCallIssue]
    sarsa: SarsaConfig = Field(SarsaConfig(), description="soft SARSA")  # pyright: ignore[reportCallIssue]
    actor: ActorConfig = Field(ActorConfig(), description="policy gradient")  # pyright: ignore[reportCallIssue]


class ControlConfig(Placed):
    """Everything about one control run."""

    LEAST: ClassVar[Mapping[str, Any]] = {"beta": 1.0, "environment": {"id": ""}}
    name: str = Field("control", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="folder under runs/")
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same results")
    beta: float = Field(description="reward units a nat of KL(π‖q): the price of departing from the prior")
    environment: WorldConfig = Field(description="the world")
    prior: ActionPriorConfig = Field(ActionPriorConfig(), description="q(a|s)")  # pyright: ignore[reportCallIssue]
    learn: LearnConfig = Field(LearnConfig(), description="the engines")  # pyright: ignore[reportCallIssue]
    track: TrackConfig = Field(TrackConfig(), description="who else is told")  # pyright: ignore[reportCallIssue]

    @field_validator("beta")
    @classmethod
    def _positive(cls, beta: float) -> float:
        if not (beta > 0 and math.isfinite(beta) and math.isfinite(1 / beta)):
            raise ValueError(
                "reward units per nat must be finite and above 0, and so must 1/beta (each engine also runs without "
                "the KL)"
            )
        return beta
