"""A comparison's picture: the reward–KL plane with every engine, beside it the share of the gap against CPU seconds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, PAGE, Palette, inline, sheet, style
from credence.report.comparison import CompareRow, Comparison
from credence.report.labels import Box, Obstacles, place
from credence.report.phrases import short
from credence.report.plots import draw_frontier, drawable
from credence.report.schema import Estimate, Mark, Report, RulerRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
"""Of engines that train, told apart without a colour each."""
_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def as_report(report: Comparison) -> Report:
    """The comparison as the record that the plane is drawn from."""
    rows = [r for r in report.rows if r.kl_prior is not None and r.reward is not None]
    return Report(
        title=report.title,
        beta=report.beta,
        reward_name=report.reward_name,
        horizon=0,
        gap_closed=None,
        ruler=tuple(
            RulerRow(r.name, r.title, r.kind, r.reward or _UNKNOWN, r.ended or _UNKNOWN, r.kl_prior or _UNKNOWN,
                     r.kl_reverse or _UNKNOWN, r.kl_forward, r.gap_closed, 0, 0, 0.0)
            for r in rows
        ),
        prompts=(),
        frontier=report.frontier,
        marks=tuple(Mark(r.name, r.title, r.kind, r.kl_prior or _UNKNOWN, r.reward or _UNKNOWN) for r in rows),
        findings=(),
        replies=(),
        history=(),
    )  # fmt: skip


def drawn(report: Comparison) -> set[str]:
    """Names of the laws that stand on the plane."""
    return {mark.name for mark in drawable(as_report(report))}


def svg(report: Comparison, narrow: bool = False) -> str:
    """Both panels as an SVG element for the page; `narrow` for a phone, one above the other."""
    with style():
        figure, axes = sheet((4.9, 10.0) if narrow else (13.2, 5.4), PAGE, *((2, 1) if narrow else (1, 2)))
        _draw(axes, report, PAGE)
        label = "Mean reward against KL to the prior; share of the gap closed against CPU seconds."
        return inline(figure, "cn" if narrow else "cw", label)


def png(report: Comparison, path: Path, dark: bool = False) -> None:
    """The same picture as a PNG file with its own background, for the documentation."""
    palette = DARK if dark else LIGHT
    with style():
        figure, axes = sheet((13.2, 5.4), palette, 1, 2)
        _draw(axes, report, palette)
        figure.savefig(path, dpi=130, facecolor=palette.paper, bbox_inches="tight", pad_inches=0.25,
                       metadata={"Software": None})  # fmt: skip


def _draw(axes: "Sequence[Axes]", report: Comparison, palette: Palette) -> None:
    _shares(axes[1], report, palette)
    draw_frontier(axes[0], as_report(report), palette)  # fixes the layout, so that names can be placed
    _names(axes[1], report, palette)


def _place(row: CompareRow, prompts: int) -> float | None:
    """CPU seconds at which a law has its share: once trained, or one reply to every held-out prompt."""
    cost = row.spent if row.kind == "train" else row.each
    if cost is None or row.gap_closed is None or not math.isfinite(row.gap_closed.value):
        return None
    return max(cost.seconds * (1 if row.kind == "train" else prompts), 1e-3)


def _shares(ax: "Axes", report: Comparison, palette: Palette) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    points = [(r, x) for r in report.rows if (x := _place(r, report.prompts)) is not None]
    curves = {
        (p.engine, p.seed): [q for q in report.curves if (q.engine, q.seed) == (p.engine, p.seed)]
        for p in report.curves
    }
    first = min([p.seconds for p in report.curves if p.seconds > 0] + [x for _, x in points], default=1.0)
    ax.set_xscale("log")
    styles = {name: i for i, name in enumerate(dict.fromkeys(p.engine for p in report.curves))}
    for (engine, _), looks in curves.items():
        known = [
            (max(p.seconds, first * 0.7), 100 * p.share)
            for p in looks
            if p.share is not None and math.isfinite(p.share)
        ]
        if known:
            ax.plot([x for x, _ in known], [y for _, y in known], color=palette.train, linewidth=1.2, alpha=0.6,
                    linestyle=_LINES[styles[engine] % len(_LINES)], zorder=2)  # fmt: skip
    heights = [
        100 * v
        for r, _ in points
        for e in [r.gap_closed]
        if e is not None
        for v in (e.value, e.low, e.high)
        if math.isfinite(v)
    ]
    for row, x in points:
        _mark(ax, row, x, palette)
    if not points and all(p.share is None for p in report.curves):
        ax.text(0.5, 0.5, "no finite gap between prior\nand posterior to take a share of", color=palette.muted,
                fontsize=12, ha="center", va="center", transform=ax.transAxes)  # fmt: skip
    shown = [100 * p.share for p in report.curves if p.share is not None and math.isfinite(p.share)]
    low, high = min([0.0, *heights, *shown]), max([100.0, *heights, *shown])
    low, high = max(low, -100.0), min(high, 150.0)  # a share far below 0 says only that it is far below
    ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    ax.margins(x=0.12)
    ax.axhline(0, color=palette.prior, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    ax.axhline(100, color=palette.target, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    ends = [max(p.seconds, first * 0.7) for p in report.curves] + [x for _, x in points]
    wide = bool(ends) and max(ends) > 100 * min(ends)  # over two decades more than powers of ten would crowd
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("CPU seconds", color=palette.muted, fontsize=12)
    ax.set_ylabel("share of the gap closed, %", color=palette.muted, fontsize=12)


def _mark(ax: "Axes", row: CompareRow, x: float, palette: Palette) -> None:
    share = row.gap_closed
    if share is None:
        return
    colour, y = palette.of(row.kind), 100 * share.value
    ends = [100 * v if math.isfinite(v) else y for v in (share.low, share.high)]
    ax.plot((x, x), ends, color=colour, linewidth=1.3, zorder=3)
    ax.plot([x], [y], "o" if row.kind == "train" else "^", markersize=8, color=colour, zorder=4, markeredgewidth=1.6,
            markerfacecolor=palette.paper if share.bound else colour, markeredgecolor=colour)  # fmt: skip


def _names(ax: "Axes", report: Comparison, palette: Palette) -> None:
    """Names beside the marks, where they cover least; the layout stands already."""
    frame = ax.get_window_extent()
    obstacles = Obstacles(Box(frame.x0, frame.y0, frame.x1, frame.y1))

    def pixel(x: float, y: float) -> tuple[float, float]:
        px, py = ax.transData.transform((x, y))
        return float(px), float(py)

    points = [(r, x, r.gap_closed) for r in report.rows if (x := _place(r, report.prompts)) is not None]
    low, high = ax.get_ylim()
    for _, x, share in points:
        if share is not None:
            ends = [
                min(max(100 * v, low), high) if math.isfinite(v) else 100 * share.value for v in (share.low, share.high)
            ]
            obstacles.line(pixel(x, ends[0]), pixel(x, ends[1]), weight=2.0)
            obstacles.dot(pixel(x, 100 * share.value))
    for row, x, share in points:
        if share is None:
            continue
        at = pixel(x, min(max(100 * share.value, low), high))
        left, bottom, anchor = place(at, short(row.title), 12.0, obstacles)
        data_x, data_y = ax.transData.inverted().transform((left, bottom))
        note = ax.text(float(data_x), float(data_y), short(row.title), color=palette.of(row.kind), fontsize=12,
                       ha=anchor, va="center")  # fmt: skip
        note.set_in_layout(False)
