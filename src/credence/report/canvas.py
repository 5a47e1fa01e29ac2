"""The sheet that every picture of a run is drawn on: roles instead of colours, text that stays text."""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from credence.report import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Palette:
    """Colours by role; blue, orange and green are told apart by every common kind of colour vision."""

    ink: str
    muted: str
    grid: str
    paper: str
    prior: str
    draw: str
    train: str
    target: str

    def of(self, kind: str) -> str:
        """Colour of a law's kind."""
        return {"prior": self.prior, "draw": self.draw, "train": self.train, "target": self.target}.get(kind, self.ink)


LIGHT = Palette("#1d1f24", "#666a73", "#dfe1e6", "#ffffff", "#666a73", "#b4520a", "#1259a8", "#0b7a55")
DARK = Palette("#e8e6e1", "#a0a3ab", "#363a42", "#15171b", "#a0a3ab", "#f2a65a", "#7ab8f5", "#4fcb9d")
PAGE = Palette(*(f"#0a0b{i:02x}" for i in range(1, 9)))
"""Stand-ins, replaced in the SVG by var(--ink) and so on."""

# matplotlib reads the first face of a collection, so that Debian's Noto Sans CJK goes by its Japanese name.
_CHINESE_FONTS = (
    "PingFang SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
)


def chinese_fonts() -> list[str]:
    """Fonts of this machine that matplotlib can draw Chinese with; empty where a PNG would show boxes."""
    from matplotlib import font_manager

    present = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _CHINESE_FONTS if name in present]


@contextmanager
def style() -> Generator[None]:
    """Text as text, dollars as dollars, a Chinese font where a PNG needs one and the machine has it."""
    from matplotlib import rc_context

    fonts = ["DejaVu Sans", *chinese_fonts()]
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "credence",
        "text.parse_math": False,
        "font.family": fonts,
    }
    with rc_context(settings), warnings.catch_warnings():
        # the page's own fonts draw what matplotlib's lack
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def inline(figure: "Figure", prefix: str, label: str) -> str:
    """The figure as an SVG element whose ids begin with `prefix`."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return svg.inline(out.getvalue(), prefix, label, {colour: role for role, colour in asdict(PAGE).items()})


def sheet(size: tuple[float, float], palette: Palette, rows: int = 1, cols: int = 1) -> "tuple[Figure, list[Axes]]":
    """A transparent figure of `size` inches with quiet axes; no global state of matplotlib is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=72, layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for index in range(rows * cols):
        ax = figure.add_subplot(rows, cols, index + 1, facecolor="none")
        for side, spine in ax.spines.items():
            spine.set_visible(side in {"left", "bottom"})
            spine.set_color(palette.grid)
        ax.tick_params(colors=palette.muted, length=0, labelsize=11)
        ax.grid(True, color=palette.grid, linewidth=0.6)
        ax.set_axisbelow(True)
        axes.append(ax)
    return figure, axes
