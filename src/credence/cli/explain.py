"""`credence explain`: which tokens of a text carry the nats, and which evidence moved them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Json, Seed
from credence.cli.score import given_text

if TYPE_CHECKING:
    from credence.report.explained import Strip
    from credence.study.explaining import Explained


def explain(
    text: Annotated[str | None, typer.Argument(help="The reply; - or nothing reads stdin.")] = None,
    prompt: Annotated[str, typer.Option("--prompt", help="What the text answers.")] = "",
    policy: Annotated[
        str | None, typer.Option("--policy", help="A run, its name under runs/, or an exported model.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Prior and evidence; without one, VADER's sentiment at beta 0.1.")
    ] = None,
    end: Annotated[bool, typer.Option("--end/--no-end", help="The text is whole, or only a beginning.")] = True,
    draws: Annotated[int, typer.Option("--draws", min=2, help="Continuations of each prefix.")] = 64,
    horizon: Annotated[int | None, typer.Option("--horizon", min=1, help="Most tokens of a reply.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the text from a UTF-8 file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the coloured page here.")] = None,
    seed: Seed = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Take a reply apart. Shows each token's nats under policy and posterior, and the evidence they are owed to."""
    from credence.cli.chat import opened
    from credence.cli.terminal import emit, out, progress, say, shown
    from credence.core.errors import ConfigError
    from credence.dialogue.language import detect

    content = given_text(text, file).strip("\n")
    if not prompt.strip():
        raise ConfigError("--prompt is missing: what does the text answer? A token's nats depend on it.")
    if html is not None and not html.absolute().parent.is_dir():
        raise ConfigError(f"--html {html}: the folder {html.absolute().parent} does not exist. Make it first.")
    from credence.study.explaining import explain_text

    options = {"--model": None, "--system": None, "--horizon": horizon, "--knowledge": None, "--engine": None}
    with progress(f"loading {policy or 'the prior'}", None, as_json):
        given = opened(policy, config, "zh" if detect([content]) == "zh" else "en", options, device)
    with progress("prefixes", None, as_json) as advance:
        found = explain_text(given, prompt, content, end, draws, seed, advance)
    if html is not None:
        _write(found, html)
    if as_json:
        emit(as_data(found))
        return
    show(found)
    if html is not None:
        say(out(), shown(str(html)))


def strips(found: "Explained") -> "list[Strip]":
    """Policy and posterior, then each piece of evidence."""
    from credence.dialogue.why import whole
    from credence.report.explained import Strip

    laws = {"the posterior": (False, found.why.moved.tolist())}
    if found.moved_by_policy is not None:
        laws = {"the policy": (False, list(found.moved_by_policy)), **laws}
    laws |= {name: (True, row.tolist()) for name, row in zip(found.why.names, found.why.of, strict=True)}
    return [Strip(name, owed, tuple(whole(found.pieces, v)), sum(v)) for name, (owed, v) in laws.items()]


def rows(found: "Explained") -> tuple[list[str], list[list[str]]]:
    """The table's heads and cells."""
    from credence.cli.chat_show import quoted, sized

    heads = ["token", "log π0", *(["π/π0"] if found.log_policy is not None else []), "p*/π0"]
    heads += list(found.why.names) if len(found.why.names) > 1 else []
    out: list[list[str]] = []
    for t, piece in enumerate(found.pieces):
        cells = [quoted(piece), f"{found.log_prior[t]:.2f}"]
        cells += [sized(found.moved_by_policy[t], "+")] if found.moved_by_policy is not None else []
        cells.append(_with_error(float(found.why.moved[t]), float(found.why.se[t])))
        if len(found.why.names) > 1:
            owed = zip(found.why.of[:, t].tolist(), found.why.of_se[:, t].tolist(), strict=True)
            cells += [_with_error(value, se) for value, se in owed]
        out.append(cells)
    return heads, out


def _with_error(value: float, se: float) -> str:
    from credence.cli.chat_show import sized

    return "–" if value != value else f"{sized(value, '+')} ± {se:.2f}"


def sums(found: "Explained") -> str:
    """The identity behind the numbers, in one sentence."""
    from credence.cli.chat_show import sized

    why = found.why
    policy = "" if found.moved_by_policy is None else f"; log π/π0 = {sized(sum(found.moved_by_policy), '+')}"
    return (
        f"log p*/π0 = {sized(float(why.moved.sum()), '+')} nats = evidence {sized(why.log_lik)} − log Z "
        f"{sized(why.log_z)}{policy}; {found.draws} continuations a prefix, "
        f"smallest ESS {float(why.ess.min()):.1f}"
    )


def show(found: "Explained") -> None:
    """Strips, table, sums."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from credence.cli.chat_show import moved_style, piece_text
    from credence.cli.chat_wrap import folded
    from credence.cli.terminal import out, say, shown

    console = out()
    several = len(found.why.names) > 1
    for strip in strips(found):
        if strip.owed and not several:
            continue
        what = f"owed to {strip.title}" if strip.owed else f"moved by {strip.title}"
        say(console, shown(f"{what}, {strip.total:+.2f} nats:", style="dim"))
        line = Text()
        for piece, nats in strip.tokens:
            line.append(piece_text(piece), style=moved_style(nats))
        for part in folded(line, max(20, console.width - 2)):
            console.print(Padding(part, (0, 0, 0, 2)), no_wrap=True)
    heads, cells = rows(found)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(Text(head), justify="left" if head == "token" else "right")
    for row, nats in zip(cells, found.why.moved.tolist(), strict=True):
        table.add_row(shown(row[0], style=moved_style(nats) if nats == nats else ""), *map(shown, row[1:]))
    console.print(table)
    say(console, shown(sums(found)))
    if float(found.why.ess.min()) < LEAST:
        say(console, shown("Few continuations carry the estimate: raise --draws for smaller errors.", style="yellow"))


LEAST = 10.0
"""Effective continuations below which the reader is told."""


def as_data(found: "Explained") -> dict[str, Any]:
    """The same as JSON."""
    why = found.why
    tokens = [
        {
            "text": piece,
            "log_prior": found.log_prior[t],
            "log_policy": None if found.log_policy is None else found.log_policy[t],
            "moved": float(why.moved[t]),
            "se": float(why.se[t]),
            "owed": {
                name: {"nats": float(why.of[f, t]), "se": float(why.of_se[f, t])} for f, name in enumerate(why.names)
            },
        }
        for t, piece in enumerate(found.pieces)
    ]
    head = {"prompt": found.prompt, "source": found.source, "draws": found.draws, "log_lik": why.log_lik}
    return {**head, "log_z": why.log_z, "least_ess": float(why.ess.min()), "tokens": tokens}


def _write(found: "Explained", path: Path) -> None:
    from credence.learn.checkpoint import write_whole
    from credence.report.explained import render

    heads, cells = rows(found)
    page = render(found.prompt, sums(found), strips(found), heads, cells)
    write_whole(path, page.encode())
