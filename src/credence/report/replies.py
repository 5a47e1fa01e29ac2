"""The replies on the page: one of each law side by side, and some coloured token by token by log π/π0."""

import math
import re
from html import escape

from credence.report.captions import TOKENS
from credence.report.phrases import number, visible
from credence.report.schema import Reply, Report

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_EDGES = (0.1, 0.5, 1.0, 2.0)
"""Nats at which the colour deepens; below the first a token counts as unchanged."""

_OPEN_PROMPTS = 4


def words(text: str, tag: bool = True) -> str:
    """Text that others wrote, made harmless: hidden characters visible, markup escaped, Chinese named as such."""
    safe = escape(visible(text))
    chinese = tag and _HAN.search(safe) and not _KANA.search(safe)
    return f'<bdi lang="zh">{safe}</bdi>' if chinese else safe


def _body(reply: Reply) -> str:
    cut = "" if reply.ended else '<span class="cut" title="cut at the horizon">…</span>'
    text = words(reply.text.strip("\n")) or '<i class="empty">empty</i>'
    return f'<p class="said" dir="auto">{text}{cut}</p>'


def _titles(report: Report) -> dict[str, tuple[str, str]]:
    kinds = {"prior", "draw", "train", "target"}
    return {row.name: (row.title, row.kind if row.kind in kinds else "draw") for row in report.ruler}


def side_by_side(report: Report) -> str:
    """For each prompt one reply of each law, with its reward and whether it ended."""
    laws = _titles(report)
    prompts = dict.fromkeys(reply.prompt for reply in report.replies)
    blocks: list[str] = []
    for prompt in prompts:
        seen: dict[str, Reply] = {}
        for reply in report.replies:
            if reply.prompt == prompt:
                seen.setdefault(reply.law, reply)
        cards: list[str] = []
        for name, reply in seen.items():
            title, kind = laws.get(name, (name, "draw"))
            cards.append(
                f'<li class="k-{kind}"><p class="who"><span class="law k-{kind}">{words(title)}</span>'
                f'<span class="num" title="reward">{number(reply.reward)}</span></p>{_body(reply)}</li>'
            )
        blocks.append(f'<article><h3 dir="auto">{words(prompt)}</h3><ul class="cards">{"".join(cards)}</ul></article>')
    if not blocks:
        return ""
    more = blocks[_OPEN_PROMPTS:]
    hidden = f"<details><summary>{len(more)} more prompts</summary>{''.join(more)}</details>" if more else ""
    return (
        '<section id="replies"><h2>What they say</h2><p class="caption">The first draw of each law to each '
        f"held-out prompt, not its best. The number is its reward; "
        f"… marks a reply that the horizon of {report.horizon} tokens cut.</p>"
        f"{''.join(blocks[:_OPEN_PROMPTS])}{hidden}</section>"
    )


def shade(nats: float) -> str:
    """CSS class of a token: p1 to p4 where the law makes it likelier than the prior, m1 to m4 less, none at about 0."""
    if math.isnan(nats):
        return "unknown"
    level = sum(abs(nats) >= edge for edge in _EDGES)
    return f"{'p' if nats > 0 else 'm'}{level}" if level else "same"


def token(piece: str, nats: float) -> str:
    """A token as HTML, coloured by its nats, which a tooltip shows."""
    sign = "+" if nats > 0 else ""
    shown = escape(visible(piece, "↵"))
    # the break after a shown newline keeps the reply's own lines
    after = "<br>" if "\n" in piece else ""
    return f'<span class="t {shade(nats)}" title="{sign}{number(nats)} nats">{shown}</span>{after}'


def legend() -> str:
    """What the colours mean."""
    edges = [number(edge, 1) for edge in _EDGES]
    less = "".join(f'<span class="t m{i}">−{edges[i - 1]}</span>' for i in (4, 3, 2, 1))
    more = "".join(f'<span class="t p{i}">+{edges[i - 1]}</span>' for i in (1, 2, 3, 4))
    return (
        f'<p class="legend"><span>less likely than under the prior</span><span class="ramp">{less}'
        f'<span class="t same">0</span>{more}</span><span>more likely, in nats a token</span></p>'
    )


def coloured(report: Report) -> str:
    """Replies whose law has a density, each token on its log π/π0; pieces and nats must pair up or none is coloured."""
    laws, items = _titles(report), []
    for reply in report.replies:
        if not reply.pieces or len(reply.pieces) != len(reply.nats):
            continue
        known = [value for value in reply.nats if not math.isnan(value)]
        total = sum(known) if len(known) == len(reply.nats) else math.nan
        sign = "+" if total > 0 else ""
        tokens = "".join(token(piece, nats) for piece, nats in zip(reply.pieces, reply.nats, strict=True))
        cut = "" if reply.ended else '<span class="cut" title="cut at the horizon">…</span>'
        title = laws.get(reply.law, (reply.law, "draw"))[0]
        chinese = ' lang="zh"' if _HAN.search(reply.text) and not _KANA.search(reply.text) else ""
        items.append(
            f'<li><p class="who"><q>{words(reply.prompt)}</q> <span>{words(title)}, '
            f'<span class="num">{sign}{number(total)} nats</span> in all</span></p>'
            f'<p class="tokens" dir="auto"{chinese}>{tokens}{cut}</p></li>'
        )
    if not items:
        return ""
    return (
        f'<section id="tokens"><h2>Where the policy moved</h2><p class="caption">{TOKENS}</p>'
        f'{legend()}<ul class="coloured">{"".join(items)}</ul></section>'
    )
