"""What the chat draws: a reply's tokens in colour, the table of evidence, the belief as bars."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from credence.cli.chat_words import WORDS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from credence.dialogue.turn import Turn
    from credence.dialogue.why import Why

Words = Mapping[str, str]
SLIGHT, CLEAR, STRONG = 0.1, 0.5, 1.5
"""Nats from which a token counts as moved, clearly moved, strongly moved."""
LONGEST = 400
"""Pieces of a reply that are drawn; what follows is counted."""
HUGE = 1e6
"""Nats from which only the size is said."""
BAR, WIDE = 18, 60
"""Cells of a bar for probability one, a third of it where the terminal has fewer columns than these."""


def sized(nats: float, sign: str = "") -> str:
    """Nats with two decimals; from a million on, where those say nothing, four digits and the power of ten."""
    return f"{nats:{sign}.2f}" if abs(nats) < HUGE else f"{nats:{sign}.4g}"


def moved_style(nats: float) -> str:
    """Terminal's own green and red, which its theme keeps legible on light and on dark, and a second sign beside."""
    size = abs(nats)
    if size < SLIGHT:
        return ""
    weight = "" if size < CLEAR else "bold " if size < STRONG else "reverse bold "
    return f"{weight}green" if nats > 0 else f"{weight}underline red"


def surprise_style(nats: float) -> str:
    """By −log π0: what was expected is plain."""
    return "" if nats < 1 else "magenta" if nats < 3 else "bold magenta" if nats < 6 else "reverse bold magenta"


def piece_text(piece: str) -> str:
    """A token as one sees it: a line break as ↵, a part of a character as …, nothing hidden."""
    from credence.report.phrases import visible

    return visible(piece, "↵") if piece else "…"


def strip(why: "Why") -> "Text":
    """The reply with each token coloured by what it was moved, or by its surprise where the prior speaks."""
    from rich.text import Text

    out = Text()
    surprise = why.log_policy is None
    found = why.whole([-p for p in why.log_prior] if surprise else why.moved)
    for piece, nats in found[:LONGEST]:
        out.append(piece_text(piece), style=surprise_style(nats) if surprise else moved_style(nats))
    if len(found) > LONGEST:
        out.append(f" … (+{len(found) - LONGEST})", style="dim")
    return out


def show_why(console: "Console", why: "Why", turn: "Turn", lang: str, every: bool) -> None:
    """The strip, the tokens that were moved most (or all of them), each piece of evidence, and the sums."""
    from rich.padding import Padding
    from rich.text import Text

    from credence.cli.chat_errors import worded
    from credence.cli.chat_wrap import folded
    from credence.cli.terminal import say, shown

    words = WORDS[lang]
    say(console, Text(words["why prior" if why.log_policy is None else "why strip"], style="dim"))
    for line in folded(strip(why), max(20, console.width - 2)):
        console.print(Padding(line, (0, 0, 0, 2)), no_wrap=True)
    if every:
        console.print(_every(why, words))
    elif why.log_policy is not None and why.most():
        say(console, shown(packed([words["why moved"], *map(named, why.most())], console.width), newline="\n"))
    if why.evidence:
        console.print(_evidence(why, words, console.width))
        if console.width < WIDE:
            _where(console, why)
    for trouble in why.troubles:
        say(console, shown(words["why trouble"].format(worded(trouble, lang)), style="magenta"))
    total = sum(why.log_prior)
    if why.log_policy is None:
        say(console, Text(words["why sum prior"].format(total, len(why.pieces), sized(why.log_lik, "+"))))
    else:
        moved = sum(why.log_policy) - total
        say(console, Text(words["why sum"].format(total, sum(why.log_policy), moved, sized(why.log_lik, "+"))))
    if why.log_policy is not None and turn.law != "policy":
        say(console, Text(words["why law"].format(words[turn.law]), style="dim"))


def quoted(piece: str) -> str:
    """A token between marks, so that its spaces show."""
    return f"‹{piece_text(piece)}›"


def named(pair: tuple[str, float]) -> str:
    """A token and its nats."""
    from credence.report.phrases import short

    return f"{quoted(short(pair[0]))} {sized(pair[1], '+')}"


