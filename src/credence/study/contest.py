"""What a comparison is of: engines by name, chains of training stages, one budget for each, and how many seeds.

Names come from the registries of `credence sample` and `credence run`; every engine's settings are those of the config.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from credence.core.errors import ConfigError, nearest
from credence.study.allowance import Budget
from credence.study.config import RunConfig
from credence.study.engines import NAMES
from credence.study.learner import LearnerConfig
from credence.study.learners import LEARNERS
from credence.study.trainable import check_training

VALUE, DPG = "value", "dpg"
STAGES = (VALUE, DPG, *LEARNERS)
"""What a chain is made of, in this order; of the last ones, one."""
KNOWN = (*NAMES, *STAGES)
KIND = "compare"
"""Of the run, in its manifest."""
SUFFIX = "-compare"
"""Of its folder, behind the config's name."""


@dataclass(frozen=True)
class Entrant:
    """One engine as it was named.

    Attributes:
        name: as given, without blanks.
        stages: of training, in order; none of an engine that draws.
    """

    name: str
    stages: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["draw", "train"]:
        """How it comes to its law."""
        return "train" if self.stages else "draw"


@dataclass(frozen=True)
class Contest:
    """A comparison, checked.

    Attributes:
        config: target, prompts, seed, and each engine's settings.
        entrants: in the order given.
        budget: of each engine and seed.
        seeds: independent runs of each engine.

    Raises:
        ConfigError: no seed.
    """

    config: RunConfig
    entrants: tuple[Entrant, ...]
    budget: Budget
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: at least one run of each engine is needed; 3 show how they vary.")

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return self.config.name + SUFFIX

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest says beside the config."""
        return {
            "engines": [e.name for e in self.entrants],
            "budget": {self.budget.unit: self.budget.limit},
            "seeds": self.seeds,
        }


def entrants(text: str) -> tuple[Entrant, ...]:
    """Engines from a comma-separated list; a + joins stages of training.

    Raises:
        ConfigError: an empty list, an unknown name (with the nearest), one given twice, or stages that do not join.
    """
    given = [part.strip() for part in text.split(",")]
    if not any(given):
        raise ConfigError(f"--engines names none. Give some of: {', '.join(KNOWN)}; stages join, as dpg+reinforce.")
    found = [entrant(part) for part in given if part]
    for i, one in enumerate(found):
        if one.name in [other.name for other in found[:i]]:
            raise ConfigError(f"--engines names {one.name} twice: once is enough, --seeds says how often each runs.")
    return tuple(found)


def entrant(text: str) -> Entrant:
    """One of them.

    Raises:
        ConfigError: as `entrants`.
    """
    parts = [part.strip().lower() for part in text.split("+")]
    for part in parts:
        name = part.replace("-", "_")
        if part not in KNOWN and name not in KNOWN:
            raise ConfigError(
                f"--engines: there is no engine {part!r}.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}"
            )
    names = [part if part in KNOWN else part.replace("-", "_") for part in parts]
    if len(names) == 1:
        return Entrant(names[0], (names[0],) if names[0] in STAGES else ())
    whole = "+".join(names)
    for name in names:
        if name not in STAGES:
            raise ConfigError(f"--engines {whole}: {name} draws, and + joins stages of training. Name it by itself.")
    learners = [name for name in names if name in LEARNERS]
    if len(learners) > 1:
        raise ConfigError(
            f"--engines {whole}: {' and '.join(learners)} are both engines of the last stage, and a chain has one. "
            f"Compare {', '.join('+'.join([*[n for n in names if n not in LEARNERS], one]) for one in learners)}."
        )
    ordered = [name for name in STAGES if name in names]
    if names != ordered:
        raise ConfigError(f"--engines {whole}: stages follow one another as {'+'.join(ordered)}. Write that.")
    return Entrant(whole, tuple(names))


def variant(config: RunConfig, stages: Sequence[str]) -> RunConfig:
    """The config that trains these stages and no other; the last one is ended by nothing but its allowance.

    Raises:
        ConfigError: a stage of values that the config does not name; or as trainable.check_training.
    """
    train, last = config.train, stages[-1]
    changes: dict[str, Any] = {}
    if VALUE not in stages:
        changes[VALUE] = train.value.model_copy(update={"learner": "none"})
    elif train.value.learner == "none":
        raise ConfigError(
            'value: train.value.learner names no loss. Set it (e.g. "soft_q"), and train.method = "value".'
        )
    elif last == VALUE:
        changes[VALUE] = train.value.model_copy(update={"seconds": None})
    epochs = max(1, train.dpg.epochs) if DPG in stages else 0
    changes[DPG] = train.dpg.model_copy(
        update={"epochs": epochs, "seconds": None if last == DPG else train.dpg.seconds}
    )
    engine = last if last in LEARNERS else train.engine
    own: LearnerConfig = getattr(train, engine)
    steps = max(1, own.steps) if last == engine else 0
    changes["engine"], changes[engine] = engine, own.model_copy(update={"steps": steps, "seconds": None})
    out = config.model_copy(update={"train": train.model_copy(update=changes)})
    check_training(out)
    return out
