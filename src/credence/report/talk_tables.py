"""A dialogue run in the terminal: findings, then before and after. Readable at 80 columns."""

from rich import box
from rich.table import Table
from rich.text import Text

from credence.report.phrases import interval_text, value_text, visible
from credence.report.schema import Estimate
from credence.report.talks import TalkReport

_LABELS = {
    "j": "J/β, nats a dialogue", "reward": "E[Σ r], nats a dialogue", "kl_turn": "KL a turn, nats", "turns": "turns",
    "satisfied": "satisfied users",
}  # fmt: skip


def talk_table(report: TalkReport) -> Table:
    """A row a measure, a column a law; 95 % intervals below the values.

    Test: tests/e2e/test_dialogue.py.
    """
    made = Table(
        title=Text(visible(report.title, " ")), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        show_edge=False, pad_edge=False,
        caption=Text(f"{report.users['heldout']} held-out users · [95 %] over users and dialogues"),
        caption_justify="left",
    )  # fmt: skip
    made.add_column("", max_width=24)
    for row in report.rows:
        made.add_column(row.title, justify="right", no_wrap=True)
    for name, label in _LABELS.items():
        made.add_row(label, *(_cell(getattr(row, name), name == "satisfied") for row in report.rows))
    for name in report.rows[0].readings:
        made.add_row(Text(visible(name, " ") + ", a reply"), *(_cell(row.readings[name]) for row in report.rows))
    return made


def _cell(estimate: Estimate, percent: bool = False) -> Text:
    text = Text(value_text(estimate, percent), justify="right")
    span = interval_text(estimate, percent)
    return text.append("\n" + span, style="dim") if span else text


def talk_findings(report: TalkReport) -> list[Text]:
    """One line a finding, those that are not ok first."""
    lines: list[Text] = []
    for finding in sorted(report.findings, key=lambda f: f.ok):
        line = Text("ok  " if finding.ok else "!   ", style="green" if finding.ok else "bold yellow")
        line.append(visible(finding.name, " "), style="bold").append(
            ": " + visible(finding.meaning, " "), style="default"
        )
        lines.append(line)
    return lines
