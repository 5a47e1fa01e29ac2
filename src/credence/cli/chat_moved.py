"""Why knowledge answered as it did: each utterance by the nats with which it moved the belief."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from credence.dialogue.desk import Moved

Words = Mapping[str, str]
NUMBERS = 44
"""Cells that the columns of numbers take; the utterances have the rest of the line."""


def show_moved(console: "Console", moved: "Moved", words: Words) -> None:
    """Who chose, then the belief before anything was said and after each utterance that moved it."""
    from rich.table import Table
    from rich.text import Text

    from credence.cli.terminal import say, shown
    from credence.report.phrases import short

    if not moved.steps:
        say(console, Text(words["why phrase"], style="dim"))
        return
    say(console, Text(words["why belief"], style="dim"))
    room = max(8, console.width - NUMBERS)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(words["why said"])
    for name in ("why against next", "why against nothing", "why after"):
        table.add_column(words[name], justify="right")
    rows = [(words["why before"], moved.before), *((short(step.said, room), step) for step in moved.steps)]
    for said, step in rows:
        cells = [_nats(step.against_next), _nats(step.against_nothing), f"{100 * math.exp(step.log_p):.1f} %"]
        table.add_row(shown(said), *cells)
    console.print(table)
    for name, question in (("why chosen", moved.chosen), ("why next", moved.next)):
        if question is not None:
            say(console, shown(words[name].format(short(_named(question, words), console.width - 14))))


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _named(question: str, words: Words) -> str:
    from credence.dialogue.helpdesk import NOTHING

    return words["nothing fits"] if question == NOTHING else question


def moved_data(moved: "Moved") -> dict[str, Any]:
    """The same as JSON."""
    rows = [
        {
            "said": step.said,
            "against_runner_up": step.against_next,
            "against_nothing": step.against_nothing,
            "log_p": step.log_p,
        }
        for step in (moved.before, *moved.steps)
    ]
    return {
        "chosen_by": "belief",
        "chosen": moved.chosen,
        "runner_up": moved.next,
        "before": rows[0],
        "utterances": rows[1:],
    }
