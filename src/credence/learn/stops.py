"""What ends a stage before its steps are used up: rules that read the history and say why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from credence.core.errors import ConfigError
from credence.learn.schedules import kl_prior

Stop = Callable[[Sequence[Mapping[str, Any]]], str]
"""All records so far -> why to stop, or "" to go on. By the records alone, so that a resumed run agrees."""


@dataclass(frozen=True)
class KLBudget:
    """Stop once KL(π‖π0), by the mean of `kl_prior` over the last steps, is spent.

    Tested in tests/unit/test_schedules.py.

    Args:
        nats: that may be spent.
        over: steps of the mean: one step's estimate is noisy.

    Raises:
        ConfigError: nats not above 0, or over below 1; a learner whose records tell no kl_prior.
    """

    nats: float
    over: int = 3

    def __post_init__(self) -> None:
        if not self.nats > 0 or self.over < 1:
            raise ConfigError(f"a KL budget of {self.nats} nats over {self.over} steps: both must be positive.")

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> str:
        """Why, or nothing."""
        last = [kl_prior(record) for record in history[-self.over :]]
        mean = sum(last) / max(1, len(last))
        if len(last) < self.over or mean < self.nats:
            return ""
        return f"the KL budget of {self.nats:g} nats is spent: {mean:.3g} over the last {self.over} steps"


@dataclass(frozen=True)
class NoBetter:
    """Stop after so many looks at the validation prompts without a new best. Tested in tests/unit/test_schedules.py.

    Args:
        looks: in a row.

    Raises:
        ConfigError: below 1.
    """

    looks: int = 3

    def __post_init__(self) -> None:
        if self.looks < 1:
            raise ConfigError(f"looks={self.looks}: at least one look at the validation prompts is needed.")

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> str:
        """Why, or nothing."""
        seen = [record["best"] for record in history if "best" in record][-self.looks :]
        if len(seen) < self.looks or any(seen):
            return ""
        return f"no better checkpoint in the last {self.looks} looks"
