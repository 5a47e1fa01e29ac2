"""The record of `credence believe reward`, and its tables in the terminal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from credence.report.control import finite
from credence.report.phrases import UNKNOWN, interval_text, number, value_text, visible
from credence.report.schema import Estimate
from credence.report.tables import bare_table

TITLES = {"base": "no features", "plug_in": "plug-in", "averaged": "averaged",
          "ensemble": "ensemble"}  # fmt: skip


@dataclass(frozen=True)
class RewardRow:
    """One law of what is said next, on the opinions kept apart; intervals are over opinions.

    Attributes:
        name: base, plug_in, averaged or ensemble.
        fit: share of labels or comparisons that it expects rightly; of scores the root mean squared error, points.
        log_loss: mean −log p(what was said), nats.
        calibration: ECE of labels and comparisons; of scores the mean distance of P(score ≤ its value) from uniform.
        against: log-loss minus the base's on the same opinions, nats; None of the base.
    """

    name: str
    fit: Estimate
    log_loss: Estimate
    calibration: Estimate
    against: Estimate | None


@dataclass(frozen=True)
class CoverageRow:
    """How often central intervals hold what they are about.

    Attributes:
        name: of the law.
        levels: as stated.
        shares: found, one a level.
    """

    name: str
    levels: tuple[float, ...]
    shares: tuple[Estimate, ...]


@dataclass(frozen=True)
class Curve:
    """A law's calibration: points (stated, found, low, high), least first."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class RewardReport:
    """What a file of opinions taught, and how far it can be trusted.

    Attributes:
        source: the file's name.
        encoding: of it.
        kind: comparisons, labels or scores.
        opinions: how many by part: learnt, kept_apart; all of them teach the head that is written.
        features: what the reward depends on, and how many numbers that is.
        tau: prior standard deviation of a usual reply's reward, chosen by the evidence.
        noise: standard deviation of a score given its reward; 0 of the others.
        log_evidence: log p(opinions | tau, noise), nats.
        members: of the ensemble.
        rows: laws on the opinions kept apart.
        coverage: of intervals.
        simulated: rewards drawn to see it; 0 where the scores kept apart show it.
        curves: of the picture.
        facts: sentences, each true of these opinions.
        seed: of all that is drawn.
        manifest: versions, machine.
    """

    source: str
    encoding: str
    kind: str
    opinions: Mapping[str, int]
    features: str
    width: int
    tau: float
    noise: float
    log_evidence: float
    members: int
    rows: tuple[RewardRow, ...]
    coverage: tuple[CoverageRow, ...]
    simulated: int
    curves: tuple[Curve, ...]
    facts: tuple[str, ...]
    seed: int
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def row(self, name: str) -> RewardRow:
        """The row of this law."""
        return next(row for row in self.rows if row.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return finite(asdict(self))


def unit(report: RewardReport) -> str:
    """What one unit of the reward is."""
    return "point" if report.kind == "scores" else "logit"


def print_reward(report: RewardReport, console: Console) -> None:
    """The laws, the intervals, and what else is to be known."""
    console.print(_laws(report))
    console.print()
    console.print(_coverage(report))
    console.print()
    for fact in report.facts:
        console.print(visible(fact, " "), markup=False, soft_wrap=not console.is_terminal)


def _cell(estimate: Estimate | None) -> str:
    return "\n".join(filter(None, (value_text(estimate), interval_text(estimate)))) or UNKNOWN


def _laws(report: RewardReport) -> Table:
    scores = report.kind == "scores"
    n = report.opinions
    noise = f" · noise {number(report.noise)}" if scores else ""
    table = bare_table(
        f"{report.source}: {n['learnt']:,} {report.kind} learnt from, {n['kept_apart']:,} kept apart",
        f"{report.features}, {report.width} numbers a text · τ {number(report.tau)} {unit(report)}s{noise} · log-loss "
        f"in nats · [95 %] over opinions · plug-in: by the mean reward alone; averaged: over the belief; ensemble: "
        f"over {report.members} heads on opinions drawn anew",
    )
    table.padding = (0, 2, 0, 0)
    heads = (
        "law",
        "RMSE, points" if scores else "right",
        "log-loss",
        "PIT error" if scores else "ECE",
        "vs no features",
    )
    for i, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if i else "left")
    for row in report.rows:
        values = (row.fit, row.log_loss, row.calibration, row.against)
        style = {"base": "dim", "averaged": "green"}.get(row.name, "")
        table.add_row(TITLES[row.name], *map(_cell, values), style=style)
    return table


def _coverage(report: RewardReport) -> Table:
    how = (
        f"the reward, {report.simulated} times drawn from the prior, its opinions simulated on these very texts"
        if report.simulated
        else "the scores kept apart"
    )
    table = bare_table(f"Intervals that hold {how}", "a calibrated belief holds each level's share")
    table.padding = (0, 2, 0, 0)
    for i, head in enumerate(("law", *(f"{level:.0%}" for level in report.coverage[0].levels))):
        table.add_column(Text(head), justify="right" if i else "left")
    for row in report.coverage:
        table.add_row(TITLES[row.name], *map(_cell, row.shares), style="green" if row.name == "averaged" else "")
    return table
