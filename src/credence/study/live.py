"""Progress with an ETA while a run goes on: a bar on a terminal, now and then a line elsewhere."""

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from credence.report.phrases import visible

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
SOON = 2.0
"""Seconds after which a part that still goes on says so for the first time."""
HEADINGS = ("step", "ELBO", "E[r]", "KL(π‖π0)", "KL(π‖p*) ≳", "tok/s", "ETA", "validation ELBO")
"""≳: log Z of a step's few draws is estimated low, so the divergence is at least about what stands there."""
WIDTHS = (7, 9, 7, 10, 12, 7, 7)
SURE = 0.05
"""Share of the planned work that must be done before its pace is believed."""


class Telling(Protocol):
    """What a part of a run tells of its progress; `Live` shows it, a comparison of runs shows the outer one."""

    def part(self, name: str) -> Context[None]:
        """One part of the run."""
        ...

    def tick(self, share: float) -> None:
        """The current part is this far (0 to 1)."""
        ...

    def skip(self, share: float) -> None:
        """This share of the current part was done before the run was resumed."""
        ...

    def say(self, text: str, style: str = "") -> None:
        """A line that stays."""
        ...

    def headings(self) -> None:
        """The line above the steps."""
        ...

    def step(self, record: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """One training step."""
        ...


class Live:
    """The parts of a run with the seconds expected of each; `part` opens one, `tick` moves it.

    Between two ticks the share moves with the clock, at the pace seen so far, so that a long piece of work is seen to
    move. The ETA scales what is to come by how what is done compared with what was expected of it, and grows while a
    part lasts longer than expected without a tick. Seconds that the clock sets are not scaled: a stage that stops after
    an hour takes an hour on any machine. Tested in tests/unit/test_live.py.

    Args:
        console: where it is shown.
        parts: seconds expected of each.
        every: seconds between two lines where there is no terminal.
        timed: of some parts, how many of their seconds the clock sets.
    """

    def __init__(
        self,
        console: Console,
        parts: Mapping[str, float],
        every: float = EVERY,
        timed: Mapping[str, float] | None = None,
    ) -> None:
        self.console, self.parts, self.every, self.timed = console, dict(parts), every, dict(timed or {})
        self.total = sum(self.parts.values())
        now = time.monotonic()
        self.begun, self._part_began, self._ticked, self._spoken = now, now, now, now
        self.done: dict[str, float] = {}
        self.name, self._share, self._most, self._skipped = "", 0.0, 0.0, 0.0
        self._told = False  # whether this part has said when it may end

    @contextmanager
    def running(self) -> Generator["Live"]:
        """Show the bar until the block ends; without a terminal, speak soon in each part, then now and then."""
        if self.console.is_terminal and not self.console.quiet:
            columns = (_Description(self), BarColumn(bar_width=16), TextColumn("{task.percentage:>3.0f} %"), _Eta(self))
            with Progress(*columns, console=self.console, transient=True) as bars:
                bars.add_task("all", total=1.0)
                yield self
            return
        over = threading.Event()
        speaker = threading.Thread(target=self._speak, args=(over,), daemon=True)
        speaker.start()
        try:
            yield self
        finally:
            over.set()
            speaker.join()

    def _speak(self, over: threading.Event) -> None:
        soon = min(SOON, self.every)
        while not over.wait(soon / 4):
            wait = self.every if self._told else soon
            if self.name and time.monotonic() - self._spoken >= wait:
                left = duration(self.eta())
                self.say(f"  {self.name}: {self.share():.0%} of the run, {self.elapsed()} elapsed, ETA {left}")
                self._told = True

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """One part of the run, by the name it was planned under."""
        self._open(name)
        yield
        self.done[self.name] = time.monotonic() - self._part_began
        self.name, self._share = "", 0.0

    def turn(self, name: str) -> None:
        """Within a part: what follows is another one, planned under this name."""
        self.done[self.name] = time.monotonic() - self._part_began
        self._open(name)

    def _open(self, name: str) -> None:
        self.name, self._share, self._skipped, self._told = name, 0.0, 0.0, False
        self._part_began = self._ticked = time.monotonic()
        self.say(name, "bold")

    def tick(self, share: float) -> None:
        """The current part is this far (0 to 1)."""
        left = 1 - self._skipped
        self._share = min(1.0, max(0.0, share - self._skipped) / left) if left > 0 else 1.0
        self._ticked = time.monotonic()

    def skip(self, share: float) -> None:
        """This share of the current part was done before the run was resumed: it is no work to come, and no pace."""
        self._skipped = min(1.0, share)
        self.parts[self.name] = self.parts.get(self.name, 0.0) * (1 - self._skipped)
        self.timed[self.name] = self.timed.get(self.name, 0.0) * (1 - self._skipped)
        self.total = sum(self.parts.values())

    def say(self, text: str, style: str = "") -> None:
        """A line that stays; it is never read as markup, and never wrapped where no person reads along."""
        self._spoken = time.monotonic()
        self.console.print(Text(visible(text), style=style), soft_wrap=not self.console.is_terminal, highlight=False)

    def headings(self) -> None:
        """The line above the steps."""
        self.say(_aligned(HEADINGS[:-1]) + f"   {HEADINGS[-1]}", "dim")

    def step(self, record: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """One training step, as a line of at most 80 columns under `headings`."""
        self.tick(float(clock["progress"]))
        cells = (
            f"{record['step']}",
            _shown(record, "elbo"),
            _shown(record, "reward", 3),
            _shown(record, "kl_prior"),
            _shown(record, "kl_posterior_estimate"),
            f"{clock['tokens_per_s']:.0f}",
            duration(self.eta()),
        )
        line = _aligned(cells)
        if "val_elbo" in record:
            line += f"   {record['val_elbo']:.2f} ± {record['val_elbo_se']:.2f}{' ★' if record['best'] else ''}"
        self.say(line, "green" if record.get("best") else "")

    def elapsed(self) -> str:
        """Time since the beginning."""
        return duration(time.monotonic() - self.begun)

    def share(self) -> float:
        """How far the whole run is, 0 to 1; never less than it said before."""
        planned = self._finished() + self.parts.get(self.name, 0.0) * self._here()
        self._most = max(self._most, min(1.0, planned / self.total))
        return self._most

    def eta(self) -> float:
        """Seconds expected to remain."""
        here = self._here()
        work = sum(map(self._work, self.parts)) - self._worked(here)
        clock = sum(s for name, s in self.timed.items() if name not in self.done and name != self.name)
        clock += self.timed.get(self.name, 0.0) * (1 - here)
        return max(0.0, work * max(self._pace(), self._least_pace()) + clock)

    def _finished(self) -> float:
        return sum(self.parts.get(name, 0.0) for name in self.done)

    def _work(self, name: str) -> float:
        """Planned seconds of a part that a slow machine stretches."""
        return max(0.0, self.parts.get(name, 0.0) - self.timed.get(name, 0.0))

    def _worked(self, share: float) -> float:
        """Planned seconds of work done, with this share of the current part."""
        return sum(map(self._work, self.done)) + self._work(self.name) * share

    def _spent(self, here: float, share: float) -> float:
        """Seconds that went into work, `here` into the current part, of whose clock this share is gone."""
        done = sum(max(0.0, took - self.timed.get(name, 0.0)) for name, took in self.done.items())
        return done + max(0.0, here - self.timed.get(self.name, 0.0) * share)

    def _pace(self) -> float:
        """Seconds that a planned second takes, from everything up to the last tick."""
        planned = self._worked(self._share)
        spent = self._spent(self._ticked - self._part_began if self.name else 0.0, self._share)
        return spent / planned if planned > SURE * sum(map(self._work, self.parts)) else 1.0

    def _least_pace(self) -> float:
        """Seconds that a planned second takes at the least: this part is not over, whatever was ticked."""
        planned = self._worked(1.0)
        spent = self._spent(time.monotonic() - self._part_began if self.name else 0.0, 1.0)
        return spent / planned if planned > 0 else 0.0

    def _here(self) -> float:
        """Share of the current part: as ticked, and on from there by the clock, ever slower."""
        expected = self._work(self.name) * self._pace() + self.timed.get(self.name, 0.0)
        since = (time.monotonic() - self._ticked) / expected if expected > 0 else 0.0
        left = 1 - self._share
        # 1 − 1/(1+x) starts at the expected speed, slows down, and never claims what no tick has confirmed.
        return self._share + left * (1 - 1 / (1 + since / left)) if left > 0 else 1.0


class _Description(ProgressColumn):
    def __init__(self, live: Live) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self.live = live

    def render(self, task: Task) -> Text:
        """The current part; moves the bar by the way, ten times a second."""
        task.completed = self.live.share()
        return Text(self.live.name or "done")


class _Eta(ProgressColumn):
    def __init__(self, live: Live) -> None:
        super().__init__(Column(no_wrap=True))
        self.live = live

    def render(self, task: Task) -> Text:
        """Elapsed and expected."""
        return Text(f"{self.live.elapsed()}  ETA {duration(self.live.eta())}")


def _aligned(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def _shown(record: Mapping[str, Any], name: str, digits: int = 2) -> str:
    """A number of a record; a dash where its learner knows no such thing."""
    return f"{_plain_zero(record[name]) if digits == 2 else record[name]:.{digits}f}" if name in record else "–"


def _plain_zero(value: float) -> float:
    """-0.00 reads as a number below zero: it is none."""
    return 0.0 if abs(value) < 0.005 else value


def duration(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
