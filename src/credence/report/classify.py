"""The record of a classification: what its report.json holds, and what its page, pictures and terminal table draw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import exp
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from credence.report.control import finite
from credence.report.phrases import interval_text, number, value_text, visible
from credence.report.schema import Estimate

SCHEMA = 1
"""Version of the layout of report.json."""


@dataclass(frozen=True)
class ClassifierRow:
    """One classifier on the test texts; intervals are over texts.

    Attributes:
        name: machine name.
        title: what a person reads.
        kind: colour: "prior" (baselines), "draw" (direct), "train" (channel), "target" (head).
        accuracy: share right.
        log_loss: nats a text.
        brier: 0 to 2.
        ece: expected calibration error, 0 to 1.
        against: log-loss minus the bag of words' on the same texts, nats; None of the bag itself.
        note: one line.
    """

    name: str
    title: str
    kind: str
    accuracy: Estimate
    log_loss: Estimate
    brier: Estimate
    ece: Estimate
    against: Estimate | None
    note: str = ""


@dataclass(frozen=True)
class Point:
    """Texts of about one stated probability: how often the label was right."""

    stated: float
    right: Estimate
    count: int


@dataclass(frozen=True)
class Reliability:
    """One panel of the reliability diagram."""

    name: str
    title: str
    kind: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Strip:
    """One text, each token by how far it moves the log-odds of a label.

    Attributes:
        text: what of it was read.
        label: the true one; "" where it is not known.
        towards: the label whose log-odds rise with positive nats.
        pieces: tokens as texts.
        nats: of each.
        start: log-odds before the first token, nats.
        probability: of `towards` in the end.
        why: why this text is shown.
    """

    text: str
    label: str
    towards: str
    pieces: tuple[str, ...]
    nats: tuple[float, ...]
    start: float
    probability: float
    why: str = ""


@dataclass(frozen=True)
class ClassifyReport:
    """Everything about a classification.

    Attributes:
        title: the run's name.
        labels: K names.
        sizes: texts by part: train, validation, test.
        rows: the table.
        reliability: panels.
        strips: a few test texts.
        facts: sentences, each true of this run.
        tau: power of the channel's likelihood.
        chosen: name of the row that answers --text and --file.
        manifest: config, versions, machine.
        schema: of report.json.
    """

    title: str
    labels: tuple[str, ...]
    sizes: Mapping[str, int]
    rows: tuple[ClassifierRow, ...]
    reliability: tuple[Reliability, ...]
    strips: tuple[Strip, ...]
    facts: tuple[str, ...]
    tau: float
    chosen: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def row(self, name: str) -> ClassifierRow:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become "inf" and "-inf", NaN null."""
        return finite(asdict(self))


BAG = "bag_of_words"
ROOM = 92
"""Cells of a terminal that all columns need."""
HEADS = {
    "classifier": "",
    "accuracy": "share of test texts whose likeliest label is right",
    "log-loss": "mean −log p(true label), nats a text",
    "Brier": "mean squared distance of the probabilities from the truth, 0 to 2",
    "ECE": "|accuracy − stated probability| of the likeliest label, mean over 10 bins of equal mass",
    "vs bag": "log-loss minus the bag of words', text by text, nats: below 0 is better",
}


def cells(row: ClassifierRow) -> tuple[Estimate | None, ...]:
    """The numbers of a row in the order of HEADS."""
    return row.accuracy, row.log_loss, row.brier, row.ece, row.against


def sentence(report: ClassifyReport) -> str:
    """The run in one sentence, whoever wins."""
    best, bag = min(report.rows, key=lambda row: row.log_loss.value), report.row(BAG)
    said = f"{best.title[:1].upper()}{best.title[1:]} has the least log-loss on {report.sizes['test']} test texts, "
    said += f"{value_text(best.log_loss)} nats {interval_text(best.log_loss)}"
    if best.name == bag.name:
        return said + f", and is right on {value_text(best.accuracy, percent=True)} of them."
    return said + (
        f", right on {value_text(best.accuracy, percent=True)}; the bag of words {value_text(bag.log_loss)}, right on "
        f"{value_text(bag.accuracy, percent=True)}."
    )


