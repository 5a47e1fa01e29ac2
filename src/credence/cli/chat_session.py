"""One talk on a screen or over a pipe: messages and commands in, replies out."""

import json
import math
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from credence.cli.chat_words import ARGUMENTS, COMMANDS, WORDS
from credence.core.progress import no_tick

if TYPE_CHECKING:
    from credence.cli.chat_wrap import Wrapped
    from credence.core.errors import CredenceError
    from credence.dialogue.chat import Conversation
    from credence.dialogue.turn import Turn
    from credence.study.approval import Approval
    from credence.study.choosing_feedback import ChoiceApproval


class Leave(Exception):
    """The user wants to go."""


@dataclass(eq=False)
class Session:
    """A conversation and how it is shown.

    Args:
        talk: the conversation.
        approval: the belief over the user's approval, None where no feedback file is open.
        lang: "en" or "zh".
        source: what is talked to, as --policy names it.
        as_json: one JSON object a line instead of words.
    """

    talk: "Conversation"
    approval: "Approval | ChoiceApproval | None"
    lang: str = "en"
    as_json: bool = False
    source: str = ""
    console: Any = field(init=False)
    _advance: Callable[[], None] = field(default_factory=lambda: no_tick, init=False)

    def __post_init__(self) -> None:
        from credence.cli.terminal import out

        self.console = out()

    @property
    def words(self) -> dict[str, str]:
        """Sentences in the session's language."""
        return WORDS[self.lang]

    def line(self, text: str) -> None:
        """One message or command; mistakes are said, and the talk goes on.

        Raises:
            Leave: /quit.
        """
        from credence.core.errors import CredenceError

        try:
            if text.startswith("/") and not text.startswith("//"):
                self.command(text)
            else:
                self.answer(self.talk.say(text.removeprefix("/") if text.startswith("//") else text, self.tick))
        except CredenceError as error:
            self.trouble(error)
        except KeyboardInterrupt:
            self.interrupted()

    def tick(self) -> None:
        """An engine took a step; `answer` puts something visible in its place."""
        self._advance()

    def answer(self, pieces: Generator[str]) -> None:
        """Show a reply as it comes, and what there is to say of it."""
        talk = self.talk
        if talk.taken_out and not self.as_json:
            self.tell(self.words["taken out"].format(talk.taken_out))
        talk.taken_out = 0
        with closing(pieces):  # Ctrl-C may come between two pieces: the reply is over then, and kept as far as it came
            if self.as_json:
                for _ in pieces:
                    pass
            elif talk.streams or talk.serving == "knowledge":
                self._stream(pieces)
            else:
                self._wait(pieces)
        self.after(talk.turns[-1])

    def _stream(self, pieces: Iterator[str]) -> None:
        from credence.cli.terminal import progress
        from credence.report.phrases import visible

        if self.talk.serving != "knowledge" and self.talk.reads_long(MANY):
            with progress(self.words["reading message"], None, self.as_json):
                pieces = chain([next(pieces)], pieces)
        page = self._label(self.words[self.talk.serving])
        try:
            for piece in pieces:
                page.write(visible(piece))
        finally:
            page.finish()

    def _wait(self, pieces: Iterator[str]) -> None:
        from credence.cli.terminal import progress
        from credence.report.phrases import visible

        talk = self.talk
        total = None if talk.serving == "rejection" else talk.prior.horizon
        with progress(
            self.words["drawing"].format(self.words[talk.serving]), total, self.as_json, self.words["far"]
        ) as advance:
            self._advance = advance
            try:
                text = "".join(pieces)
            finally:
                self._advance = no_tick
        page = self._label(self.words[talk.turns[-1].law])
        page.write(visible(text))
        page.finish()

    def _label(self, name: str) -> "Wrapped":
        from rich.text import Text

        from credence.cli.chat_wrap import Wrapped

        label = Text(f"{name} ▸ ", style="bold cyan")
        self.console.print(label, end="")
        return Wrapped(self.console.width if self.console.is_terminal else 0, label.cell_len)

    def after(self, turn: "Turn") -> None:
        """What stands under a reply: how it ended, and what the engine measured."""
        if self.as_json:
            from credence.dialogue.transcript import as_data

            self.record(as_data(turn))
            return
        from credence.cli.chat_show import sized
        from credence.report.phrases import short

        words, info = self.words, turn.info
        notes = [words["stopped"]] if turn.stopped else [] if turn.ended else [words["cut"].format(len(turn.ids))]
        notes += [words["empty"]] if not turn.reply.strip() and not turn.stopped else []
        if "weight" in info:
            notes.append(words["weight"].format(of=self.talk.of, **info))
        if "nats" in info:
            notes.append(words["nats"].format(nats=sized(info["nats"], "+")))
        if "kl_bound" in info:
            notes.append(words["kl bound"].format(**info))
        if info.get("log_z", float("nan")) == info.get("log_z", 0.0):
            notes += [words["log z"].format(log_z=sized(info["log_z"]))] if "log_z" in info else []
        if turn.kind == "answer" and turn.entries:
            notes.append(words["rests on"].format(turn.entries[0], 100 * math.exp(info["log_p"])))
        if turn.kind == "choice":
            how = words["chosen by m" if turn.law == "prior" else "chosen among"]
            chances = (100 * math.exp(info["log_p"]), 100 * math.exp(info["log_m"]))
            notes.append(how.format(short(turn.entries[0], 60), *chances))
        if notes:
            self.tell("; ".join(notes))
        if info.get("ess", 99.0) < FEW:
            self.tell(words["few"].format(self.talk.own_beta or 1.0), "magenta")

    def command(self, text: str) -> None:
        """Carry a slash command out.

        Raises:
            Leave: /quit.
        """
        from difflib import get_close_matches

        from credence.cli import chat_commands
        from credence.core.errors import ConfigError

        found = text[1:].strip().split(maxsplit=1)
        name, rest = (found[0].lower() if found else ""), (found[1] if len(found) > 1 else "")
        if name in ("quit", "exit", "q"):
            if rest:
                raise chat_commands.takes_nothing(name, rest)
            raise Leave
        if name not in COMMANDS:
            close = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            near = f" Did you mean /{close[0]}?" if close else ""
            raise ConfigError(
                f"unknown command /{name[:40]}.{near} /help lists them; // sends a text that begins with a slash.",
                "command near" if close else "command",
                name=name[:40],
                **({"near": close[0]} if close else {}),
            )
        if rest and name not in (*ARGUMENTS, "why"):
            raise chat_commands.takes_nothing(name, rest)
        getattr(chat_commands, f"do_{name}")(self, rest)

    def done(self, command: str, text: str = "", **data: Any) -> None:  # noqa: ANN401 - JSON values
        """A command's outcome, in words or as one JSON line."""
        if self.as_json:
            self.record({"command": command, **data})
        else:
            self.tell(text)

    def trouble(self, error: "CredenceError") -> None:
        """A mistake, in the place where the answer would be: in the session's language, in JSON as it was raised."""
        from credence.cli.chat_errors import worded

        if self.as_json:
            self.record({"error": str(error), "kind": type(error).__name__})
        else:
            self.tell(worded(error, self.lang), "red")

    def interrupted(self) -> None:
        """Ctrl-C: the reply stops, the talk goes on."""
        turns = self.talk.turns
        if turns and turns[-1].stopped and not self.talk.heard:
            self.after(turns[-1])
        elif self.as_json:
            self.record({"stopped": True})
        else:
            self.tell(self.words["stopped"])

    def tell(self, text: str, style: str = "dim") -> None:
        """A remark of the chat's own."""
        from credence.cli.terminal import say, shown

        say(self.console, shown(text, style=style))

    def record(self, data: dict[str, Any]) -> None:
        """One JSON object on one line."""
        from credence.cli.terminal import plain

        sys.stdout.write(json.dumps(plain(data), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()


MANY = 300
"""Tokens that are shown to the model, from which its reading is felt: about two seconds of one slow core."""
FEW = 2.0
"""Effective draws below which a reweighted reply is hardly the posterior's."""
