"""Two pictures of a translation study: every scorer's accuracy and chrF; the translator's J over REINFORCE's steps."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, PAGE, Palette, inline, sheet, style
from credence.report.phrases import visible
from credence.report.translate import PolicyReport, TranslateReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(report: TranslateReport, palette: Palette, narrow: bool = False) -> "Figure":
    """A row a scorer: accuracy@1 left, chrF right, each with its 95 % interval."""
    rows = [row for row in report.rows if row.accuracy is not None and row.chrf is not None][::-1]
    height = 0.8 + 0.34 * len(rows)
    figure, axes = sheet((4.9, 2 * height) if narrow else (10.8, height), palette, *((2, 1) if narrow else (1, 2)))
    for ax, (label, scale, read) in zip(
        axes, (("accuracy@1, %", 100.0, "accuracy"), ("chrF", 1.0, "chrf")), strict=True
    ):
        for place, row in enumerate(rows):
            found = getattr(row, read)
            colour = palette.of(row.kind)
            ax.plot([scale * found.low, scale * found.high], [place, place], color=colour, linewidth=1.6, alpha=0.7)
            ax.scatter([scale * found.value], [place], color=colour, s=30, zorder=3, linewidths=0)
        ax.set_yticks(range(len(rows)), [visible(row.title, " ") for row in rows])
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.set_xlim(-2, 102)
        ax.set_xlabel(label, color=palette.muted, fontsize=11)
    if not narrow:
        axes[1].set_yticklabels([""] * len(rows))
    return figure


def objective(policy: PolicyReport, palette: Palette, narrow: bool = False) -> "Figure":
    """J = E[r] − β KL of each step's own draws, and of the validation sources where they were looked at."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = sheet((4.9 if narrow else 7.2, 3.0), palette)
    ax = axes[0]
    ax.plot([s.step for s in policy.steps], [s.objective for s in policy.steps], color=palette.train, linewidth=1.0,
            alpha=0.5, label="training draws")  # fmt: skip
    looked = [(s.step, s.validation) for s in policy.steps if s.validation is not None]
    if looked:
        ax.plot([a for a, _ in looked], [b for _, b in looked], color=palette.target, marker="o", markersize=5,
                linewidth=1.4, label="validation")  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("step of REINFORCE", color=palette.muted, fontsize=11)
    ax.set_ylabel("J = E[chrF] − β KL", color=palette.muted, fontsize=11)
    ax.legend(frameon=False, labelcolor=palette.ink, fontsize=10)
    return figure


def svg(report: TranslateReport, narrow: bool) -> str:
    """The comparison as an SVG element for the page."""
    return _inline(
        lambda: comparison(report, PAGE, narrow), f"c{'n' if narrow else 'w'}", "Accuracy and chrF by scorer."
    )


def policy_svg(policy: PolicyReport, narrow: bool) -> str:
    """J over the steps; nothing where no step was taken."""
    if not policy.steps:
        return ""
    return _inline(lambda: objective(policy, PAGE, narrow), f"j{'n' if narrow else 'w'}", "J over steps of REINFORCE.")


def _inline(draw: "Callable[[], Figure]", prefix: str, label: str) -> str:
    with style():
        return inline(draw(), prefix, label)


def save_png(report: TranslateReport, folder: Path) -> list[str]:
    """comparison-light.png, comparison-dark.png, and objective-… where a translator was trained; their names."""
    names: list[str] = []
    for tone, palette in (("light", LIGHT), ("dark", DARK)):
        with style():
            drawn = {"comparison": comparison(report, palette)}
            if report.policy is not None and report.policy.steps:
                drawn["objective"] = objective(report.policy, palette)
            for name, figure in drawn.items():
                names.append(f"{name}-{tone}.png")
                figure.savefig(folder / names[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight",
                               pad_inches=0.2, metadata={"Software": None})  # fmt: skip
    return names
