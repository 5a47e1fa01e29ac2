"""The run's pictures: the reward–KL frontier and the training curves, as SVG for the page and as a PNG for the README.

matplotlib is imported inside the functions. The SVG carries no colour of its own: each is a CSS variable of the page,
so one picture serves the light and the dark theme; its text stays text, set in the page's fonts (Chinese too).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credence.report.canvas import DARK, LIGHT, PAGE, Palette, inline, sheet, style
from credence.report.labels import Box, Obstacles, place
from credence.report.phrases import short
from credence.report.schema import Estimate, FrontierPoint, Mark, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _bar(estimate: Estimate) -> tuple[float, float]:
    """Ends of the interval as plotted; an end that is not finite stands at the value."""
    value = estimate.value
    low = estimate.low if math.isfinite(estimate.low) else value
    high = estimate.high if math.isfinite(estimate.high) else value
    return min(low, value), max(high, value)


def drawable(report: Report) -> list[Mark]:
    """The marks that a plane can hold: finite reward and KL."""
    return [m for m in report.marks if math.isfinite(m.kl.value) and math.isfinite(m.reward.value)]


def target_mark(report: Report) -> Mark | None:
    """The posterior's mark."""
    return next((mark for mark in drawable(report) if mark.kind == "target"), None)


def slack_holds(report: Report) -> bool:
    """True where the vertical distance to the line of slope β is β·KL(law‖p*) for every law, as captioned.

    It is an identity when the reward axis holds β·log-likelihood whole; it fails where a part of that is left out.
    """
    target, rows = target_mark(report), {row.name: row for row in report.ruler}
    if target is None:
        return False
    for mark in drawable(report):
        if mark.name not in rows or mark.kind == "target" or not math.isfinite(rows[mark.name].kl_reverse.value):
            continue
        reverse = rows[mark.name].kl_reverse
        low, high = _bar(reverse)
        slack = target.reward.value + report.beta * (mark.kl.value - target.kl.value) - mark.reward.value
        if abs(slack / report.beta - reverse.value) > max(0.05, (high - low) / 2):
            return False
    return True


def _segments(points: Sequence[FrontierPoint]) -> list[tuple[list[float], list[float], bool]]:
    """The curve cut where trust changes; a piece is trusted when both its ends are."""
    pieces: list[tuple[list[float], list[float], bool]] = []
    for a, b in pairwise(points):
        trusted = a.trusted and b.trusted
        if pieces and pieces[-1][2] == trusted:
            pieces[-1][0].append(b.kl)
            pieces[-1][1].append(b.reward)
        else:
            pieces.append(([a.kl, b.kl], [a.reward, b.reward], trusted))
    return pieces


def draw_frontier(ax: "Axes", report: Report, palette: Palette) -> None:
    """The reward–KL plane; fixes the figure's layout, so that names can be placed."""
    points = sorted((p for p in report.frontier if math.isfinite(p.kl) and math.isfinite(p.reward)), key=lambda p: p.kl)
    marks, target = drawable(report), target_mark(report)
    right = max([_bar(m.kl)[1] for m in marks] or [p.kl for p in points] or [1.0]) * 1.22 or 1.0
    shown = [p for p in points if p.kl <= right] + [p for p in points if p.kl > right][:1]
    heights = [p.reward for p in shown if p.kl <= right] + [v for m in marks for v in _bar(m.reward)] or [0.0, 1.0]
    span = (max(heights) - min(heights)) or 1.0
    top, bottom = max(heights) + 0.16 * span, min(heights) - 0.1 * span
    ax.set_xlim(-0.04 * right, right)
    ax.set_ylim(bottom, top)
    ax.set_xlabel("KL to the prior, nats", color=palette.muted, fontsize=12)
    ax.set_ylabel(f"mean reward: {short(report.reward_name)}", color=palette.muted, fontsize=12)
    for kls, rewards, trusted in _segments(shown):
        ax.plot(kls, rewards, color=palette.target, linewidth=2.2 if trusted else 1.6, zorder=2,
                linestyle="-" if trusted else (0, (2, 2.5)))  # fmt: skip
        if not trusted:
            ax.axvspan(kls[0], min(kls[-1], right), color=palette.target, alpha=0.09, linewidth=0, zorder=0)
    if target is not None:
        line = [target.reward.value + report.beta * (x - target.kl.value) for x in (0.0, right)]
        ax.plot([0.0, right], line, color=palette.muted, linewidth=1, linestyle=(0, (1, 3)), zorder=1)
        for mark in marks if slack_holds(report) else []:
            reach = target.reward.value + report.beta * (mark.kl.value - target.kl.value)
            ax.plot([mark.kl.value] * 2, [mark.reward.value, min(reach, top)], color=palette.of(mark.kind),
                    linewidth=0.8, alpha=0.55, zorder=1)  # fmt: skip
    for mark in marks:
        _draw_mark(ax, mark, palette)
    _label(ax, report, shown, palette)


