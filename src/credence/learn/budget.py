"""How much of a stage's budget is used, in steps and perhaps in seconds, and the step size that follows from it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Budget:
    """Steps, and wall-clock seconds from when it is made: whichever runs out first ends the stage.

    Another budget may be kept outside, and what ends it be a stop rule: here it only lets the step size fall.

    Tested in tests/unit/test_loop.py, test_resume.py and test_lessons.py, by a clock that counts.

    Attributes:
        steps: at most.
        seconds: at most; None for no limit.
        spent: share used of the budget that is kept outside; None without one.
        begun: time.monotonic() at the beginning, moved by `back`, so that the time before a kill counts.
        cpu_begun: time.process_time(), likewise.
    """

    steps: int
    seconds: float | None
    spent: Callable[[], float] | None = None
    begun: float = field(init=False)
    cpu_begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.back(0.0)

    @property
    def elapsed(self) -> float:
        """Seconds, those before a kill counted."""
        return time.monotonic() - self.begun

    @property
    def cpu(self) -> float:
        """CPU seconds of the process, likewise."""
        return time.process_time() - self.cpu_begun

    @property
    def late(self) -> bool:
        """Whether the seconds are over."""
        return self.seconds is not None and self.elapsed > self.seconds

    def used(self, steps: int) -> float:
        """Share of the budget that is used after so many steps, by what runs out first."""
        clock = 0.0 if self.seconds is None else self.elapsed / self.seconds
        return max(steps / self.steps, clock, 0.0 if self.spent is None else self.spent())

    def back(self, elapsed: float, cpu: float = 0.0) -> None:
        """Go on where a checkpoint says that so many seconds, and CPU seconds, were used."""
        self.begun, self.cpu_begun = time.monotonic() - elapsed, time.process_time() - cpu


def warmed(lr: float, warmup: int, step: int, used: float) -> float:
    """Adam's step size at step number `step` (from 1): `lr` after `warmup` steps of rise, falling to a tenth of it."""
    return lr * min(1.0, step / max(1, warmup)) * (1 - 0.9 * min(1.0, used))
