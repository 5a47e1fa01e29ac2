"""Progress with an ETA while a run goes on: bars on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Live:
    """The parts of a run with their expected shares of the time; `part` opens one, `tick` moves it.

    The overall ETA scales the parts still to come by how the finished ones compared with what was expected of them.
    """

    def __init__(self, console: Console, parts: Mapping[str, float]) -> None:
        self.console, self.parts = console, dict(parts)
        self.begun = time.monotonic()
        self.done: dict[str, float] = {}
        self._part, self._share, self._part_began, self._spoken = "", 0.0, self.begun, self.begun
        self._bars: Progress | None = None
        self._whole = TaskID(0)

    @contextmanager
    def running(self) -> Generator["Live"]:
        """Show the bars until the block ends."""
        if not self.console.is_terminal:
            yield self
            return
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=self.console,
            transient=True,
        )
        with bars:
            self._bars, self._whole = bars, bars.add_task("all", total=1.0, eta="")
            yield self
        self._bars = None

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """One part of the run, by the name it was planned under."""
        self._part, self._share, self._part_began = name, 0.0, time.monotonic()
        self.say(f"[bold]{name}[/bold]")
        self._show()
        yield
        self.done[name] = time.monotonic() - self._part_began
        self._part, self._share = "", 0.0
        self._show()

    def tick(self, share: float) -> None:
        """The current part is this far (0 to 1)."""
        self._share = min(1.0, share)
        self._show()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    def step(self, record: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """One training step, as a line."""
        cells = [
            f"{record['stage']:<9} {record['step']:>4}",
            f"ELBO {record['elbo']:7.2f}",
            f"E\\[r] {record['reward']:6.3f}",
            f"KL(π‖π0) {record['kl_prior']:5.2f}",
            f"KL(π‖p*) ≳ {record['kl_posterior_estimate']:5.2f}",
            f"{clock['tokens_per_s']:4.0f} tok/s",
        ]
        if "val_elbo" in record:
            star = " [green]★ best[/green]" if record["best"] else ""
            cells.append(f"validation {record['val_elbo']:.2f} ± {record['val_elbo_se']:.2f}{star}")
        self.tick(float(clock["progress"]))
        self.say("  " + "  ".join(cells) + f"  [dim]ETA {duration(self.eta())}[/dim]")

    def eta(self) -> float:
        """Seconds expected to remain."""
        finished = sum(self.parts.get(name, 0.0) for name in self.done)
        now = time.monotonic() - self._part_began if self._part else 0.0
        spent = sum(self.done.values()) + now
        planned = finished + self.parts.get(self._part, 0.0) * self._share
        pace = spent / planned if planned > 0 else 1.0
        pace = pace if planned > 0.05 * sum(self.parts.values()) else 1.0
        return max(0.0, (sum(self.parts.values()) - planned) * pace)

    def _show(self) -> None:
        planned = sum(self.parts.get(n, 0.0) for n in self.done) + self.parts.get(self._part, 0.0) * self._share
        share = planned / sum(self.parts.values())
        if self._bars is not None:
            self._bars.update(
                self._whole, completed=share, description=self._part or "done", eta=f"ETA {duration(self.eta())}"
            )
        elif time.monotonic() - self._spoken > EVERY:
            self._spoken = time.monotonic()
            elapsed = duration(self._spoken - self.begun)
            self.say(f"  {self._part}: {share:.0%} of the run, {elapsed} elapsed, ETA {duration(self.eta())}")


def duration(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
