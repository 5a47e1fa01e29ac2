"""The picture of `credence believe reward`: calibration of what is said next, and coverage of intervals."""

from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, Palette, sheet, style
from credence.report.reward import TITLES, RewardReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = {"plug_in": "s", "averaged": "o", "ensemble": "D"}
"""A second sign beside colour."""
_SHIFT = {"plug_in": -0.008, "averaged": 0.0, "ensemble": 0.008}


def _colour(name: str, palette: Palette) -> str:
    return {"plug_in": palette.draw, "averaged": palette.target, "ensemble": palette.train}.get(name, palette.muted)


def calibration(report: RewardReport, palette: Palette) -> "Figure":
    """Left: stated and found, law by law. Right: the share of intervals that hold the truth, over their level."""
    figure, (left, right) = sheet((10.8, 4.4), palette, 1, 2)
    scores = report.kind == "scores"
    least = 0.0 if scores else 0.5
    left.plot([least, 1], [least, 1], color=palette.muted, linewidth=1, linestyle=(0, (2, 2)))
    right.plot([0.4, 1], [0.4, 1], color=palette.muted, linewidth=1, linestyle=(0, (2, 2)))
    for curve in report.curves:
        colour = _colour(curve.name, palette)
        x, y = [p[0] for p in curve.points], [p[1] for p in curve.points]
        if scores:
            left.plot(x, y, color=colour, linewidth=1.8, drawstyle="steps-post", label=TITLES[curve.name])
        else:
            _bars(left, [(p[0], *p[1:]) for p in curve.points], colour, _MARKS[curve.name], TITLES[curve.name])
    for row in report.coverage:
        points = [(level + _SHIFT[row.name], s.value, s.low, s.high)
                  for level, s in zip(row.levels, row.shares, strict=True)]  # fmt: skip
        _bars(right, points, _colour(row.name, palette), _MARKS[row.name], TITLES[row.name])
    words = ("P(score ≤ its value)", "share of scores below") if scores else ("stated probability", "share right")
    _titled(left, palette, f"{report.kind} kept apart", *words)
    what = "scores held" if scores else "simulated rewards held"
    _titled(right, palette, "central intervals", "stated level", what)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=10, loc="best", labelcolor=palette.ink)
    return figure


def _bars(ax: "Axes", points: list[tuple[float, float, float, float]], colour: str, marker: str, words: str) -> None:
    for x, _, low, high in points:
        ax.plot([x, x], [low, high], color=colour, linewidth=1.4, alpha=0.7)
    ax.plot([p[0] for p in points], [p[1] for p in points], marker, color=colour, markersize=5.5, label=words)


def _titled(ax: "Axes", palette: Palette, title: str, x: str, y: str) -> None:
    ax.set_title(title, loc="left", color=palette.ink, fontsize=12)
    ax.set_xlabel(x, color=palette.muted, fontsize=11)
    ax.set_ylabel(y, color=palette.muted, fontsize=11)


def save_png(report: RewardReport, folder: Path) -> list[str]:
    """calibration-light.png and calibration-dark.png; their names."""
    names: list[str] = []
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        names.append(f"calibration-{tone}.png")
        with style():
            calibration(report, palette).savefig(
                folder / names[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight", pad_inches=0.2,
                metadata={"Software": None},
            )  # fmt: skip
    return names