def _draw_mark(ax: "Axes", mark: Mark, palette: Palette) -> None:
    colour, (x, y) = palette.of(mark.kind), (mark.kl.value, mark.reward.value)
    ax.plot(_bar(mark.kl), (y, y), color=colour, linewidth=1.3, zorder=3)
    ax.plot((x, x), _bar(mark.reward), color=colour, linewidth=1.3, zorder=3)
    shape = {"prior": "s", "draw": "^", "train": "o", "target": "D"}.get(mark.kind, "o")
    hollow = bool(mark.kl.bound or mark.reward.bound)
    ax.plot([x], [y], shape, markersize=8, color=colour, zorder=4, markeredgewidth=1.6,
            markerfacecolor=palette.paper if hollow else colour, markeredgecolor=colour)  # fmt: skip


def _label(ax: "Axes", report: Report, shown: Sequence[FrontierPoint], palette: Palette) -> None:
    """Names beside the marks, where they cover least."""
    figure, target = ax.get_figure(root=True), target_mark(report)
    assert figure is not None  # noqa: S101 - the axes were made on a figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")

    def pixel(x: float, y: float) -> tuple[float, float]:
        px, py = ax.transData.transform((x, y))
        return float(px), float(py)

    frame = ax.get_window_extent()
    obstacles = Obstacles(Box(frame.x0, frame.y0, frame.x1, frame.y1))
    for a, b in pairwise(shown):
        obstacles.line(pixel(a.kl, a.reward), pixel(b.kl, b.reward))
    marks = drawable(report)
    for mark in marks:
        (left, right), (low, high) = _bar(mark.kl), _bar(mark.reward)
        obstacles.line(pixel(left, mark.reward.value), pixel(right, mark.reward.value), weight=2.0)
        obstacles.line(pixel(mark.kl.value, low), pixel(mark.kl.value, high), weight=2.0)
        obstacles.dot(pixel(mark.kl.value, mark.reward.value))
        if target is not None:
            reach = target.reward.value + report.beta * (mark.kl.value - target.kl.value)
            obstacles.line(pixel(mark.kl.value, mark.reward.value), pixel(mark.kl.value, reach), weight=0.5)
    wanted = [(pixel(m.kl.value, m.reward.value), short(m.title), palette.of(m.kind), 12.0) for m in marks]
    right_edge = ax.get_xlim()[1]
    trusted = [p for p in shown if p.trusted and p.kl <= right_edge]
    doubtful = [kls for kls, _, sure in _segments(shown) if not sure]
    if trusted:
        at = trusted[len(trusted) * 2 // 5]
        wanted.append((pixel(at.kl, at.reward), "optimum by β", palette.target, 11.0))
    if doubtful:
        middle = (doubtful[-1][0] + min(doubtful[-1][-1], right_edge)) / 2
        wanted.append((pixel(middle, ax.get_ylim()[0]), "not trusted", palette.target, 11.0))
    if target is not None:
        x = 0.22 * target.kl.value
        line = target.reward.value + report.beta * (x - target.kl.value)
        wanted.append((pixel(x, line), f"slope β = {report.beta:g}", palette.muted, 11.0))
    for at, text, colour, size in wanted:
        x, y, anchor = place(at, text, size, obstacles)
        # back to data: pixels change with the resolution that the picture is saved at
        data_x, data_y = ax.transData.inverted().transform((x, y))
        note = ax.text(float(data_x), float(data_y), text, color=colour, fontsize=size, ha=anchor,
                       va="center")  # fmt: skip
        note.set_in_layout(False)


def frontier_svg(report: Report, narrow: bool = False) -> str:
    """The reward–KL plane with every law on it, as an SVG element for the page; `narrow` for a phone."""
    with style():
        figure, axes = sheet((4.9, 5.0) if narrow else (10.4, 5.4), PAGE)
        draw_frontier(axes[0], report, PAGE)
        return inline(figure, "fn" if narrow else "fw", "Mean reward against KL to the prior, one point a law.")


def frontier_png(report: Report, path: Path, dark: bool = False) -> None:
    """The same picture as a PNG file with its own background, for a README."""
    palette = DARK if dark else LIGHT
    with style():
        figure, axes = sheet((10.4, 5.4), palette)
        draw_frontier(axes[0], report, palette)
        figure.savefig(path, dpi=160, facecolor=palette.paper, bbox_inches="tight", pad_inches=0.25,
                       metadata={"Software": None})  # fmt: skip


def series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one column, where the line has a finite number there."""
    found: list[tuple[float, float]] = []
    for index, line in enumerate(history):
        value, step = line.get(key), line.get("step", index)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found.append((float(step), float(value)))
    return [x for x, _ in found], [y for _, y in found]


def _smooth(values: Sequence[float]) -> list[float]:
    """Centred running mean over about a tenth of the run."""
    reach = max(1, len(values) // 20)
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def curve(ax: "Axes", history: Sequence[Mapping[str, Any]], key: str, colour: str) -> None:
    """Faint as measured, firm as smoothed, each stage for itself."""
    for stage in dict.fromkeys(str(line.get("stage", "")) for line in history):
        x, y = series([line for line in history if str(line.get("stage", "")) == stage], key)
        ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.35)
        ax.plot(x, _smooth(y), color=colour, linewidth=2)


def _validation(ax: "Axes", history: Sequence[Mapping[str, Any]], palette: Palette) -> None:
    """Validation ELBO with its 95 % interval, the kept checkpoint ringed."""
    checks = [line for line in history if series([line], "val_elbo")[0]]
    for line in checks:
        (x,), (y,) = series([line], "val_elbo")
        half = 1.96 * (series([line], "val_elbo_se")[1] or [0.0])[0]
        ax.plot([x, x], [y - half, y + half], color=palette.target, linewidth=1.2, zorder=3)
        ax.plot([x], [y], "D", color=palette.target, markersize=5, zorder=4)
    kept = [line for line in checks if line.get("best") is True]
    if kept:
        (x,), (y,) = series([kept[-1]], "val_elbo")
        ax.plot([x], [y], "o", markersize=14, markerfacecolor="none", markeredgecolor=palette.target, zorder=5)
        half = 1.96 * (series(kept[-1:], "val_elbo_se")[1] or [0.0])[0]
        ax.annotate("kept", (x, y + half), (0, 9), textcoords="offset points", ha="center", color=palette.target,
                    fontsize=11)  # fmt: skip


def training_svg(history: Sequence[Mapping[str, Any]], narrow: bool = False) -> str:
    """ELBO, reward and the two divergences by step, stages parted; an empty string where there was no training."""
    if not history:
        return ""
    panels = (("ELBO, nats", ("elbo",)), ("mean reward", ("reward",)),
              ("KL, nats", ("kl_prior", "kl_posterior_estimate")))  # fmt: skip
    names = {"kl_prior": "to the prior", "kl_posterior_estimate": "to the posterior, estimated"}
    with style():
        size = (4.9, 8.4) if narrow else (10.4, 3.4)
        figure, axes = sheet(size, PAGE, *((3, 1) if narrow else (1, 3)))
        for ax, (title, keys) in zip(axes, panels, strict=True):
            for index, key in enumerate(keys):
                colour = PAGE.target if key == "kl_posterior_estimate" else PAGE.train
                curve(ax, history, key, colour)
                if key in names and series(history, key)[0]:
                    ax.text(0.02, 0.9 - 0.09 * index, names[key], color=colour, fontsize=11, transform=ax.transAxes)
            ax.set_title(title, loc="left", color=PAGE.ink, fontsize=12)
            ax.set_xlabel("step", color=PAGE.muted, fontsize=11)
        _validation(axes[0], history, PAGE)
        for ax, (_, keys) in zip(axes, panels, strict=True):
            ax.margins(x=0.03, y=0.14)
            low, high = ax.get_ylim()
            ax.set_ylim(low - 0.06 * (high - low), high + (0.24 * (high - low) if len(keys) > 1 else 0.0))
            _stages(ax, history)
        return inline(figure, "tn" if narrow else "tw", "ELBO, mean reward and KL by training step.")


def gold_svg(history: Sequence[Mapping[str, Any]], narrow: bool = False) -> str:
    """Proxy and gold over √KL(π‖π0), a point a validation; an empty string where no gold was measured.

    √KL, since both grow about linearly in it until gold turns (Gao et al. 2023; docs/figures.md, F13).
    """
    looks = [line for line in history if series([line], "val_measure")[0] and series([line], "val_kl")[0]]
    if not looks:
        return ""
    panels = (("proxy: evidence, nats", "val_log_lik", PAGE.draw), ("gold", "val_measure", PAGE.target))
    with style():
        figure, axes = sheet((4.9, 6.4) if narrow else (10.4, 3.4), PAGE, *((2, 1) if narrow else (1, 2)))
        for ax, (title, key, colour) in zip(axes, panels, strict=True):
            shown = [line for line in looks if series([line], key)[0]]
            x = [math.sqrt(max(0.0, float(line["val_kl"]))) for line in shown]
            y = [float(line[key]) for line in shown]
            ax.plot(x, y, "o-", color=colour, linewidth=1.4, markersize=5)
            kept = [(a, b) for a, b, line in zip(x, y, shown, strict=True) if line.get("best") is True]
            if kept:
                ax.plot(*([v] for v in kept[-1]), "o", markersize=13, markerfacecolor="none", markeredgecolor=colour)
                ax.annotate("kept", kept[-1], (0, 11), textcoords="offset points", ha="center", color=colour,
                            fontsize=11)  # fmt: skip
            ax.margins(0.08, 0.2)
            ax.set_title(title, loc="left", color=PAGE.ink, fontsize=12)
            ax.set_xlabel("√KL(policy‖prior), √nats", color=PAGE.muted, fontsize=11)
        return inline(figure, "gn" if narrow else "gw", "Proxy and gold over the root of the KL to the prior.")


def _stages(ax: "Axes", history: Sequence[Mapping[str, Any]]) -> None:
    """A line where one stage gives way to the next, with their names."""
    stages = [(float(line.get("step", i)), str(line.get("stage", ""))) for i, line in enumerate(history)]
    starts = [b for a, b in zip([(0.0, ""), *stages], stages, strict=False) if a[1] != b[1]]
    for x, stage in starts:
        if x > stages[0][0]:
            ax.axvline(x - 0.5, color=PAGE.muted, linewidth=0.9, linestyle=(0, (3, 3)))
        ax.annotate(short(stage, 16), (x, 0), (2, 4), xycoords=("data", "axes fraction"),
                    textcoords="offset points", color=PAGE.muted, fontsize=10)  # fmt: skip
