"""The pictures of `credence believe choose`: regret curves, and policies' values with their intervals."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, Palette, sheet, style
from credence.report.choose import LogReport, RegretReport
from credence.report.phrases import short
from credence.report.schema import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_DASHES = {"thompson": "-", "greedy": (0, (5, 2)), "ucb": (0, (1, 1.5)), "uniform": (0, (6, 2, 1, 2))}
"""A second sign beside colour."""


def _colours(palette: Palette) -> dict[str, str]:
    return {"thompson": palette.train, "greedy": palette.draw, "ucb": palette.target, "uniform": palette.muted}


def regret(report: RegretReport, palette: Palette) -> "Figure":
    """Cumulative regret over choices: means, and their 95 % intervals as bands; uniform may leave the frame."""
    figure, (ax,) = sheet((9.6, 4.8), palette)
    colours = _colours(palette)
    learnt = [c.regret[-1][2] for c in report.curves if c.strategy != "uniform"]
    top = 1.15 * max(learnt or [c.regret[-1][2] for c in report.curves])
    ends: list[tuple[float, float, str]] = []
    for curve in report.curves:
        colour, x = colours.get(curve.strategy, palette.ink), list(curve.steps)
        ax.fill_between(x, [v[1] for v in curve.regret], [v[2] for v in curve.regret], color=colour, alpha=0.16,
                        linewidth=0)  # fmt: skip
        ax.plot(x, [v[0] for v in curve.regret], color=colour, linewidth=2, linestyle=_DASHES.get(curve.strategy, "-"))
        inside = [i for i, v in enumerate(curve.regret) if v[0] <= top]
        at = inside[-1] if inside else 0
        ends.append((float(curve.steps[at]), curve.regret[at][0], curve.strategy))
    ax.set_ylim(0, top)
    ax.set_xlim(0, report.steps * 1.14)
    apart, last = 0.055 * top, -math.inf
    for x, y, name in sorted(ends, key=lambda end: end[1]):
        height = min(max(y, last + apart), top - apart / 2)
        last = height
        out = x < report.steps
        ax.annotate(name + (" ↑" if out else ""), (x, height), (6, 0), textcoords="offset points", va="center",
                    color=colours.get(name, palette.ink), fontsize=11)  # fmt: skip
    ax.set_xlabel("choices", color=palette.muted, fontsize=11)
    ax.set_title(
        f"cumulative regret, {report.kind} bandit ({short(', '.join(report.arms), 40)}), {report.runs} runs",
        loc="left", color=palette.ink, fontsize=12,
    )  # fmt: skip
    return figure


def values(report: LogReport, palette: Palette) -> "Figure":
    """Each policy's value by IPS, SNIPS and DR with 95 % intervals; hollow where it cannot be trusted."""
    rows = [row for row in report.policies if any((row.ips, row.snips, row.dr))]
    figure, (ax,) = sheet((9.6, 1.3 + 0.52 * len(rows)), palette)
    kinds = (("IPS", "o", palette.draw, -0.22), ("SNIPS", "s", palette.target, 0.0), ("DR", "D", palette.train, 0.22))
    for place, row in enumerate(rows):
        for (_, marker, colour, shift), found in zip(kinds, (row.ips, row.snips, row.dr), strict=True):
            if found is None or not math.isfinite(found.value):
                continue
            low, high = _ends(found)
            y = place + shift
            ax.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            ax.plot([found.value], [y], marker, color=colour, markersize=6,
                    markerfacecolor=colour if row.trusted else palette.paper)  # fmt: skip
    ax.set_yticks(range(len(rows)), [short(row.policy, 28) + ("" if row.trusted else " !") for row in rows])
    for label in ax.get_yticklabels():
        label.set_color(palette.ink)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("reward a choice", color=palette.muted, fontsize=11)
    ax.set_title(
        f"value of each policy from {report.choices} choices; hollow, !: do not trust", loc="left", color=palette.ink,
        fontsize=12,
    )  # fmt: skip
    told = figure.legend([_nothing() for _ in kinds], [f"{_SIGNS[m]} {name}" for name, m, _, _ in kinds],
                         loc="outside lower right", ncols=3, frameon=False, handlelength=0, handletextpad=0,
                         fontsize=11)  # fmt: skip
    for said, (_, _, colour, _) in zip(told.get_texts(), kinds, strict=True):
        said.set_color(colour)
    return figure


_SIGNS = {"o": "●", "s": "■", "D": "◆"}


def _nothing() -> "Line2D":
    """A key without a mark: the words hold their own sign."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")


def _ends(found: Estimate) -> tuple[float, float]:
    low = found.low if math.isfinite(found.low) else found.value
    return low, found.high if math.isfinite(found.high) else found.value


def save_png(draw: "Callable[[Palette], Figure]", name: str, folder: Path) -> list[Path]:
    """`name`-light.png and `name`-dark.png in a folder, which is made; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        paths.append(folder / f"{name}-{tone}.png")
        with style():
            draw(palette).savefig(paths[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight", pad_inches=0.2,
                                  metadata={"Software": None})  # fmt: skip
    return paths
