"""The record of simulated asking: its table in the terminal, and its picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from credence.report.canvas import DARK, LIGHT, Palette, sheet, style
from credence.report.phrases import interval_text, short, value_text
from credence.report.schema import Estimate
from credence.report.tables import bare_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"gain": "by expected gain", "random": "at random"}


@dataclass(frozen=True)
class Curve:
    """One way of asking; means over conversations with 95 % intervals.

    Attributes:
        strategy: "gain" or "random".
        turns: questions until it was sure, or had asked as many as allowed.
        found: share of conversations whose likeliest hypothesis was the one meant.
        entropy: nats of doubt before the first answer and after each.
        truth: probability that was given to what was meant.
    """

    strategy: str
    turns: Estimate
    found: Estimate
    entropy: tuple[Estimate, ...]
    truth: tuple[Estimate, ...]


@dataclass(frozen=True)
class CurveReport:
    """Ways of asking compared on the same people."""

    source: str
    hypotheses: int
    questions: int
    wrong: float
    sure: float
    most: int
    runs: int
    seed: int
    curves: tuple[Curve, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def print_curves(report: CurveReport, console: Console) -> None:
    """Turns, hits, and doubt along the way."""
    table = bare_table(
        f"Asking about {short(report.source, 40)}: {report.hypotheses} hypotheses, {report.questions} questions",
        f"{report.runs} conversations, {report.wrong:.0%} of answers wrong; asking ends at probability {report.sure:g} "
        f"or after {report.most} questions · [95 %] over conversations",
    )
    middle = report.most // 2
    heads = ("asked", "questions", "right", f"doubt after {middle} / nats", f"after {report.most}")
    for head in heads:
        table.add_column(Text(f"{head}  "), justify="left" if head == "asked" else "right")
    for curve in report.curves:
        cells = (curve.turns, curve.found, curve.entropy[middle], curve.entropy[-1])
        table.add_row(TITLES[curve.strategy], *(f"{value_text(e)} {interval_text(e)}  " for e in cells))
    console.print(table)


def picture(report: CurveReport, palette: Palette) -> "Figure":
    """Doubt by turns, and what is believed of the truth."""
    figure, (left, right) = sheet((9.6, 3.9), palette, 1, 2)
    _lines(left, report, "entropy", "doubt, nats of entropy", palette)
    _lines(right, report, "truth", "probability of what is meant", palette)
    right.set_ylim(0, 1.02)
    left.set_ylim(0, None)
    return figure


def _lines(ax: "Axes", report: CurveReport, what: str, title: str, palette: Palette) -> None:
    colours = {"gain": palette.train, "random": palette.draw}
    dashes = {"gain": "-", "random": (0, (5, 2))}
    one, other = ([e.value for e in getattr(curve, what)] for curve in report.curves)
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    apart = max(1, gaps.index(max(gaps)))
    for curve in report.curves:
        values: Sequence[Estimate] = getattr(curve, what)
        x, colour = list(range(len(values))), colours[curve.strategy]
        ax.fill_between(x, [v.low for v in values], [v.high for v in values], color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, [v.value for v in values], color=colour, linewidth=2, linestyle=dashes[curve.strategy])
        above = (what == "truth") == (curve.strategy == "gain")
        left = above == (what == "truth")  # the side on which the other curve is not
        ax.annotate(TITLES[curve.strategy], (apart, values[apart].value), (-8 if left else 8, 4 if above else -12),
                    textcoords="offset points", color=colour, fontsize=11, ha="right" if left else "left")  # fmt: skip
    ax.set_title(title, loc="left", color=palette.ink, fontsize=12)
    ax.set_xlabel("questions asked", color=palette.muted, fontsize=11)
    ax.set_xlim(0, len(one) - 1)


def save_png(report: CurveReport, folder: Path) -> list[Path]:
    """ask-light.png and ask-dark.png."""
    folder.mkdir(parents=True, exist_ok=True)
    out: list[Path] = []
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        out.append(folder / f"ask-{tone}.png")
        with style():
            picture(report, palette).savefig(out[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight",
                                             pad_inches=0.2, metadata={"Software": None})  # fmt: skip
    return out
