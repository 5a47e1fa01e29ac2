"""The record of a control run: what its report.json holds, and what its page, pictures and terminal table draw."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from credence.report.phrases import estimate_text, interval_text, number, value_text
from credence.report.schema import Estimate

SCHEMA = 1
"""Version of the layout of report.json."""


@dataclass(frozen=True)
class ControlRow:
    """One policy's worth, exact for each run; intervals are over runs.

    Attributes:
        name: machine name.
        title: what a person reads.
        kind: "prior", "target", "train" (with the KL) or "draw" (without it).
        j: E[Σ γ^t (r − β log π/q)], reward units.
        reward: E[Σ γ^t r].
        kl: KL(π‖q) between trajectories, nats.
        gap: (J* − J)/β in nats = KL(π‖π*) between trajectories.
        steps: mean length of an episode.
        note: one line.
    """

    name: str
    title: str
    kind: str
    j: Estimate
    reward: Estimate
    kl: Estimate
    gap: Estimate
    steps: Estimate
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """J and reward of one engine at each look: means over runs and the ends of their 95 % intervals."""

    engine: str
    title: str
    penalised: bool
    steps: tuple[int, ...]
    j: tuple[tuple[float, float, float], ...]
    reward: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class PolicyMap:
    """A policy drawn on the map: a row of action probabilities a state."""

    title: str
    kind: str
    law: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ControlReport:
    """Everything about a control run.

    Attributes:
        title: the run's name.
        world: the environment and its settings, in words.
        beta: reward units a nat.
        prior: what the prior is, in words.
        deterministic: whether each action has one outcome, so that the optimum is a posterior too.
        rows: the table.
        curves: learning curves.
        maps: policies to draw, none where the world is no map.
        cells: the map's letters, or none.
        moves: (rows down, columns right) of each action on the map.
        facts: further sentences, each true of this run.
        manifest: config, versions, machine.
        schema: of report.json.
    """

    title: str
    world: str
    beta: float
    prior: str
    deterministic: bool
    rows: tuple[ControlRow, ...]
    curves: tuple[Curve, ...]
    maps: tuple[PolicyMap, ...]
    cells: tuple[str, ...]
    moves: tuple[tuple[int, int], ...]
    facts: tuple[str, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become "inf" and "-inf", NaN null."""
        return finite(asdict(self))


def finite(value: Any) -> Any:  # noqa: ANN401 - walks any JSON-like tree
    """The tree with what JSON lacks replaced."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]  # pyright: ignore[reportUnknownVariableType] - JSON
    return value


HEADS = ("policy", "J", "E[return]", "KL(π‖q)", "nats to π*", "steps")


def cells(row: ControlRow) -> tuple[Estimate, ...]:
    """The numbers of a row in the order of HEADS."""
    return row.j, row.reward, row.kl, row.gap, row.steps


def sentence(report: ControlReport) -> str:
    """The run in one sentence."""
    trained = [row for row in report.rows if row.kind == "train"]
    best = min(trained, key=lambda row: row.gap.value)
    target = next(row for row in report.rows if row.kind == "target")
    return (
        f"{best.title[:1].upper()}{best.title[1:]} came within {estimate_text(best.gap)} nats of the soft optimum, "
        f"J = {value_text(best.j)} of {value_text(target.j)}."
    )


def print_control(report: ControlReport, console: Console) -> None:
    """The table on a terminal."""
    table = Table(box=None, pad_edge=False)
    for head in HEADS[:-1]:  # as Text: a heading in brackets is no markup; the page has the lengths too
        first = head == "policy"
        table.add_column(Text(head), justify="left" if first else "right", min_width=20 if first else 6)
    for row in report.rows:
        style = {"target": "green", "train": "cyan", "prior": "dim"}.get(row.kind, "")
        values = ["\n".join(filter(None, (value_text(e), interval_text(e)))) for e in cells(row)[:-1]]
        table.add_row(row.title, *values, style=style)
    if not console.is_terminal:
        console.width = 100  # where no person reads along nothing need be folded
    console.print(table)
    for fact in report.facts:
        console.print(fact, markup=False, soft_wrap=not console.is_terminal)


def plainly(value: float) -> str:
    """A setting's number without trailing zeros."""
    return number(value, 3).rstrip("0").rstrip(".")
