"""A comparison in the terminal: the ruler, the cost, why a dash is one, and the advice. Readable at 80 columns."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from credence.report.comparison import CompareRow, Comparison, Spent, footnotes
from credence.report.phrases import UNKNOWN, interval_text, number, value_text, visible
from credence.report.schema import Estimate
from credence.report.tables import bare_table

_STYLE = {"prior": "dim", "draw": "", "train": "bold", "target": "green"}
RULER = ("reward", "kl_prior", "kl_reverse", "kl_forward", "gap_closed")
DRAWN = ("log_z_low", "log_z_high", "ess", "pareto_k", "unique")
SPENT = ("spent", "each", "per_nat", "memory")
COST = DRAWN + SPENT
"""Columns of the tables."""


def print_comparison(report: Comparison, console: Console) -> None:
    """Two tables, the reasons, the sentence. Test: tests/unit/test_comparison.py."""
    if not console.is_terminal:
        console.width = max(100, console.width)  # where no person reads along nothing need be folded
    marks = footnotes(report.rows, RULER + COST)
    console.print(ruler_table(report, marks))
    console.print()
    said = "log Z: bounds in expectation, nats · ESS: effective draws a prompt · unique: different replies over draws"
    heads = ("log Z ≥", "log Z ≤", "ESS", "k̂", "unique")
    console.print(plain_table(report, marks, "What it says of log Z, and its draws", said, heads, DRAWN))
    console.print()
    said = "until now: of each seed · a nat of the gap: in training once, else a reply · memory: peak of the process"
    heads = ("until now", "one more reply", "a nat of the gap", "memory")
    console.print(plain_table(report, marks, "What it cost", said, heads, SPENT))
    wrapped = not console.is_terminal
    for reason, mark in marks.items():
        console.print(Text(f"{mark}  {visible(reason, ' ')}", style="dim"), soft_wrap=wrapped)
    for fact in report.facts:
        console.print(Text(visible(fact, " ")), soft_wrap=wrapped)
    console.print()
    console.print(Text(visible(report.recommendation.sentence, " "), style="bold"), soft_wrap=wrapped)
    console.print(Text(visible(report.recommendation.why, " ")), soft_wrap=wrapped)


def ruler_table(report: Comparison, marks: dict[str, str]) -> Table:
    """Every law on one ruler; 95 % intervals below the values."""
    table = bare_table(report.title, f"reward: {visible(report.reward_name, ' ')} · β {report.beta:g} · KL in nats · "
                   "[95 %] over prompts, draws and seeds")  # fmt: skip
    table.add_column("law", overflow="fold", max_width=16)
    for head in ("E[r]", "KL(law‖π0)", "KL(law‖p*)", "KL(p*‖law)", "gap closed"):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in shown(report):
        name = Text(visible(row.title, " "), style=_STYLE.get(row.kind, ""))
        cells = [_cell(row, f, getattr(row, f), marks, percent=f == "gap_closed") for f in RULER]
        table.add_row(name, *cells)
    return table


def plain_table(
    report: Comparison, marks: dict[str, str], title: str, caption: str, heads: tuple[str, ...], fields: tuple[str, ...]
) -> Table:
    """Numbers without an interval."""
    table = bare_table(title, caption)
    table.add_column("law", overflow="fold", max_width=16)
    for head in heads:
        table.add_column(Text(f"  {head}"), justify="right", no_wrap=True)
    for row in shown(report):
        name = Text(visible(row.title, " "), style=_STYLE.get(row.kind, ""))
        table.add_row(name, *(_plain(row, f, marks) for f in fields))
    return table


def shown(report: Comparison) -> list[CompareRow]:
    """The rows that have numbers."""
    return [row for row in report.rows if not row.refused]


def cost_text(field: str, row: CompareRow) -> str:
    """A cell without an interval; a dash where it is not known."""
    value = getattr(row, field)
    if value is None:
        return UNKNOWN
    if isinstance(value, Spent):
        return ", ".join(value.words)
    if field == "unique":
        return f"{100 * value:.0f} %"
    if field == "memory":
        return f"{number(value, 0)} MiB"
    if field == "ess":
        return f"{number(value, 1)}" + ("" if row.draws is None else f" of {number(row.draws, 0)}")
    return number(value)


def _plain(row: CompareRow, field: str, marks: dict[str, str]) -> Text:
    text = Text(cost_text(field, row), justify="right")
    return _marked(text, row, field, marks, getattr(row, field) is None)


def _cell(row: CompareRow, field: str, estimate: Estimate | None, marks: dict[str, str], percent: bool) -> Text:
    text = _marked(Text(value_text(estimate, percent), justify="right"), row, field, marks, estimate is None)
    span = interval_text(estimate, percent)
    return text.append("\n" + span, style="dim") if span else text


def _marked(text: Text, row: CompareRow, field: str, marks: dict[str, str], unknown: bool) -> Text:
    mark = marks.get(row.why.get(field, ""), "") if unknown else ""
    return text.append(f" {mark}", style="dim") if mark else text
