"""The pictures of a control run: learning curves with and without the KL, and policies as arrows on the map."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from credence.report.canvas import DARK, LIGHT, PAGE, Palette, inline, sheet, style
from credence.report.control import ControlReport, Curve, PolicyMap
from credence.report.phrases import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def _line(ax: "Axes", curve: Curve, values: tuple[tuple[float, float, float], ...], palette: Palette) -> None:
    colour = palette.train if curve.penalised else palette.draw
    x = list(curve.steps)
    ax.fill_between(x, [v[1] for v in values], [v[2] for v in values], color=colour, alpha=0.18, linewidth=0)
    dash = "-" if curve.penalised else (0, (4, 2))
    ax.plot(x, [v[0] for v in values], color=colour, linewidth=2, linestyle=dash)


def _panel(ax: "Axes", report: ControlReport, engine: str, what: str, palette: Palette) -> None:
    """One engine, J or return, with the prior's and the optimum's level."""
    curves = [c for c in report.curves if c.engine == engine]
    for curve in curves:
        _line(ax, curve, curve.j if what == "j" else curve.reward, palette)
    levels = {r.name: (r.j if what == "j" else r.reward).value for r in report.rows if r.name in ("prior", "optimum")}
    shown = [v for c in curves for v in (c.j if what == "j" else c.reward)[len(c.steps) // 5]] + [levels["optimum"]]
    low, high = min(shown), max(shown)
    if levels["prior"] < 2 * low - high:  # drawn to scale it would press everything else into a line
        ax.text(0.98, 0.03, f"prior {number(levels['prior'], 0)} ↓", transform=ax.transAxes, ha="right",
                color=palette.of("prior"), fontsize=10)  # fmt: skip
        del levels["prior"]
    low, high = min(low, *levels.values()), max(high, *levels.values())
    for name, level in levels.items():
        colour = palette.of("prior" if name == "prior" else "target")
        ax.axhline(level, color=colour, linewidth=1.2, linestyle=(0, (1, 2)))
    ax.set_ylim(low - 0.12 * (high - low or 1), high + 0.12 * (high - low or 1))
    ax.set_title(
        f"{curves[0].title}: {'J' if what == 'j' else 'E[return]'}", loc="left", color=palette.ink, fontsize=12
    )
    ax.set_xlabel("steps in the world", color=palette.muted, fontsize=11)
    ax.locator_params(axis="x", nbins=4)


def curves(report: ControlReport, palette: Palette, narrow: bool = False) -> "Figure":
    """Three engines; J above, return below; with the KL firm, without it dashed."""
    engines = list(dict.fromkeys(c.engine for c in report.curves))
    wanted = [(e, "j") for e in engines] + ([] if narrow else [(e, "reward") for e in engines])
    size = (4.9, 2.9 * len(engines)) if narrow else (10.8, 6.2)
    figure, axes = sheet(size, palette, *((len(engines), 1) if narrow else (2, len(engines))))
    for ax, (engine, what) in zip(axes, wanted, strict=True):
        _panel(ax, report, engine, what, palette)
    keys = (("with the KL", palette.train), ("without the KL", palette.draw), ("soft optimum, exact", palette.target),
            ("prior", palette.prior))  # fmt: skip
    # above the panels: inside them some curve always runs through the words
    lines = [_nothing() for _ in keys]
    told = figure.legend(lines, [text for text, _ in keys], loc="outside upper left", ncols=2 if narrow else 4,
                         frameon=False, handlelength=0, handletextpad=0, fontsize=11)  # fmt: skip
    for said, (_, colour) in zip(told.get_texts(), keys, strict=True):
        said.set_color(colour)
    return figure


def _nothing() -> "Line2D":
    """A key without a mark: the colour of the words is the key."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")


_LETTERS = {"S": "S", "G": "G", "H": "", "C": "", "F": ""}


def _draw_map(ax: "Axes", report: ControlReport, drawn: PolicyMap, palette: Palette) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = len(report.cells), len(report.cells[0])
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.set_title(drawn.title, loc="left", color=palette.ink, fontsize=12)
    colour = palette.of(drawn.kind)
    for state, law in enumerate(drawn.law):
        row, column = divmod(state, columns)
        letter = report.cells[row][column]
        closed = letter in "HC"
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=palette.muted if closed else "none",
                        edgecolor=palette.grid, linewidth=0.8, alpha=0.55 if closed else 1.0)  # fmt: skip
        ax.add_patch(box)
        if letter in "SG":
            ax.text(column - 0.42, row - 0.26, letter, color=palette.muted, fontsize=10)
        if closed or letter == "G":
            continue
        for p, (down, right) in zip(law, report.moves, strict=True):
            if p >= 0.02:
                length = 0.42 * math.sqrt(p)
                ax.annotate("", (column + right * length, row + down * length), (column, row),
                            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 0.4 + 2.2 * p,
                                        "mutation_scale": 5 + 5 * p, "shrinkA": 0, "shrinkB": 0,
                                        "alpha": 0.35 + 0.65 * p})  # fmt: skip


def maps(report: ControlReport, palette: Palette, narrow: bool = False) -> "Figure":
    """The policies side by side; an arrow's length and weight grow with its probability."""
    flat = len(report.cells[0]) > 2 * len(report.cells)
    across = 1 if narrow else (2 if flat else 3)
    down = -(-len(report.maps) // across)
    each = (4.9 if narrow else 10.8) / across
    tall = each * len(report.cells) / len(report.cells[0]) + 0.45
    figure, axes = sheet((across * each, down * tall), palette, down, across)
    for ax, drawn in zip(axes, report.maps, strict=False):
        _draw_map(ax, report, drawn, palette)
    for ax in axes[len(report.maps) :]:
        ax.set_axis_off()
    return figure


def svg(report: ControlReport, what: str, narrow: bool) -> str:
    """`curves` or `maps` as an SVG element for the page."""
    draw, label = (curves, "Learning curves.") if what == "curves" else (maps, "Policies on the map.")
    with style():
        return inline(draw(report, PAGE, narrow), f"{what[0]}{'n' if narrow else 'w'}", label)


def save_png(report: ControlReport, folder: Path) -> list[str]:
    """curves-light.png, curves-dark.png and, on a map, maps-light.png and maps-dark.png; their names."""
    names: list[str] = []
    for what, draw in (("curves", curves), ("maps", maps)):
        for tone, palette in (("light", LIGHT), ("dark", DARK)):
            if what == "maps" and not report.maps:
                continue
            names.append(f"{what}-{tone}.png")
            with style():
                figure = draw(report, palette)
                figure.savefig(folder / names[-1], dpi=110, facecolor=palette.paper, bbox_inches="tight",
                               pad_inches=0.2, metadata={"Software": None})  # fmt: skip
    return names
