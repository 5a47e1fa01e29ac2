"""The run in the terminal: the ruler, the prompts, what cannot be trusted. Readable at 80 columns."""

from rich import box
from rich.table import Table
from rich.text import Text

from credence.report.phrases import interval_text, number, plain, rows_of, value_text, visible
from credence.report.schema import Estimate, Finding, PromptRow, Report

_STYLE = {"prior": "dim", "draw": "", "train": "bold", "target": "green"}


def _cell(estimate: Estimate | None, percent: bool = False) -> Text:
    """The value, its interval below it in a quieter voice."""
    text = Text(value_text(estimate, percent), justify="right")
    span = interval_text(estimate, percent)
    if span:
        text.append("\n" + span, style="dim")
    return text


def bare_table(title: str, caption: str) -> Table:
    """A table as every report on the screen has it: title and caption to the left, one rule under the head."""
    return Table(
        title=Text(visible(title, " ")),
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0),
    )


def ruler_table(report: Report) -> Table:
    """Every law on one ruler, in nats from the posterior; 95 % intervals below the values.

    Test: tests/unit/test_report.py::test_ruler_fits_eighty_columns (Chinese titles too).
    """
    table = bare_table(report.title, f"reward: {visible(report.reward_name, ' ')} · β {report.beta:g} · KL in nats · "
                   "[95 %] over prompts and draws")  # fmt: skip
    table.add_column("law", overflow="fold", max_width=16)
    for head in ("E[r]", "KL(law‖π0)", "KL(law‖p*)", "KL(p*‖law)", "gap closed"):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in rows_of(report):
        table.add_row(
            Text(visible(row.title, " "), style=_STYLE.get(row.kind, "")),
            _cell(row.reward),
            _cell(row.kl_prior),
            _cell(row.kl_reverse),
            _cell(row.kl_forward),
            _cell(row.gap_closed, percent=True),
        )
    return table


def log_z_text(row: PromptRow) -> tuple[str, str]:
    """log Z ± its standard error, and its bounds: each holds in expectation, ? where there is none."""
    error = f" ± {number(row.log_z_se)}" if row.log_z_se else ""
    high = "?" if row.log_z_high is None else number(row.log_z_high)
    return number(row.log_z) + error, f"[{number(row.log_z_low)}, {high}]"


def prompt_table(report: Report) -> Table:
    """What the prior's draws say of each held-out prompt; the flagged are marked, not dropped."""
    table = bare_table("Held-out prompts", "log Z in nats, below it bounds that hold in expectation · ESS of the "
                   "prior's draws · k̂ above 0.7: "
                   "the weights' tail is too heavy · exact: posterior draws got by rejection")  # fmt: skip
    table.add_column("", width=1)
    table.add_column("prompt", overflow="fold", max_width=32)
    for head in ("log Z", "ESS/draws", "  k̂", "exact", "KL(p*‖π0)", "E[r] π0→p*"):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in report.prompts:
        value, bounds = log_z_text(row)
        prompt = Text(visible(row.prompt, " ↵ "))
        prompt.truncate(36, overflow="ellipsis")
        table.add_row(
            Text("" if row.trusted else "!", style="bold yellow"),
            prompt,
            Text(value, justify="right").append("\n" + bounds, style="dim"),
            f"{number(row.ess, 0)}/{row.draws}",
            number(row.pareto_k),
            Text(str(row.exact_draws), style="" if row.exact_draws else "yellow"),
            Text(number(row.kl_posterior_prior)).append(f"\n± {number(row.kl_posterior_prior_se)}", style="dim"),
            f"{number(row.reward_prior)}→{number(row.reward_posterior)}",
        )
    return table


def measured(finding: Finding) -> str:
    """The finding's number beside its threshold, where it has them."""
    if finding.value is None:
        return ""
    limit = "" if finding.threshold is None else f", threshold {plain(finding.threshold)}"
    return plain(finding.value) + limit


def findings_lines(report: Report) -> list[Text]:
    """One line a finding, those that are not ok first; flagged prompts after them."""
    lines: list[Text] = []
    for finding in sorted(report.findings, key=lambda found: found.ok):
        line = Text("ok  " if finding.ok else "!   ", style="green" if finding.ok else "bold yellow")
        line.append(visible(finding.name, " "), style="bold")
        line.append(": " + visible(finding.meaning, " "), style="default")
        if measured(finding):
            line.append(f" ({measured(finding)})", style="dim")
        if finding.prompt is not None:
            line.append(f" [prompt: {visible(finding.prompt, ' ↵ ')}]", style="dim")
        lines.append(line)
    for row in report.prompts:
        if not row.trusted:
            line = Text("!   ", style="bold yellow")
            line.append(visible(row.prompt, " ↵ "), style="bold")
            line.append(": " + (visible(row.why_not, " ") or "flagged"), style="default")
            lines.append(line)
    return sorted(lines, key=lambda line: line.plain.startswith("ok"))