def print_classify(report: ClassifyReport, console: Console) -> None:
    """The table and the facts on a terminal."""
    if not console.is_terminal:
        console.width = 120  # where no person reads along nothing need be folded
    left_out = set() if console.width >= ROOM else {"Brier"}  # the page and the JSON have it
    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(HEADS):
        if head not in left_out:
            table.add_column(Text(head), justify="right" if i else "left", min_width=6 if i else 18)
    for row in report.rows:
        style = {"target": "green", "train": "cyan", "prior": "dim"}.get(row.kind, "")
        shown = zip(list(HEADS)[1:], cells(row), strict=True)
        values = [
            "\n".join(filter(None, (value_text(e), interval_text(e)))) for head, e in shown if head not in left_out
        ]
        table.add_row(Text(visible(row.title, " ")), *map(Text, values), style=style)
    console.print(table)
    for fact in report.facts:
        console.print(visible(fact, " "), markup=False, soft_wrap=not console.is_terminal)


_SHADES = ((2.0, 4), (1.0, 3), (0.5, 2), (0.1, 1))
_BLUE = ("", "on #dbe9f6", "on #9ec9e8", "on #4b97c9", "bold white on #1259a8")
_ORANGE = ("", "on #fdebd9", "on #fbc792", "on #ee8f3f", "bold white on #b4520a")


def print_strip(strip: Strip, console: Console) -> None:
    """A text's tokens with the nats of each below it, coloured; a Chinese character takes two cells."""
    wide = console.width if console.is_terminal else 100
    lines, used = [(Text(), Text())], 0
    for piece, nats in whole(strip):
        shown, value = _shown(piece), signed(nats)
        size = max(cell_len(shown), len(value)) + 1
        if used and used + size > wide:
            lines.append((Text(), Text()))
            used = 0
        style = _style(nats)
        above, below = lines[-1]
        above.append(shown, style="black " + style if style and "white" not in style else style)
        above.append(" " * (size - cell_len(shown)))
        below.append(value + " " * (size - len(value)), style="dim")
        used += size
    for above, below in lines:
        console.print(above, soft_wrap=True)
        console.print(below, soft_wrap=True)


def whole(strip: Strip) -> list[tuple[str, float]]:
    """Pieces with their nats, parts of one character joined: their nats add up."""
    out: list[tuple[str, float]] = []
    part = 0.0
    for piece, nats in zip(strip.pieces, strip.nats, strict=True):
        part += nats
        if piece:
            out.append((piece, part))
            part = 0.0
    return [*out, ("…", part)] if part else out


def signed(nats: float) -> str:
    """`+1.2`, `−0.3`, `0.0`."""
    text = number(nats, 1)
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"


def _shown(piece: str) -> str:
    """A token as one line: a part of a character shows as …, lone space as ␣."""
    line = visible(piece, "↵")
    return line.replace(" ", "␣") if line and not line.strip() else line.strip() or "…"


def _style(nats: float) -> str:
    level = next((shade for edge, shade in _SHADES if abs(nats) >= edge), 0)
    return (_BLUE if nats > 0 else _ORANGE)[level]


def probabilities_text(labels: Sequence[str], log_p: Sequence[float]) -> str:
    """`good 0.970, bad 0.030`, and never a certainty that is none."""
    return ", ".join(f"{label} {sureness(p)}" for label, p in zip(labels, log_p, strict=True))


def sureness(log_p: float) -> str:
    """A probability for a reader: 0.970, > 0.999, < 0.001."""
    p = exp(log_p)
    return "> 0.999" if p > 0.999 else "< 0.001" if p < 0.001 else number(p, 3)
