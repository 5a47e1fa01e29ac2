"""Why a law over candidates chose its answer: what was on offer, by which evidence, in nats."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from credence.dialogue.choice import Choice, Option

Words = Mapping[str, str]
NUMBERS, WIDEST = 28, 100
"""Cells that the columns of numbers take; cells from which each feature has one of its own."""


def show_choice(console: "Console", choice: "Choice", words: Words, every: bool) -> None:
    """The answers on offer, the likeliest first, and the sums that made this one; of all, each feature's nats."""
    from rich.table import Table
    from rich.text import Text

    from credence.cli.chat_show import packed
    from credence.cli.terminal import say, shown
    from credence.report.phrases import short

    law = words["why choice prior"] if not choice.strength else words["why choice"]
    say(console, Text(law.format(len(choice.options)), style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    apart = [n for n in choice.chosen.nats if any(o.nats[n] for o in choice.options)] if every else []
    apart = apart if console.width >= WIDEST else []
    for name in ("m", *(words[f"feature {n}"] for n in apart), *(["w·f"] if choice.strength else []), words["why p"]):
        table.add_column(name, justify="right")
    table.add_column(words["why answer"])
    room = max(8, console.width - NUMBERS - 10 * len(apart))
    for number, one in enumerate(choice.options, 1):
        said = one is choice.chosen
        cells = [f"{'▸' if said else ' '}{number}", _share(one.log_m), *(f"{one.nats[n]:+.2f}" for n in apart)]
        cells += [f"{one.log_lik:+.2f}"] if choice.strength else []
        table.add_row(*cells, _share(one.log_p), shown(short(one.text, room)), style="bold" if said else "")
    console.print(table)
    if choice.strength:
        for line in _sums(choice, words):
            say(console, shown(packed(line, console.width), newline="\n"))
    for number, one in enumerate(choice.options, 1):
        if every or one is choice.chosen:
            question = words["why of"].format(number, short(one.question, max(8, console.width - 10)))
            say(console, Text(question, style="dim"))


def _sums(choice: "Choice", words: Words) -> list[list[str]]:
    """Lines of items: log π/m of the answer, its features, where the weights come from; and the odds on the next."""
    one, rival = choice.chosen, choice.rival
    moved = one.log_p - one.log_m
    lines = [[words["why moved choice"].format(moved, one.log_lik, choice.log_z)]]
    lines.append([words["why features"], *_features(one, None, words)])
    if rival is not None:
        number = choice.options.index(rival) + 1
        odds = words["why odds"].format(number, one.log_m - rival.log_m, one.log_lik - rival.log_lik,
                                        one.log_p - rival.log_p)  # fmt: skip
        lines.append([odds])
        lines.append([words["why of these"], *_features(one, rival, words)])
        if len(one.by) > 1:
            apart = [f"{words[f'by {name}']} {nats - rival.by[name]:+.2f}" for name, nats in one.by.items()]
            lines.append([words["why of these"], *apart])
    return lines


def _features(one: "Option", rival: "Option | None", words: Words) -> list[str]:
    """Features that had a part, with their nats; against a rival, the difference."""
    found = {n: nats - (0.0 if rival is None else rival.nats[n]) for n, nats in one.nats.items()}
    return [f"{words[f'feature {n}']} {nats:+.2f}" for n, nats in found.items() if abs(nats) >= 0.005] or ["0"]


def _share(log_p: float) -> str:
    return f"{100 * math.exp(log_p):.1f} %"


def choice_data(choice: "Choice") -> dict[str, Any]:
    """The same as JSON."""
    return {
        "chosen_by": "law over candidates",
        "chosen": choice.said + 1,
        "strength": choice.strength,
        "log_z": choice.log_z,
        "candidates": [
            {
                "text": one.text,
                "question": one.question,
                "log_m": one.log_m,
                "log_lik": one.log_lik,
                "log_p": one.log_p,
                "readings": dict(one.readings),
                "nats": dict(one.nats),
                "by": dict(one.by),
            }
            for one in choice.options
        ],
    }
