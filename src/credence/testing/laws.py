"""What came of a thing's laws: a table of those it keeps, those it breaks, and those that could not be tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from credence.core.errors import ContractError

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 100
"""Columns of the table as plain text."""


class Verdict(Enum):
    """What became of one law."""

    KEPT = "kept"
    BROKEN = "broken"
    UNTRIED = "not tried"


@dataclass(frozen=True)
class Law:
    """One law.

    Attributes:
        text: the law, as a sentence about the thing.
        verdict: what became of it.
        found: what was measured, how it was broken, or why it was not tried.
    """

    text: str
    verdict: Verdict
    found: str


@dataclass(frozen=True)
class Laws:
    """The laws of one thing. Prints as a table: `print(laws)` as plain text, rich's consoles in colour.

    Attributes:
        subject: what was held to them.
        laws: in the order in which they were tried.
    """

    subject: str
    laws: tuple[Law, ...]

    @property
    def ok(self) -> bool:
        """Whether none is broken; a law that was not tried is not broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[Law, ...]:
        """Those that are broken."""
        return tuple(law for law in self.laws if law.verdict is Verdict.BROKEN)

    def require(self) -> "Laws":
        """These laws, where none is broken.

        Raises:
            ContractError: with the whole table.
        """
        if not self.ok:
            raise ContractError(f"{self.subject} breaks {len(self.broken)} of {len(self.laws)} laws.\n{self}")
        return self

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        text = StringIO()
        Console(file=text, width=WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __rich__(self) -> "Table":
        from rich import box
        from rich.table import Table
        from rich.text import Text

        style = {Verdict.KEPT: "green", Verdict.BROKEN: "bold red", Verdict.UNTRIED: "dim"}
        table = Table(title=Text(self.subject), title_justify="left", title_style="bold", caption_justify="left",
                      box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
        for head in ("law", "", "found"):
            table.add_column(head, overflow="fold")
        for law in self.laws:
            table.add_row(Text(law.text), Text(law.verdict.value, style[law.verdict], no_wrap=True), Text(law.found))
        count = {v: sum(law.verdict is v for law in self.laws) for v in Verdict}
        table.caption = Text(", ".join(f"{n} {v.value}" for v, n in count.items() if n))
        return table


class Broken(Exception):
    """A law is broken; the message says how."""


class Untried(Exception):
    """A law cannot be tried on this thing; the message says why."""


@dataclass(frozen=True)
class Trial:
    """A law and how it is tried.

    Attributes:
        text: the law.
        tried: what it found, or raises Broken or Untried; any other exception breaks the law too.
        vital: where it is broken, nothing that follows is tried.
    """

    text: str
    tried: Callable[[], str]
    vital: bool = False


def hold(subject: str, trials: Sequence[Trial]) -> Laws:
    """Try each law once."""
    out: list[Law] = []
    lost = ""
    for trial in trials:
        law = Law(trial.text, Verdict.UNTRIED, f"needs: {lost}") if lost else _tried(trial)
        if trial.vital and law.verdict is Verdict.BROKEN:
            lost = trial.text
        out.append(law)
    return Laws(subject, tuple(out))


def _tried(trial: Trial) -> Law:
    try:
        return Law(trial.text, Verdict.KEPT, trial.tried())
    except Broken as broken:
        return Law(trial.text, Verdict.BROKEN, str(broken))
    except Untried as untried:
        return Law(trial.text, Verdict.UNTRIED, str(untried))
    except Exception as error:  # noqa: BLE001 - the thing on trial is somebody else's: however it fails, it fails
        return Law(trial.text, Verdict.BROKEN, f"raised {type(error).__name__}: {error}")


def members(thing: object, protocol: type, names: Sequence[str]) -> str:
    """Whether it has what the protocol asks for."""
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise Broken(f"{type(thing).__name__} lacks {', '.join(missing)}, which {protocol.__name__} needs")
    return ""


def refuses(call: Callable[[], object], what: str) -> str:
    """Whether a call is refused with an error that a caller may expect."""
    try:
        call()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    raise Broken(f"{what} was accepted; a ShapeError (a ValueError) is needed")
