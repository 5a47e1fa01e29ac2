"""What a figure is: numbers held to what was published, a verdict on them, and a picture in two tones."""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from credence.report.canvas import DARK, LIGHT, Palette, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Picture

KEYS = ("figure", "what", "source", "seed", "expected", "tolerance", "sense", "found", "verdict", "seconds", "curves")
OUT = Path(__file__).parents[2] / "runs" / "figures"


@dataclass(frozen=True)
class Number:
    """One number, and how far it may be from what is expected.

    `sense` is "=" for |found − expected| ≤ tolerance, "≤" for found ≤ expected + tolerance. A NaN is never within.
    """

    name: str
    expected: float
    tolerance: float
    found: float
    sense: Literal["=", "≤"] = "="

    @property
    def ok(self) -> bool:
        gap = self.found - self.expected
        return (abs(gap) if self.sense == "=" else gap) <= self.tolerance


@dataclass(frozen=True)
class Found:
    """What was measured: the numbers that are judged, and the curves that only the picture needs."""

    numbers: tuple[Number, ...]
    curves: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return bool(self.numbers) and all(number.ok for number in self.numbers)


@dataclass(frozen=True)
class Figure:
    """A published figure to reproduce: `measure` takes the seed, `draw` makes its picture from what was found."""

    name: str
    what: str
    source: str
    measure: Callable[[int], Found]
    draw: "Callable[[Found, Palette], Picture]"
    seed: int = 1

    def record(self, found: Found, seconds: float) -> dict[str, Any]:
        """The JSON of one run."""

        def each(of: Callable[[Number], Any]) -> dict[str, Any]:
            return {number.name: of(number) for number in found.numbers}

        return {
            "figure": self.name,
            "what": self.what,
            "source": self.source,
            "seed": self.seed,
            "expected": each(lambda n: n.expected),
            "tolerance": each(lambda n: n.tolerance),
            "sense": each(lambda n: n.sense),
            "found": each(lambda n: n.found),
            "verdict": "holds" if found.ok else "fails",
            "seconds": round(seconds, 1),
            "curves": found.curves,
        }


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with inf and NaN as words, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def table(found: Found) -> str:
    """One line a number."""
    wide = max(len(number.name) for number in found.numbers)
    lines = []
    for n in found.numbers:
        asked = f"{n.sense} {n.expected:.8g} {'±' if n.sense == '=' else '+'} {n.tolerance:.2g}"
        lines.append(f"  {'ok ' if n.ok else 'NO '} {n.name:<{wide}}  {n.found:>14.8g}  {asked}")
    return "\n".join(lines)


def run(figure: Figure, out: Path) -> bool:
    """Measure, print, write JSON and both pictures; whether the figure holds."""
    began = time.process_time()
    found = figure.measure(figure.seed)
    record = figure.record(found, time.process_time() - began)
    print(f"{figure.name}: {figure.what}\n{table(found)}")
    print(f"  {figure.name} {record['verdict']}, {record['seconds']} CPU seconds", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    name = figure.name.lower()
    (out / f"{name}.json").write_text(json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        with style():
            picture = figure.draw(found, palette)
            picture.savefig(out / f"figure-{name}-{tone}.png", dpi=110, facecolor=palette.paper, bbox_inches="tight",
                            pad_inches=0.2, metadata={"Software": None})  # fmt: skip
    return found.ok


def alone(figure: Figure, given: Sequence[str] | None = None) -> int:
    """A script's own command line; its exit status."""
    parser = argparse.ArgumentParser(description=f"{figure.name}: {figure.what} ({figure.source})")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON and the pictures")
    return 0 if run(figure, parser.parse_args(given).out) else 1


def titled(ax: "Axes", palette: Palette, title: str, x: str, y: str = "") -> None:
    """The words around a panel."""
    ax.set_title(title, loc="left", color=palette.ink, fontsize=12)
    ax.set_xlabel(x, color=palette.muted, fontsize=11)
    if y:
        ax.set_ylabel(y, color=palette.muted, fontsize=11)


def plain_ticks(axis: "Axis", ticks: Sequence[float] = ()) -> None:
    """Plain numbers on a logarithmic axis, at these ticks or where they stand, and no minor ones."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    axis.set_minor_locator(NullLocator())
    if ticks:
        axis.set_ticks(list(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def keyed(ax: "Axes", palette: Palette, where: str = "best") -> None:
    """A key without a frame, its words in ink."""
    ax.legend(frameon=False, fontsize=10, loc=where, labelcolor=palette.ink)
