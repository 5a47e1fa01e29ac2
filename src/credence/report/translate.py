"""The record of a translation study: what its report.json holds, and what page, pictures and terminal tables draw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from credence.report.control import finite
from credence.report.phrases import interval_text, short, value_text, visible
from credence.report.schema import Estimate

SCHEMA = 1
"""Version of the layout of report.json."""


@dataclass(frozen=True)
class ScorerRow:
    """One way to choose among the candidates, on the test sources; intervals are over sources.

    Attributes:
        name: machine name.
        title: what a person reads.
        kind: colour: "prior" (baselines), "draw" (direct), "train" (channel), "target" (both).
        accuracy: share of sources for which the reference is chosen; None where it is not among the choices.
        chrf: corpus chrF2 of what is chosen, 0 to 100; None likewise.
        log_loss: −log p(reference), nats a source; None where there are no probabilities.
        accuracy_against: accuracy minus that of `direct`, on the same sources.
        log_loss_against: log-loss minus that of `direct`.
        without: chrF2 of what is chosen where the reference is taken out: what the memory alone could answer.
        note: one line.
    """

    name: str
    title: str
    kind: str
    accuracy: Estimate | None
    chrf: Estimate | None
    log_loss: Estimate | None
    accuracy_against: Estimate | None
    log_loss_against: Estimate | None
    without: Estimate
    note: str = ""


@dataclass(frozen=True)
class MeasureRow:
    """One figure of the translator before and after REINFORCE, and how much it gained, on the same sources."""

    name: str
    title: str
    before: Estimate
    after: Estimate
    gain: Estimate


@dataclass(frozen=True)
class Step:
    """One step of REINFORCE: J of its own draws, and of validation where it was looked at; reward units."""

    step: int
    objective: float
    validation: float | None


@dataclass(frozen=True)
class PolicyReport:
    """The small translator.

    Attributes:
        rows: chrF of greedy translations, E[r], KL, J.
        steps: of REINFORCE.
        beta: chrF, as a share of 1, per nat.
        best: the step whose weights were kept; 0: the translator as likelihood left it.
        greedy: a few sources: (source, reference, before, after).
        facts: sentences.
    """

    rows: tuple[MeasureRow, ...]
    steps: tuple[Step, ...]
    beta: float
    best: int
    greedy: tuple[tuple[str, str, str, str], ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """One test source and what was chosen.

    Attributes:
        source: text.
        reference: its translation.
        candidates: all of them.
        picked: by scorer, its number.
        p: by scorer, the reference's probability.
        why: why it is shown.
    """

    source: str
    reference: str
    candidates: tuple[str, ...]
    picked: Mapping[str, int]
    p: Mapping[str, float]
    why: str


@dataclass(frozen=True)
class TranslateReport:
    """Everything about a translation study.

    Attributes:
        title: the run's name.
        sizes: pairs by part, and candidates.
        rows: the table.
        choices: a few test sources.
        facts: sentences, each true of this run.
        weights: what validation set, by name.
        chosen: name of the scorer that answers --text and --file.
        policy: the small translator; None where it was left out.
        manifest: config, versions, machine.
        schema: of report.json.
    """

    title: str
    sizes: Mapping[str, int]
    rows: tuple[ScorerRow, ...]
    choices: tuple[Choice, ...]
    facts: tuple[str, ...]
    weights: Mapping[str, Any]
    chosen: str
    policy: PolicyReport | None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def row(self, name: str) -> ScorerRow:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become "inf" and "-inf", NaN null."""
        return finite(asdict(self))


NAMED = ("direct", "channel", "bayes", "tuned")
"""Scorers of the sentence at the top."""
HEADS = {
    "scorer": "",
    "accuracy@1": "share of test sources whose likeliest candidate is the reference",
    "chrF": "corpus chrF2 of the likeliest candidates against the references, 0 to 100",
    "log-loss": "mean −log p(reference), nats a source",
    "acc. vs direct": "accuracy minus direct's, source by source: above 0 is better",
    "loss vs direct": "log-loss minus direct's, source by source, nats: below 0 is better",
    "chrF without": "chrF2 where the reference is taken out of the candidates: what the memory alone could answer",
}
ROOM = {"chrF without": 128, "loss vs direct": 112, "acc. vs direct": 95}
"""Cells of a terminal below which a column is left out; the page and the JSON have it."""
POLICY_HEADS = {
    "held-out": "",
    "before": "the translator as maximum likelihood left it",
    "after": "after REINFORCE with the KL inside the return",
    "gain": "on the same sources, by the same resamples",
}


