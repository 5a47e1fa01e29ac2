"""One talk on a screen or over a pipe: messages and commands in, replies out."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from credence.cli.chat_words import ARGUMENTS, COMMANDS, WORDS, language

if TYPE_CHECKING:
    from credence.cli.chat_wrap import Wrapped
    from credence.dialogue.chat import Conversation, Turn
    from credence.study.approval import Approval


def nobody_watches() -> None:
    """No bar is shown."""


class Leave(Exception):
    """The user wants to go."""


@dataclass(eq=False)
class Session:
    """A conversation and how it is shown.

    Args:
        talk: the conversation.
        approval: the belief over the user's approval, None where no feedback file is open.
        lang: "en" or "zh".
        as_json: one JSON object a line instead of words.
    """

    talk: "Conversation"
    approval: "Approval | None"
    lang: str = "en"
    as_json: bool = False
    console: Any = field(init=False)
    _advance: Callable[[], None] = field(default_factory=lambda: nobody_watches, init=False)

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
            self.trouble(str(error), type(error).__name__)
        except KeyboardInterrupt:
            self.interrupted()

    def tick(self) -> None:
        """An engine took a step; `answer` puts something visible in its place."""
        self._advance()

    def answer(self, pieces: Iterator[str]) -> None:
        """Show a reply as it comes, and what there is to say of it."""
        talk = self.talk
        if talk.taken_out and not self.as_json:
            self.tell(self.words["taken out"].format(talk.taken_out))
        talk.taken_out = 0
        if self.as_json:
            for _ in pieces:
                pass
        elif talk.streams or talk.serving == "knowledge":
            self._stream(pieces)
        else:
            self._wait(pieces)
        self.after(talk.turns[-1])

    def _stream(self, pieces: Iterator[str]) -> None:
        from credence.report.phrases import visible

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
        with progress(self.words["drawing"].format(self.words[talk.serving]), total, self.as_json) as advance:
            self._advance = advance
            try:
                text = "".join(pieces)
            finally:
                self._advance = nobody_watches
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
        words, info = self.words, turn.info
        notes = [words["stopped"]] if turn.stopped else [] if turn.ended else [words["cut"].format(len(turn.ids))]
        notes += [words["empty"]] if not turn.reply.strip() and not turn.stopped else []
        if "weight" in info:
            notes.append(words["weight"].format(of=self.talk.of, **info))
        if "nats" in info:
            notes.append(words["nats"].format(**info))
        if "kl_bound" in info:
            notes.append(words["kl bound"].format(**info))
        if info.get("log_z", float("nan")) == info.get("log_z", 0.0):
            notes += [words["log z"].format(**info)] if "log_z" in info else []
        if turn.kind == "answer" and turn.entries:
            notes.append(words["rests on"].format(turn.entries[0], 100 * math.exp(info["log_p"])))
        if notes:
            self.tell("; ".join(notes))
        if info.get("ess", 99.0) < FEW:
            self.tell(words["few"].format(self.talk.own_beta or 1.0), "yellow")

    def command(self, text: str) -> None:
        """Carry a slash command out.

        Raises:
            Leave: /quit.
        """
        from difflib import get_close_matches

        from credence.core.errors import ConfigError

        name, _, rest = text[1:].strip().partition(" ")
        name = name.lower()
        if name in ("quit", "exit", "q"):
            raise Leave
        if name not in COMMANDS:
            close = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            near = self.words["near"].format(close[0]) if close else ""
            raise ConfigError(self.words["unknown"].format(f"/{name}", near))
        getattr(self, f"do_{name}")(rest.strip())

    def do_help(self, rest: str) -> None:
        """Every command with its meaning."""
        if self.as_json:
            self.done("help", commands={c: self.words[f"help {c}"] for c in COMMANDS})
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for command in COMMANDS:
            table.add_row(f"/{command} {ARGUMENTS.get(command, '')}".strip(), self.words[f"help {command}"])
        self.console.print(table)
        self.tell(self.words["newline"])

    def do_good(self, rest: str) -> None:
        """The last reply was good."""
        self._rate("good")

    def do_bad(self, rest: str) -> None:
        """The last reply was bad."""
        self._rate("bad")

    def do_better(self, rest: str) -> None:
        """This would have been better."""
        self._rate("better", rest)

    def do_retract(self, rest: str) -> None:
        """The last rating does not count."""
        self._rate("retract")

    def _rate(self, kind: str, text: str = "") -> None:
        kept = self.talk.rate(kind, text)
        self.done(kind, f"{self.words[kind]} {self.words['learn']}", rating=kept.id)

    def do_why(self, rest: str) -> None:
        """What moved the last reply."""
        from credence.cli.chat_show import show_why, why_data
        from credence.cli.terminal import plain

        why = self.talk.why()
        if self.as_json:
            self.done("why", **plain(why_data(why)))
        else:
            show_why(self.console, why, self.talk.turns[-1], self.words, rest == "all")

    def do_belief(self, rest: str) -> None:
        """What may have been asked, or what is known of the user's approval."""
        from credence.cli.chat_show import show_belief
        from credence.cli.terminal import progress

        talk = self.talk
        if talk.desk is not None and not talk.as_prior:
            belief = talk.desk.belief()
            if self.as_json:
                self.done("belief", asked=[{"question": q, "log_p": p} for q, p in belief])
            else:
                show_belief(self.console, belief, self.words)
            return
        found = None
        if self.approval is not None and talk.turns:
            total = self.approval.work(talk.turns[-1])
            if total:
                with progress(self.words["reading"], total, self.as_json) as advance:
                    found = self.approval.of(talk.turns[-1], advance)
            else:
                found = self.approval.of(talk.turns[-1])
        if found is None:
            self.done("belief", self.words["belief none"], ratings=0)
            return
        text = self.words["belief approval"].format(
            mean=found.mean, sd=found.sd, p=100 * found.probability, n=found.ratings
        )
        self.done("belief", text, mean=found.mean, sd=found.sd, probability=found.probability, ratings=found.ratings)

    def do_prior(self, rest: str) -> None:
        """The prior answers, and back."""
        talk = self.talk
        talk.as_prior = not talk.as_prior
        words = self.words
        text = words["as prior"] if talk.as_prior else words["as policy"].format(words[talk.serving])
        self.done("prior", text, serving=talk.serving)

    def do_beta(self, rest: str) -> None:
        """Another β; off goes back; nothing says where it stands."""
        from credence.core.errors import ConfigError

        talk, words = self.talk, self.words
        if rest:
            try:
                talk.set_beta(None if rest.lower() in ("off", "-") else float(rest))
            except ValueError as error:
                if isinstance(error, ConfigError):
                    raise
                raise ConfigError(f"/beta {rest}: a number is needed. {words['beta how']}") from None
        now = talk.own_beta if talk.beta is None else talk.beta
        if now is None:
            self.done("beta", words["beta none"], beta=None)
            return
        match talk.serving:
            case "reweighted":
                law = words["policy" if talk.policy is not None else "prior"]
                how = words["beta reweighted"].format(talk.of, law)
            case "policy":
                how = words["beta policy"]
            case "prior" | "knowledge" as serving:
                self.done("beta", f"{words['beta idle'].format(words[serving])} {words['beta how']}", serving=serving)
                return
            case serving:
                how = words["beta engine"].format(words[serving])
        self.done("beta", f"{words['beta now'].format(now, how)} {words['beta how']}", beta=now, serving=talk.serving)

    def do_again(self, rest: str) -> None:
        """Answer anew."""
        self.answer(self.talk.again(self.tick))

    def do_undo(self, rest: str) -> None:
        """Take the last exchange back."""
        said = self.talk.undo()
        self.done("undo", self.words["undone"].format(said[:60]), user=said)

    def do_save(self, rest: str) -> None:
        """Write the talk to files."""
        from credence.dialogue.transcript import save

        paths = [str(p) for p in save(self.talk, rest)]
        self.done("save", self.words["saved"].format(", ".join(paths)), files=paths)

    def do_lang(self, rest: str) -> None:
        """Another language for what the chat says of itself."""
        self.lang = language(rest or ("zh" if self.lang == "en" else "en"))
        self.done("lang", self.words["lang now"], lang=self.lang)

    def done(self, command: str, text: str = "", **data: Any) -> None:  # noqa: ANN401 - JSON values
        """A command's outcome, in words or as one JSON line."""
        if self.as_json:
            self.record({"command": command, **data})
        else:
            self.tell(text)

    def trouble(self, message: str, kind: str) -> None:
        """A mistake, in the place where the answer would be."""
        if self.as_json:
            self.record({"error": message, "kind": kind})
        else:
            self.tell(message, "red")

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


FEW = 2.0
"""Effective draws below which a reweighted reply is hardly the posterior's."""
