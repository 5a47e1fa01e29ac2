"""What reaches the terminal: results on stdout, progress on stderr, nothing hidden in model output."""

import math
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

EVERY = 10.0
"""Seconds between two plain lines of progress where no terminal shows a bar."""
FAR = "{done} of {total}, about {left:.0f} s left"
"""How far it is, on such a line."""


def emit(data: Any) -> None:  # noqa: ANN401 - any JSON-like tree
    """Print one JSON document on stdout; infinities become "inf" and "-inf", NaN null."""
    import json

    typer.echo(json.dumps(plain(data), ensure_ascii=False, indent=2, allow_nan=False))


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON-like tree
    """The value with what JSON lacks replaced."""
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def out() -> "Console":
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False)


def say(console: "Console", text: "str | Text") -> None:
    """A sentence, never read as markup; wrapped for people, on one line for what reads a pipe."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def err(as_json: bool = False) -> "Console":
    """Where progress and remarks go; silent when machines read."""
    from rich.console import Console

    return Console(stderr=True, quiet=as_json, highlight=False)


def shown(value: object, newline: str = " ↵ ", style: str = "") -> "Text":
    """Text of a model or a user: markup is not obeyed, control and bidi characters are made visible."""
    from rich.text import Text

    from credence.report.phrases import visible

    return Text(visible(spoken(value), newline), style=style)


def spoken(prompt: object) -> str:
    """A prompt as one line: the text, or the last message of a conversation."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], Mapping):
        return str(prompt[-1].get("content", ""))
    return str(prompt)


@contextmanager
def progress(what: str, total: int | None, as_json: bool, far: str = FAR) -> Generator[Callable[[], None]]:
    """Show how far it is, with the time left, on stderr; yields the function that says one more is done.

    A terminal gets a bar; otherwise a plain line, worded by `far`, comes every ten seconds; with --json nothing.
    """
    if as_json:
        yield lambda: None
    elif sys.stderr.isatty():
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        ]
        bar = Progress(
            *(columns if total is not None else [columns[0], columns[1], columns[3]]), console=err(), transient=True
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
    else:
        yield _lines(what, total, far)


def _lines(what: str, total: int | None, far: str) -> Callable[[], None]:
    began = said = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            left = 0.0 if total is None else (now - began) / done * (total - done)
            typer.echo(f"{what}: {done if total is None else far.format(done=done, total=total, left=left)}", err=True)

    return advance
