"""What the chat draws: a reply's tokens in colour, the table of evidence, the belief as bars."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from credence.dialogue.chat import Turn
    from credence.dialogue.why import Why

Words = Mapping[str, str]
SLIGHT, CLEAR, STRONG = 0.1, 0.5, 1.5
"""Nats from which a token counts as moved, clearly moved, strongly moved."""
LONGEST = 400
"""Pieces of a reply that are drawn; what follows is counted."""
BAR = 24
"""Cells of a bar for probability one."""


def moved_style(nats: float) -> str:
    """Terminal's own green and red, which its theme keeps legible on light and on dark, and a second sign beside."""
    size = abs(nats)
    if size < SLIGHT:
        return ""
    weight = "" if size < CLEAR else "bold " if size < STRONG else "reverse bold "
    return f"{weight}green" if nats > 0 else f"{weight}underline red"


def surprise_style(nats: float) -> str:
    """By −log π0: what was expected is plain."""
    return "" if nats < 1 else "yellow" if nats < 3 else "bold yellow" if nats < 6 else "reverse bold yellow"


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


def show_why(console: "Console", why: "Why", turn: "Turn", words: Words, every: bool) -> None:
    """The strip, the tokens that were moved most (or all of them), each piece of evidence, and the sums."""
    from rich.padding import Padding
    from rich.text import Text

    from credence.cli.terminal import say, shown

    say(console, Text(words["why prior" if why.log_policy is None else "why strip"], style="dim"))
    console.print(Padding(strip(why), (0, 0, 0, 2)))
    if every:
        console.print(_every(why))
    elif why.log_policy is not None and why.most():
        named = "  ".join(f"{quoted(piece)} {nats:+.2f}" for piece, nats in why.most())
        say(console, shown(f"{words['why moved']}: {named}"))
    if why.evidence:
        console.print(_evidence(why, words))
    for trouble in why.troubles:
        say(console, shown(words["why trouble"].format(trouble), style="yellow"))
    total = sum(why.log_prior)
    if why.log_policy is None:
        say(console, Text(words["why sum prior"].format(total, len(why.pieces), why.log_lik)))
    else:
        moved = sum(why.log_policy) - total
        say(console, Text(words["why sum"].format(total, sum(why.log_policy), moved, why.log_lik)))
    if why.log_policy is not None and turn.law != "policy":
        say(console, Text(words["why law"].format(words[turn.law]), style="dim"))


def quoted(piece: str) -> str:
    """A token between marks, so that its spaces show."""
    return f"‹{piece_text(piece)}›"


def _every(why: "Why") -> Any:  # noqa: ANN401 - rich's Table, imported here
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
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
        cells += [f"{part.by_token[i]:+.2f}" for part in reading]
        table.add_row(Text(quoted(piece), style=style), *cells)
    return table


def _evidence(why: "Why", words: Words) -> Any:  # noqa: ANN401 - rich's Table, imported here
    from rich.table import Table

    from credence.cli.terminal import shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(words["why evidence"])
    for name in (words["why reading"], "β", words["why nats"]):
        table.add_column(name, justify="right")
    table.add_column(words["why tokens"], ratio=1)
    for part in why.evidence:
        reading = ", ".join(f"{v:.3g}" for v in part.readings.values())
        beta = "–" if part.beta is None else f"{part.beta:g}"
        table.add_row(shown(part.name), reading, beta, f"{part.nats:+.2f}", shown(_by_token(part, why, words)))
    return table


def _by_token(part: Any, why: "Why", words: Words) -> str:  # noqa: ANN401 - Weighed, of a room that --help does not load
    if not part.unfinished:
        return words["why at end"]
    return "  ".join(f"{quoted(piece)} {nats:+.2f}" for piece, nats in why.most(part.by_token, 4))


def show_belief(console: "Console", belief: Sequence[tuple[str, float]], words: Words) -> None:
    """Probabilities as bars, with their nats; questions are cut to the terminal's width, Chinese counted as two."""
    from rich.table import Table

    from credence.cli.terminal import say, shown
    from credence.report.phrases import short

    say(console, shown(words["belief asked"] + ":"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for justify in ("right", "left", "right", "left"):
        table.add_column("", justify=justify)  # pyright: ignore[reportArgumentType] - two of the words that rich knows
    room = max(20, console.width - BAR - 24)
    for name, log_p in belief[:6]:
        p = math.exp(log_p)
        table.add_row(f"{100 * p:.1f} %", "█" * round(BAR * p), f"{log_p:.2f}", shown(short(name, room)))
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
    return {"tokens": tokens, "evidence": parts, "log_lik": why.log_lik, "troubles": list(why.troubles)}
