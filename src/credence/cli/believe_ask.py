"""`credence believe ask`: the question whose answer is expected to settle most, asked of a person or simulated."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Json, Seed

if TYPE_CHECKING:
    from credence.belief.belief import Belief
    from credence.belief.inquiry import Question
    from credence.study.asking import Inquiry

LEAST = 1e-6
"""Nats that a question must promise."""
ALSO = {"y": "是", "yes": "是", "对": "是", "n": "否", "no": "否", "不是": "否", "没有": "否"}
"""Other words for the answers that a Chinese FAQ is asked with."""
SKIP, STOP = ("?", ""), ("q", "quit", "退出")


def ask(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A .csv, .tsv or .jsonl: hypotheses, then questions; or a FAQ: debian-faq:en, a .md."
        ),
    ],
    wrong: Annotated[float, typer.Option("--wrong", min=0, max=0.99, help="Chance that an answer is wrong.")] = 0.05,
    sure: Annotated[float, typer.Option("--sure", min=0, max=1, help="Asking ends at this probability.")] = 0.9,
    most: Annotated[int, typer.Option("--most", min=1, help="Questions at most.")] = 12,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Turns to certainty by expected gain and at random, with a picture.")
    ] = False,
    runs: Annotated[int, typer.Option("--runs", min=2, help="Of --simulate: conversations.")] = 200,
    into: Annotated[Path, typer.Option("--into", help="Of --simulate: where the pictures go.")] = Path("runs/ask"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask what settles most. Each question is the one whose answer cuts most nats of doubt; ? skips it, q ends."""
    from credence.cli.terminal import emit, err, out, progress, say, shown
    from credence.study.asking import STRATEGIES, curves, open_inquiry

    inquiry = open_inquiry(source, wrong)
    for remark in inquiry.remarks:
        say(err(as_json), shown(remark, style="dim"))
    if not simulate:
        _talk(inquiry, sure, most, as_json)
        return
    from credence.report.asking import print_curves, save_png

    with progress("conversations", runs * len(STRATEGIES), as_json) as advance:
        report = curves(inquiry, runs, sure, most, wrong, seed, advance)
    pictures = save_png(report, into)
    if as_json:
        emit({**report.to_json(), "pictures": [str(path) for path in pictures]})
        return
    print_curves(report, out())
    typer.echo("\n" + "\n".join(map(str, pictures)))


def _talk(inquiry: "Inquiry", sure: float, most: int, as_json: bool) -> None:
    """Ask line by line; the answers come from the keyboard or a pipe."""
    from credence.belief.inquiry import best
    from credence.cli.terminal import emit, out, say, shown

    console = out()
    belief, asked, turns = inquiry.belief, list[int](), list[dict[str, Any]]()
    while len(asked) < most and math.exp(float(belief.log_p.max())) < sure:
        found = best(belief, inquiry.questions, asked)
        if found is None or found[1] < LEAST:  # nothing that is left tells what is left apart
            break
        number, nats = found
        question = inquiry.questions[number]
        choices = _choices(question.answers)
        if not as_json:
            say(console, shown(f"{len(asked) + 1}. {question.text}", style="bold"))
            say(console, shown(f"   {choices}   ({nats:.2f} nats expected)", style="dim"))
        said = _heard(question.answers, as_json)
        if said is None:
            break
        asked.append(number)
        if said >= 0:
            belief = _updated(belief, question, said)
        turns.append({
            "question": question.text, "expected": nats, "answer": question.answers[said] if said >= 0 else None,
            "entropy": belief.entropy(),
        })  # fmt: skip
    if as_json:
        emit({"source": inquiry.source, "turns": turns, "belief": _likely(inquiry, belief)})
        return
    _show(inquiry, belief)


def _updated(belief: "Belief", question: "Question", said: int) -> "Belief":
    """The belief after an answer, or what to do where no hypothesis that is left gives it."""
    from credence.core.errors import DegeneracyError

    try:
        return belief.update(question.log_lik[said])
    except DegeneracyError:
        raise DegeneracyError(
            f"nothing that fits the answers so far answers {question.text!r} with {question.answers[said]!r}. Allow "
            "for mistakes: --wrong 0.05."
        ) from None


def _choices(answers: tuple[str, ...]) -> str:
    """What can be said; by number, unless the answers are numbers themselves."""
    plain = any(answer.isdecimal() for answer in answers)
    return " / ".join(answers if plain else [f"{i}. {answer}" for i, answer in enumerate(answers, 1)])


def _heard(answers: tuple[str, ...], quiet: bool) -> int | None:
    """The answer's index; −1 where it is skipped, None where asking ends."""
    from credence.cli.terminal import err, say, shown
    from credence.core.errors import nearest

    while True:
        if sys.stdin.isatty() and not quiet:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        text = line.strip().casefold()
        text = ALSO[text] if ALSO.get(text) in answers else text
        if not line or text in STOP:
            return None
        if text in SKIP:
            return -1
        meant = [i for i, answer in enumerate(answers) if answer.casefold() == text]
        if not meant and text.isdecimal() and 1 <= int(text) <= len(answers):
            meant = [int(text) - 1]
        meant = meant or [i for i, answer in enumerate(answers) if answer.casefold().startswith(text)]
        if len(meant) == 1:
            return meant[0]
        told = f"“{line.strip()}” is none of: {', '.join(answers)}.{nearest(text, answers)} ? skips, q ends."
        say(err(), shown(told, style="yellow"))


def _likely(inquiry: "Inquiry", belief: "Belief", count: int = 5) -> list[dict[str, Any]]:
    place = {name: i for i, name in enumerate(inquiry.belief.hypotheses)}
    return [
        {"hypothesis": name, "shown": inquiry.shown[place[name]], "log_p": nats, "p": math.exp(nats)}
        for name, nats in belief.top(count)
    ]


def _show(inquiry: "Inquiry", belief: "Belief") -> None:
    from rich.table import Table

    from credence.cli.ask import bar
    from credence.cli.terminal import out, say, shown
    from credence.report.phrases import short

    console = out()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for justify in ("right", "left", "left"):
        table.add_column(justify=justify)  # pyright: ignore[reportArgumentType] - two of the words that rich knows
    for row in _likely(inquiry, belief):
        table.add_row(f"{row['p']:.3f}", bar(row["p"]), shown(short(row["shown"], 60)))
    console.print(table)
    say(console, shown(f"doubt left: {belief.entropy():.2f} of {inquiry.belief.entropy():.2f} nats", style="dim"))
