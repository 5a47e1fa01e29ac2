"""`credence score`: how likely a text is, token by token."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Chat, Device, Json, Model, System, Temperature

if TYPE_CHECKING:
    from credence.prior.hf import LMPrior
    from credence.study.probe import TextScore


def score(
    text: Annotated[str | None, typer.Argument(help="The text; - or nothing reads stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the text from a UTF-8 file.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What the text answers or continues.")] = None,
    model: Model = "smollm2",
    system: System = "",
    chat: Chat = None,
    end: Annotated[
        bool | None, typer.Option("--end/--no-end", help="Score the end token too; by default after a chat prompt.")
    ] = None,
    temperature: Temperature = 1.0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score a text token by token. Gives nats, and bits per byte; any language (a part of a character shows as …)."""
    from credence.cli.terminal import emit, progress
    from credence.study.probe import score_text

    content = given_text(text, file)
    style = chosen_style(chat, default="chat" if prompt is not None else "raw")
    with progress(f"scoring with {model}", None, as_json):
        prior = open_model(model, style, system, device)
        found = score_text(prior, prompt, content, (style == "chat") if end is None else end, temperature)
    if as_json:
        emit(as_data(found, model, temperature))
    else:
        print_score(found, model, temperature)


def given_text(text: str | None, file: Path | None) -> str:
    """The text from the command line, a file, or stdin.

    Raises:
        ConfigError: both or neither, or not UTF-8.
    """
    from credence.core.errors import ConfigError
    from credence.study.examples import read_text

    if file is not None and text is not None:
        raise ConfigError("a text and --file were given: one of them is needed.")
    if file is not None:
        return read_text(file, "text file")
    if text is not None and text != "-":
        return text
    if sys.stdin.isatty():
        raise ConfigError('no text: write it after the command (credence score "Hello."), or --file, or pipe it in.')
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"stdin is not UTF-8 (byte {error.start}). Convert it: iconv -f GB18030 -t UTF-8") from None


def chosen_style(chat: bool | None, default: str) -> str:
    """The prompt's style by --chat/--raw."""
    return default if chat is None else "chat" if chat else "raw"


def open_model(name: str, style: str, system: str = "", device: str | None = None, horizon: int = 1) -> "LMPrior":
    """Load a model for a one-off question."""
    from credence.prior.load import load
    from credence.study.build import check_device

    check_device(device or "cpu")
    return load(name, style=style, system=system, device=device or "cpu", horizon=horizon)


def as_data(found: "TextScore", model: str, temperature: float) -> dict[str, object]:
    """The score as JSON."""
    tokens = [
        {"token": t, "text": piece, "log_p": p}
        for t, piece, p in zip(found.tokens, found.pieces, found.log_p, strict=True)
    ]
    return {
        "model": model,
        "temperature": temperature,
        "style": found.style,
        "end_scored": found.end,
        "start_token": found.start or None,
        "unscored_start": found.unscored,
        "tokens": tokens,
        "nats": found.nats,
        "bytes": found.size,
        "bits_per_byte": found.bits_per_byte,
    }


def how_read(found: "TextScore") -> str:
    """The style, and without a template the token that all begins after."""
    start = f"after the start token {found.start}" if found.start else "no start token"
    style = {"raw": "raw text, no chat template", "plain": "role names, as the model has no chat template"}
    return f"{style[found.style]}, {start}" if found.style in style else "chat template"


def print_score(found: "TextScore", model: str, temperature: float) -> None:
    """The table and the totals."""
    from rich.table import Table

    from credence.cli.terminal import out, say, shown

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("token")
    table.add_column("log p / nats", justify="right")
    for i, (piece, log_p) in enumerate(zip(found.pieces, found.log_p, strict=True), 1):
        visible = shown(piece.replace(" ", "␣") if piece.strip() == "" and piece else piece or "…", "↵")
        table.add_row(str(i), visible, f"{log_p:.4f}")
    console = out()
    console.print(table)
    count, least = len(found.tokens), " (the end token counted)" if found.end else ""
    say(console, f"total {found.nats:.4f} nats over {count} tokens{least}")
    say(console, f"{found.bits_per_byte:.4f} bits per byte ({found.size} bytes, without the end token)")
    say(
        console,
        shown(
            f"{model} at temperature {temperature:g}, {how_read(found)}; log p of this segmentation, at most that of "
            "the string"
        ),
    )
    if found.unscored:
        say(console, shown(f"the first token {found.unscored!r} only starts the text and is not scored"))
