"""The picture of a classification: for each classifier, how often it is right where it states a probability."""

from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, PAGE, Palette, inline, sheet, style
from credence.report.classify import ClassifyReport, Reliability
from credence.report.phrases import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _panel(ax: "Axes", panel: Reliability, least: float, palette: Palette) -> None:
    colour = palette.of(panel.kind)
    ax.plot([least, 1], [least, 1], color=palette.muted, linewidth=1, linestyle=(0, (2, 2)))
    for point in panel.points:
        ax.plot([point.stated] * 2, [point.right.low, point.right.high], color=colour, linewidth=1.4, alpha=0.7)
    most = max(p.count for p in panel.points)
    ax.scatter([p.stated for p in panel.points], [p.right.value for p in panel.points],
               s=[14 + 50 * p.count / most for p in panel.points], color=colour, zorder=3, linewidths=0)  # fmt: skip
    ax.set_xlim(least - 0.02, 1.02)
    ax.set_ylim(-0.03, 1.03)
    ax.set_title(visible(panel.title, " "), loc="left", color=palette.ink, fontsize=12)
    ax.set_xlabel("stated probability", color=palette.muted, fontsize=11)
    ax.set_ylabel("share right", color=palette.muted, fontsize=11)


def reliability(report: ClassifyReport, palette: Palette, narrow: bool = False) -> "Figure":
    """One panel a classifier; a dot is a bin, its bar Wilson's 95 % interval, its size how many texts it holds."""
    panels = report.reliability
    across = 2 if narrow else min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = sheet((4.9 if narrow else 10.8, (2.6 if narrow else 3.1) * down), palette, down, across)
    least = 1 / len(report.labels)
    for ax, panel in zip(axes, panels, strict=False):
        _panel(ax, panel, least, palette)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def svg(report: ClassifyReport, narrow: bool) -> str:
    """The diagram as an SVG element for the page."""
    with style():
        figure = reliability(report, PAGE, narrow)
        return inline(figure, f"r{'n' if narrow else 'w'}", "Share right over stated probability, by classifier.")


def save_png(report: ClassifyReport, folder: Path) -> list[str]:
    """reliability-light.png and reliability-dark.png; their names."""
    names: list[str] = []
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        names.append(f"reliability-{tone}.png")
        with style():
            reliability(report, palette).savefig(
                folder / names[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight", pad_inches=0.2,
                metadata={"Software": None},
            )  # fmt: skip
    return names
