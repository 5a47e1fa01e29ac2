"""Where lines come from: prompt_toolkit on a terminal, plain lines over a pipe."""

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credence.cli.chat_words import ARGUMENTS, COMMANDS

if TYPE_CHECKING:
    from credence.cli.chat_session import Session


ECHOED = 200
"""Characters of a line from a pipe that are shown again."""


def history_file(folder: Path) -> Path:
    """Where typed lines are kept: readable by their owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "chat_history"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return path


def terminal(session: "Session", folder: Path, **given: Any) -> None:  # noqa: ANN401 - input and output of a test's terminal
    """Talk on a terminal until Ctrl-D or /quit. Enter sends, Alt-Enter begins a new line, Tab completes commands.

    Raises:
        MissingExtraError: prompt_toolkit is not installed.
    """
    from credence.cli.chat_session import Leave
    from credence.core.errors import MissingExtraError

    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory
        from prompt_toolkit.styles import Style
    except ImportError as error:
        raise MissingExtraError(
            "the chat's line editor needs prompt_toolkit. Run: pip install 'credence-lm[chat]'  (lines from a pipe "
            "need nothing: echo Hello. | credence chat)",
            "no editor",
        ) from error
    prompt: Any = PromptSession(
        history=FileHistory(str(history_file(folder))),
        completer=_completer(session),
        complete_while_typing=False,
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation=lambda width, line, wrapped: " " * width if wrapped else "… ".rjust(width),
        bottom_toolbar=lambda: _toolbar(session),
        style=Style.from_dict({"bottom-toolbar": "noreverse dim"}),
        **given,
    )
    session.console.print()
    while True:
        try:
            text = prompt.prompt([("bold", f"{session.words['you']} ▸ ")])
        except KeyboardInterrupt:
            session.tell(session.words["leave"])
            session.console.print()
            continue
        except EOFError:
            break
        if not text.strip():
            continue
        try:
            with unechoed():
                session.line(text.strip())
            session.console.print()
        except Leave:
            break
        except KeyboardInterrupt:  # pressed twice, or just as the reply ended: the talk goes on
            session.console.print()
    session.tell(session.words["bye"])


@contextmanager
def unechoed() -> Generator[None]:
    """What is typed while a reply comes is not mixed into it; it waits for the next line, where it shows."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin.fileno())
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _keys() -> Any:  # noqa: ANN401 - prompt_toolkit's KeyBindings, imported here
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: Any) -> None:  # noqa: ANN401 - prompt_toolkit's KeyPressEvent
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def newline(event: Any) -> None:  # noqa: ANN401 - prompt_toolkit's KeyPressEvent
        event.current_buffer.insert_text("\n")

    del send, newline  # registered by their decorators
    return keys


def _completer(session: "Session") -> Any:  # noqa: ANN401 - prompt_toolkit's Completer, imported here
    from prompt_toolkit.completion import Completer, Completion

    class Commands(Completer):
        """Slash commands, at the beginning of a line only."""

        def get_completions(self, document: Any, complete_event: Any) -> Iterable[Completion]:  # noqa: ANN401 - theirs
            """Commands that begin with what was typed, each with its meaning."""
            text = document.text_before_cursor
            if not text.startswith("/") or " " in text:
                return
            for name in COMMANDS:
                if name.startswith(text[1:]):
                    more = " " if name in ARGUMENTS else ""
                    yield Completion(f"/{name}{more}", -len(text), display_meta=session.words[f"help {name}"])

    return Commands()


def _toolbar(session: "Session") -> str:
    from rich.cells import cell_len

    talk, words = session.talk, session.words
    beta = talk.own_beta if talk.beta is None else talk.beta
    level = "" if beta is None or talk.serving in ("prior", "knowledge") else f"  β {beta:g}"
    short = f" {words[talk.serving]}{level}  ·  /help"
    whole = f"{short}  ·  {words['newline']}"
    return whole if cell_len(whole) <= session.console.width else short


def piped(session: "Session") -> None:
    """One message or command a line, until the input ends or /quit."""
    from credence.cli.chat_session import Leave
    from credence.core.errors import ConfigError

    for text in _lines():
        if text is None:
            session.trouble(
                ConfigError("this line is not UTF-8. Convert the input: iconv -f GB18030 -t UTF-8", "not utf-8")
            )
        elif text.strip():
            if not session.as_json:
                said = text.strip()
                session.tell(f"{session.words['you']} ▸ {said[:ECHOED]}{'…' if len(said) > ECHOED else ''}", "")
            try:
                session.line(text.strip())
            except Leave:
                return


def _lines() -> Iterator[str | None]:
    """Lines of stdin, None for one that is not UTF-8; a byte order mark before the first is none of it."""
    for number, raw in enumerate(sys.stdin.buffer):
        try:
            yield raw.decode("utf-8-sig" if number == 0 else "utf-8")
        except UnicodeDecodeError:
            yield None
