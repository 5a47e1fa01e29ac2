"""One text taken apart as a page: strips of tokens coloured by nats, and the table behind them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from credence.report.phrases import number
from credence.report.pieces import answered, caption, page, section, table
from credence.report.replies import legend, token, words

_STRIP = (
    "Colour: how much likelier this law makes the token than the prior does, in nats; hover for the number. Tokens "
    "that are part of one character are added up."
)
_OWED = (
    "What the posterior's move owes to one piece of evidence: the move less what it would be without that piece. "
    "Pieces that work together do not add up to the whole."
)
_TABLE = (
    "p*/π0 and what it owes to each piece are estimated from continuations of every prefix by the prior; ± is the "
    "standard error. Their sum is the evidence's nats less log Z."
)


@dataclass(frozen=True)
class Strip:
    """One row of coloured tokens.

    Attributes:
        title: of the law or the piece of evidence.
        owed: whether it shows what is owed to a piece of evidence.
        tokens: what can be read, and its nats.
        total: their sum, nats.
    """

    title: str
    owed: bool
    tokens: tuple[tuple[str, float], ...]
    total: float


def render(
    title: str, answer: str, strips: Sequence[Strip], heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """The page; self-contained.

    Args:
        title: what the text answers.
        answer: the sums in one sentence.
        strips: laws first, then pieces of evidence.
        heads: of the table, the token's first.
        rows: a token each, as text.
    """
    laws = "".join(map(_strip, (s for s in strips if not s.owed)))
    owed = "".join(map(_strip, (s for s in strips if s.owed)))
    cells = [[words(row[0]), *(f"<b>{words(cell, tag=False)}</b>" for cell in row[1:])] for row in rows]
    body = [
        section("laws", "Where the nats are", caption(_STRIP), legend(), f'<ul class="coloured">{laws}</ul>'),
        section("evidence", "What they are owed to", caption(_OWED), f'<ul class="coloured">{owed}</ul>'),
        section("tokens", "Token by token", table(dict.fromkeys(heads, ""), cells), caption(_TABLE)),
    ]
    return page(title, answered(answer), "\n".join(body))


def _strip(strip: Strip) -> str:
    sign = "+" if strip.total > 0 else ""
    body = "".join(token(piece, nats) for piece, nats in strip.tokens)
    total = "–" if math.isnan(strip.total) else f"{sign}{number(strip.total)}"
    return (
        f'<li><p class="who"><span>{words(strip.title)}, <span class="num">{total} nats</span> in all</span></p>'
        f'<p class="tokens" dir="auto">{body}</p></li>'
    )
