"""Pictures that live inside a page: matplotlib's SVG made fit for HTML, and the small whiskers in tables."""

import html
import math
import re
from collections.abc import Mapping

from credence.report.schema import Estimate

_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", re.DOTALL)
_FONT = re.compile(r"(?:^|;)\s*font(?:-family|-style|-weight|-stretch|-variant)?:[^;]*")
_SIZE = re.compile(r"(?:^|;)\s*font:[^;]*?([\d.]+)px")


def _attributes(style: str) -> str:
    """A style attribute as presentation attributes, which the page's strict policy allows."""
    style = html.unescape(style)
    size = _SIZE.search(style)
    pairs = [part.split(":", 1) for part in _FONT.sub("", style).split(";") if ":" in part]
    if size:
        pairs.append(["font-size", size.group(1)])
    return " ".join(f'{name.strip()}="{html.escape(value.strip())}"' for name, value in pairs)


def inline(svg: str, prefix: str, label: str, colours: Mapping[str, str]) -> str:
    """An <svg> element for HTML: no header, no global style, ids under `prefix`, colours as CSS variables.

    Text stays text and inherits the page's fonts. Test: tests/unit/test_report.py::test_svg_is_fit_for_a_page.
    """
    body = _DROPPED.sub("", svg[svg.index("<svg") :])
    start = body[: body.index(">")]
    view = re.search(r'viewBox="([^"]+)"', start)
    box = view.group(1) if view else "0 0 720 400"
    body = body[body.index(">") + 1 :]
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'\sid="([^"]+)"', rf' id="{prefix}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'\sstyle="([^"]*)"', lambda found: " " + _attributes(found.group(1)), body)
    for colour, variable in colours.items():
        body = re.sub(re.escape(colour), f"var(--{variable})", body, flags=re.IGNORECASE)
    body = re.sub(r"\n\s*", "\n", body).replace("<defs>\n</defs>\n", "")
    return f'<svg class="plot" role="img" aria-label="{html.escape(label)}" viewBox="{box}">{body.strip()}'


def whisker(estimate: Estimate, low: float, high: float, kind: str) -> str:
    """A value and its interval on a scale that a column of cells shares; empty where nothing finite can be drawn."""
    span = high - low
    if not math.isfinite(estimate.value) or not math.isfinite(span) or span <= 0:
        return ""

    def at(value: float) -> float:
        clipped = min(max(value, low), high) if not math.isnan(value) else estimate.value
        return 4 + 112 * (clipped - low) / span

    x, left, right = at(estimate.value), at(estimate.low), at(estimate.high)
    marker = f'<circle cx="{x:.1f}" cy="8" r="3.6" class="{"hollow" if estimate.bound else "full"}"/>'
    return (
        f'<svg class="whisker k-{html.escape(kind)}" viewBox="0 0 120 16" aria-hidden="true">'
        f'<path class="rail" d="M4 8H116"/><path class="span" d="M{left:.1f} 8H{right:.1f}"/>{marker}</svg>'
    )