def packed(items: Sequence[str], width: int) -> str:
    """Items with two spaces between them, in lines of at most `width` cells; none is torn apart."""
    from rich.cells import cell_len

    lines = [""]
    for item in items:
        longer = f"{lines[-1]}  {item}" if lines[-1] else item
        if cell_len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(item)
    return "\n".join(lines)


def _every(why: "Why", words: Words) -> Any:  # noqa: ANN401 - rich's Table, imported here
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(words["why token"])
    names = ["log π0", *(["log π", "π/π0"] if why.log_policy is not None else [])]
    reading = [part for part in why.evidence if part.unfinished]
    for name in (*names, *(part.name for part in reading)):
        table.add_column(name, justify="right")
    for i, piece in enumerate(why.pieces):
        cells = [f"{why.log_prior[i]:.2f}"]
        style = surprise_style(-why.log_prior[i])
        if why.log_policy is not None:
            cells += [f"{why.log_policy[i]:.2f}", f"{why.moved[i]:+.2f}"]
            style = moved_style(why.moved[i])
        cells += [sized(part.by_token[i], "+") if i + 1 in part.ends else "" for part in reading]
        table.add_row(Text(quoted(piece), style=style, overflow="fold"), *cells)
    return table


def _evidence(why: "Why", words: Words, width: int) -> Any:  # noqa: ANN401 - rich's Table, imported here
    from rich.cells import cell_len
    from rich.table import Table

    from credence.cli.terminal import shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(words["why evidence"])
    for name in (words["why reading"], "β", words["why nats"]):
        table.add_column(name, justify="right")
    wide = width >= WIDE
    if wide:
        table.add_column(words["why tokens"])
    for part in why.evidence:
        reading = ", ".join(f"{v:.3g}" for v in part.readings.values())
        beta = "–" if part.beta is None else f"{part.beta:g}"
        left = sum(max(cell_len(words[n]), 6) for n in ("why reading", "why nats")) + 14
        room = max(14, width - left - max(cell_len(p.name) for p in why.evidence))
        where = packed(list(map(named, why.told(part))), room) if part.unfinished else words["why at end"]
        more = [shown(where, newline="\n")] if wide else []
        table.add_row(shown(part.name), reading, beta, sized(part.nats, "+"), *more)
    return table


def _where(console: "Console", why: "Why") -> None:
    """On a narrow terminal the tokens stand under the table."""
    from credence.cli.terminal import say, shown

    for part in why.evidence:
        if part.unfinished:
            told = packed([f"{part.name}:", *map(named, why.told(part))], console.width)
            say(console, shown(told, newline="\n"))


def show_belief(console: "Console", belief: Sequence[tuple[str, float]], words: Words) -> None:
    """Probabilities as bars, with their nats; questions are cut to the terminal's width, Chinese counted as two."""
    from rich.table import Table

    from credence.cli.terminal import say, shown
    from credence.dialogue.helpdesk import NOTHING
    from credence.report.phrases import short

    say(console, shown(words["belief asked"]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for justify in ("right", "left", "right", "left"):
        table.add_column("", justify=justify)  # pyright: ignore[reportArgumentType] - two of the words that rich knows
    bar = BAR if console.width >= WIDE else BAR // 3
    room = max(8, console.width - bar - 20)
    for name, log_p in belief[:6]:
        p, asked = math.exp(log_p), words["nothing fits"] if name == NOTHING else name
        table.add_row(f"{100 * p:.1f} %", "█" * round(bar * p), f"{log_p:z.2f}", shown(short(asked, room)))
    console.print(table)


def why_data(why: "Why") -> dict[str, Any]:
    """The same as JSON."""
    tokens = [
        {
            "text": piece,
            "log_prior": why.log_prior[i],
            "log_policy": None if why.log_policy is None else why.log_policy[i],
            "moved": None if why.log_policy is None else why.moved[i],
            "evidence": {part.name: part.by_token[i] for part in why.evidence},
        }
        for i, piece in enumerate(why.pieces)
    ]
    parts = [
        {"name": p.name, "readings": p.readings, "beta": p.beta, "nats": p.nats, "reads_prefixes": p.unfinished}
        for p in why.evidence
    ]
    return {"tokens": tokens, "evidence": parts, "log_lik": why.log_lik, "troubles": [str(t) for t in why.troubles]}
