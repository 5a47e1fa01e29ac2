"""The record of `credence believe choose`, and its tables in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from credence.report.phrases import UNKNOWN, estimate_text, number, visible
from credence.report.schema import Estimate
from credence.report.tables import bare_table

_WIDE = 24
"""Terminal cells of an arm's or a policy's name."""


@dataclass(frozen=True)
class RegretCurve:
    """Cumulative regret of one strategy: mean over runs with the ends of its 95 % interval at each kept step."""

    strategy: str
    steps: tuple[int, ...]
    regret: tuple[tuple[float, float, float], ...]
    best_share: tuple[float, ...]


@dataclass(frozen=True)
class RegretReport:
    """Strategies on a bandit whose truth is known.

    Attributes:
        kind: bernoulli, linear or logistic.
        arms: their names.
        features: of a context.
        steps: choices a run.
        runs: how many.
        seed: of all.
        curves: one a strategy.
    """

    kind: str
    arms: tuple[str, ...]
    features: int
    steps: int
    runs: int
    seed: int
    curves: tuple[RegretCurve, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ArmRow:
    """One arm: what was logged, what is believed.

    Attributes:
        arm: its name.
        tries: how often it was chosen.
        raw: mean of its rewards; None where there is none.
        belief: posterior mean of its reward and the 95 % interval.
        p_best: probability that it is the best, which is how often Thompson sampling chooses it.
    """

    arm: str
    tries: int
    raw: float | None
    belief: Estimate
    p_best: float


@dataclass(frozen=True)
class PolicyRow:
    """One policy's value from the log, by three estimators; None where one cannot be had."""

    policy: str
    ips: Estimate | None
    snips: Estimate | None
    dr: Estimate | None
    ess: float
    matched: float
    weight_mean: float
    trusted: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LogReport:
    """What a log says.

    Attributes:
        source: the file.
        encoding: what it was in.
        model: bernoulli, linear or logistic.
        choices: lines that were read.
        broken: lines that were left out, with reasons.
        contexts: features by name.
        at: where the arms are compared: "", "the logged contexts, on average", or the context given.
        arms: one row an arm.
        next_arm: drawn by Thompson sampling.
        next_propensity: with this probability, to be logged.
        policies: one row a policy.
        folds: of the cross-fitting.
        seed: of all that is drawn.
        notes: what a reader should know.
    """

    source: str
    encoding: str
    model: str
    choices: int
    broken: tuple[tuple[int, str], ...]
    contexts: tuple[str, ...]
    at: str
    arms: tuple[ArmRow, ...]
    next_arm: str
    next_propensity: float
    policies: tuple[PolicyRow, ...]
    folds: int
    seed: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def print_regret(report: RegretReport, console: Console) -> None:
    """Final regret of each strategy, least first."""
    where = f"{report.features} features a context, " if report.features else ""
    table = bare_table(
        f"Regret on a {report.kind} bandit: {', '.join(report.arms)}",
        f"{where}{report.runs} runs of {report.steps} choices, seed {report.seed} · regret: Σ best mean − chosen "
        "mean · [95 %] over runs",
    )
    for head in ("strategy", "regret", "regret halfway", "best arm, last choice"):
        table.add_column(Text(head), justify="left" if head == "strategy" else "right")
    table.padding = (0, 2, 0, 0)
    for curve in sorted(report.curves, key=lambda c: c.regret[-1][0]):
        half = min(range(len(curve.steps)), key=lambda i: abs(2 * curve.steps[i] - report.steps))
        spans = (estimate_text(Estimate(*curve.regret[i])) for i in (-1, half))
        table.add_row(curve.strategy, *spans, f"{100 * curve.best_share[-1]:.0f} %")
    console.print(table)


def print_log(report: LogReport, console: Console) -> None:
    """Notes, the arms, what to choose next, the policies, and what cannot be trusted."""
    for line in _lines(report.notes):
        console.print(line)
    console.print(_arms(report))
    console.print()
    sure = "" if report.next_propensity < 0.995 else ": the belief is all but sure"
    average = report.at and "=" not in report.at
    chosen = Text(f"choose next, for {report.at}: " if average else "choose next: ").append(
        visible(report.next_arm, " "), style="bold"
    )
    chosen.append(f"  (Thompson sampling, propensity {number(report.next_propensity, 3)}{sure}; log it)")
    if average:
        chosen.append(f". For one context: --at {report.contexts[0].partition('=')[0]}=…")
    console.print(chosen, soft_wrap=not console.is_terminal)
    console.print()
    console.print(Group(_policies(report), *_doubts(report)))


def _lines(notes: Sequence[str]) -> Iterator[Text]:
    for note in notes:
        yield Text("!   ", style="bold yellow").append(visible(note, " "), style="default")


def _name(text: str) -> Text:
    name = Text(visible(text, " "))
    name.truncate(_WIDE, overflow="ellipsis")
    return name


def _arms(report: LogReport) -> Table:
    where = f" · at {visible(report.at, ' ')}" if report.at else ""
    table = bare_table(
        f"{report.source}: {report.choices} choices",
        f"{report.model} model{where} · contexts: {', '.join(report.contexts) or 'none'} · [95 %] of the posterior",
    )
    table.padding = (0, 2, 0, 0)
    for head in ("arm", "tries", "mean reward", "posterior mean", "P(best)"):
        table.add_column(Text(head), justify="left" if head == "arm" else "right")
    for row in report.arms:
        raw = UNKNOWN if row.raw is None else number(row.raw, 3)
        table.add_row(_name(row.arm), str(row.tries), raw, estimate_text(row.belief), number(row.p_best, 3))
    return table


def _policies(report: LogReport) -> Table:
    table = bare_table(
        "Value of each policy, from this log",
        f"reward a choice · [95 %] over choices · q̂ and learnt policies from {report.folds} folds, each judged on the "
        "others' · ESS: choices of that policy that the log is worth",
    )
    table.padding = (0, 1, 0, 0)
    for head in ("", "policy", "IPS", "SNIPS", "DR", "ESS"):
        table.add_column(Text(head), justify="left" if head in ("", "policy") else "right")
    for row in report.policies:
        mark = Text("" if row.trusted else "!", style="bold yellow")
        spans = (UNKNOWN if e is None else estimate_text(e).replace("  ", "\n") for e in (row.ips, row.snips, row.dr))
        table.add_row(mark, _name(row.policy), *spans, number(row.ess, 0))
    return table


def _doubts(report: LogReport) -> Iterator[Text]:
    """Each warning once, with the policies that it is true of."""
    told: dict[str, list[str]] = {}
    for row in report.policies:
        for warning in row.warnings:
            told.setdefault(warning, []).append(row.policy)
    for warning, policies in told.items():
        line = Text("!   ", style="bold yellow").append(visible(", ".join(policies), " "), style="bold")
        yield line.append(": " + visible(warning, " "), style="default")
