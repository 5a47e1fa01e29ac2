"""What one engine of a comparison may spend, in model tokens or CPU seconds: a budget as given, and one being spent."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from credence.core.errors import ConfigError, nearest
from credence.core.meter import Meter
from credence.core.types import Cost

Unit = Literal["tokens", "seconds"]
UNITS: tuple[Unit, ...] = ("tokens", "seconds")
HOW = "tokens=200_000 (model tokens of each engine and seed) or seconds=300 (its CPU seconds)"
"""What a budget looks like."""


@dataclass(frozen=True)
class Budget:
    """What each engine may spend with each seed.

    Raises:
        ConfigError: not a finite number above 0.
    """

    unit: Unit
    limit: float

    def __post_init__(self) -> None:
        if not (self.limit > 0 and math.isfinite(self.limit)):
            raise ConfigError(f"a budget of {self.limit:g} {self.unit} buys nothing: give a number above 0, {HOW}.")

    @property
    def words(self) -> str:
        """As a person reads it."""
        return f"{self.limit:,.0f} model tokens" if self.unit == "tokens" else f"{self.limit:,g} CPU seconds"

    def of(self, cost: Cost) -> float:
        """A cost in this budget's unit."""
        return cost.tokens if self.unit == "tokens" else cost.seconds


def budget(text: str) -> Budget:
    """A budget as the command line gives it.

    Raises:
        ConfigError: not unit=number, an unknown unit, no number, or none above 0.
    """
    unit, equal, number = (part.strip() for part in text.partition("="))
    if unit not in UNITS:
        if re.fullmatch(r"[\d_.,]+", text.strip()):
            raise ConfigError(f"--budget {text} does not say of what. Write {HOW}.")
        raise ConfigError(f"--budget {text}: there is no unit {unit!r}.{nearest(unit, UNITS)} Write {HOW}.")
    try:
        value = float(number)
    except ValueError:
        shown = repr(number) if equal and number else "nothing"
        raise ConfigError(f"--budget {text}: {shown} stands where a number is needed. Write {HOW}.") from None
    if unit == "tokens" and value != math.floor(value):
        raise ConfigError(f"--budget {text}: tokens come whole. Write {HOW}.")
    return Budget("tokens" if unit == "tokens" else "seconds", value)


@dataclass(eq=False)
class Allowance:
    """A budget being spent by an engine that trains: a stop rule, and the share used by the stage at hand.

    A step is not begun where one as dear as the dearest so far, and the validation that would end the stage, no longer
    fit: what is spent stays within the budget, unless what comes before the first step already exceeds it.

    Attributes:
        budget: the whole.
        meter: of the tokens; open.
        begun: time.process_time() at the beginning.
    """

    budget: Budget
    meter: Meter
    begun: float = field(default_factory=time.process_time)
    _first: float = 0.0
    _last: float | None = None
    _look: float = 0.0
    _dearest: float = 0.0

    @property
    def cost(self) -> Cost:
        """Spent until now."""
        return Cost(self.meter.tokens, time.process_time() - self.begun)

    @property
    def used(self) -> float:
        """The same in the budget's unit."""
        return self.budget.of(self.cost)

    def stage(self) -> None:
        """Another stage begins: what is left is its own."""
        self._first, self._last, self._look, self._dearest = self.used, None, 0.0, 0.0

    def share(self) -> float:
        """How much of what was left to this stage is used."""
        left = self.budget.limit - self._first
        return 1.0 if left <= 0 else min(1.0, (self.used - self._first) / left)

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> str:
        """Why no further step is begun, or nothing; asked before each step."""
        now = self.used
        if self._last is None:  # what went before is the look at the policy as it came
            self._look = now - self._first
        else:
            self._dearest = max(self._dearest, now - self._last)
        self._last = now
        return "" if now + self._dearest + self._look <= self.budget.limit else f"{self.budget.words} are spent"