def cells(row: ScorerRow) -> tuple[Estimate | None, ...]:
    """The numbers of a row in the order of HEADS."""
    return row.accuracy, row.chrf, row.log_loss, row.accuracy_against, row.log_loss_against, row.without


def sentence(report: TranslateReport) -> str:
    """The run in one sentence, whoever wins."""
    rows = [row for row in report.rows if row.log_loss is not None]
    best = min(rows, key=lambda row: row.log_loss.value if row.log_loss else 0.0)
    named = [report.row(name) for name in NAMED]
    said = ", ".join(
        f"{row.title} {value_text(row.accuracy, percent=True)} {interval_text(row.accuracy, percent=True)}".strip()
        for row in named
    )
    return (
        f"Of {report.sizes['test']} sources the reference is chosen among {report.sizes['candidates']} candidates by: "
        f"{said}; {best.title} has the least log-loss, {value_text(best.log_loss)} nats {interval_text(best.log_loss)}."
    )


def print_translate(report: TranslateReport, console: Console) -> None:
    """The tables and the facts on a terminal."""
    if not console.is_terminal:
        console.width = 130  # where no person reads along nothing need be folded
    left_out = frozenset(head for head, room in ROOM.items() if console.width < room)
    table = _columns(HEADS, left_out)
    for row in report.rows:
        if row.accuracy is None and "chrF without" in left_out:
            continue  # it has no other figure
        style = {"target": "green", "train": "cyan", "prior": "dim"}.get(row.kind, "")
        shown = zip(list(HEADS)[1:], cells(row), strict=True)
        values = [_stacked(e) for head, e in shown if head not in left_out]
        table.add_row(Text(visible(row.title, " ")), *map(Text, values), style=style)
    console.print(table)
    for fact in report.facts:
        console.print(visible(fact, " "), markup=False, soft_wrap=not console.is_terminal)
    if report.policy is not None:
        _print_policy(report.policy, console)


def _print_policy(policy: PolicyReport, console: Console) -> None:
    table = _columns(POLICY_HEADS, frozenset())
    for row in policy.rows:
        table.add_row(Text(row.title), *(Text(_stacked(e)) for e in (row.before, row.after, row.gain)))
    console.print()
    console.print(table)
    for fact in policy.facts:
        console.print(visible(fact, " "), markup=False, soft_wrap=not console.is_terminal)


def _columns(heads: Mapping[str, str], left_out: frozenset[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(heads):
        if head not in left_out:
            table.add_column(Text(head), justify="right" if i else "left", min_width=6 if i else 18)
    return table


def _stacked(estimate: Estimate | None) -> str:
    return "\n".join(filter(None, (value_text(estimate), interval_text(estimate))))


def print_ranked(rows: Sequence[tuple[str, float, str]], console: Console) -> None:
    """Candidates with their probabilities and where each comes from; a Chinese character takes two cells.

    Args:
        rows: (candidate, probability, origin), best first.
        console: where it goes.
    """
    wide = console.width if console.is_terminal else 130
    most = max(20, min(60, wide - 44))
    texts = [short(text, most) for text, _, _ in rows]
    room = max(map(cell_len, texts), default=0)
    for (_, p, origin), text in zip(rows, texts, strict=True):
        line = Text(f"  {share(p):>7}  ", style="bold" if text is texts[0] else "")
        line.append(text + " " * (room - cell_len(text)))
        line.append("  " + short(origin, max(10, wide - room - 14)), style="dim")
        console.print(line, soft_wrap=True)


def share(p: float) -> str:
    """A probability for a reader: 0.970, > 0.999, < 0.001."""
    return "> 0.999" if p > 0.999 else "< 0.001" if p < 0.001 else f"{p:.3f}"
