"""What the runs of `credence control` came to: rows beside the exact optimum, curves, maps, and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from credence.diagnose.intervals import student
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import rest
from credence.posterior.soft_values import Worth, solve, worth
from credence.report.control import ControlReport, ControlRow, Curve, PolicyMap
from credence.report.phrases import number
from credence.report.schema import Estimate
from credence.study.control_build import ActionPrior, Found
from credence.study.control_config import ControlConfig
from credence.study.grid import MOVES

TITLES = {"q": "soft Q-learning", "sarsa": "soft SARSA", "actor": "policy gradient"}
PLAIN = {"q": "Q-learning", "sarsa": "SARSA", "actor": "policy gradient"}


@dataclass(frozen=True, eq=False)
class Learned:
    """All runs of one engine.

    Attributes:
        engine: its name in the config.
        penalised: whether the KL was paid for.
        steps: of each look.
        worth: at each look, of each run.
        log_pi: (R, S, A) as they ended, nats.
    """

    engine: str
    penalised: bool
    steps: tuple[int, ...]
    worth: tuple[Worth, ...]
    log_pi: Tensor

    @property
    def name(self) -> str:
        """In tables, in the history and in trackers."""
        return named(self.engine, self.penalised)


def named(engine: str, penalised: bool) -> str:
    """An engine's name, with or without the KL."""
    return engine if penalised else f"{engine}_plain"


def steps(config: ControlConfig, engine: str) -> int:
    """Steps in the world that a run of this engine has."""
    return (config.learn.actor.steps if engine == "actor" else None) or config.learn.steps


def over(values: Tensor) -> tuple[float, float, float]:
    """Mean over runs and its 95 % Student interval."""
    mean, half = float(values.mean()), student(len(values) - 1, 0.95) * float(values.std()) / len(values) ** 0.5
    return mean, mean - half, mean + half


def _row(name: str, title: str, kind: str, value: Worth, best: float, beta: float, note: str = "") -> ControlRow:
    def estimate(x: Tensor) -> Estimate:
        return Estimate(*over(x)) if len(x) > 1 else Estimate(float(x[0]), float(x[0]), float(x[0]))

    lost = (best - value.j) / beta
    gap = estimate(torch.where(lost > 1e-9 * (1 + abs(best) / beta), lost, 0.0))  # rounding is no distance
    return ControlRow(
        name,
        title,
        kind,
        estimate(value.j),
        estimate(value.reward),
        estimate(value.kl),
        gap,
        estimate(value.steps),
        note,
    )


def report(
    config: ControlConfig, found: Found, prior: ActionPrior, learnt: Sequence[Learned], made: Mapping[str, Any]
) -> ControlReport:
    """The report of runs that are learnt.

    Args:
        config: of the run.
        found: the world.
        prior: the prior policy.
        learnt: each engine's runs, with and without the KL.
        made: the manifest.

    Cost: the exact solver, six times.
    """
    log_q = prior.log_q
    beta, discount, horizon = config.beta, config.environment.discount, found.horizon
    best = solve(found.mdp, log_q, beta, discount, horizon)

    def exact(law: Tensor) -> Worth:
        return worth(found.mdp, law, log_q, beta, discount, horizon)

    explore = config.learn.sarsa.explore

    def aimed(engine: SoftQ | SoftSarsa) -> Worth:
        return exact(rest(engine, found.mdp, log_q, beta, discount, 10 * horizon))

    rows = [
        _row("prior", "prior q", "prior", exact(log_q), best.j, beta, prior.name),
        _row("optimum", "soft optimum π*", "target", exact(best.log_pi[None]), best.j, beta, "knows the steps left"),
        _row("stationary", "soft optimum, no limit", "target", aimed(SoftQ()), best.j, beta,
             "where soft Q-learning comes to rest" + ("" if explore else ", and soft SARSA")),
    ]  # fmt: skip
    if explore:
        rows.append(_row("exploring", "soft SARSA at rest", "target", aimed(SoftSarsa(explore=explore)), best.j, beta,
                         f"values {explore:g} of random actions too"))  # fmt: skip
    plain = solve(found.mdp, log_q, 0.0, discount, horizon).log_pi[None]
    rows.append(_row("plain", "plain optimum", "draw", exact(plain), best.j, beta, "no KL, ties by the prior"))
    maps = [
        PolicyMap("prior q", "prior", _law(log_q)),
        PolicyMap("soft optimum, exact", "target", _law(best.log_pi[0])),
    ]
    curves: list[Curve] = []
    for run in learnt:
        title = TITLES[run.engine] if run.penalised else f"{PLAIN[run.engine]} without the KL"
        kind = "train" if run.penalised else "draw"
        rows.append(_row(run.name, title, kind, run.worth[-1], best.j, beta))
        curves.append(Curve(run.engine, PLAIN[run.engine], run.penalised, run.steps,
                            tuple(over(w.j) for w in run.worth), tuple(over(w.reward) for w in run.worth)))  # fmt: skip
        if run.penalised or run.engine == "q":
            maps.append(PolicyMap(title, kind, _law(run.log_pi.exp().mean(0).log())))
    grid = found.grid
    return ControlReport(
        config.name, _world(config, found), beta, prior.name, found.mdp.deterministic, tuple(rows), tuple(curves),
        tuple(maps) if grid else (), grid.cells if grid else (), tuple(MOVES[a] for a in found.actions) if grid else (),
        tuple(_facts(config, found, rows, prior.remarks)), made,
    )  # fmt: skip


def _law(log_pi: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in log_pi.exp().tolist())


def _world(config: ControlConfig, found: Found) -> str:
    options = ", ".join(f"{k} = {v}" for k, v in config.environment.options.items())
    return f"{config.environment.id}{f' ({options})' if options else ''}, cut after {found.horizon} steps"


def _facts(config: ControlConfig, found: Found, rows: list[ControlRow], remarks: Sequence[str]) -> list[str]:
    settled = found.mdp.deterministic and int((found.mdp.start > 0).sum()) == 1 and config.environment.discount == 1
    chance = (
        "Each action has one outcome here, the start is fixed and nothing is discounted, so the soft optimum is also "
        "the posterior over trajectories: J*/β = log E_q[e^{return/β}] up to the time limit."
        if settled
        else "Every step's KL is discounted, or the start is drawn by chance: the soft optimum is not the posterior "
        "over trajectories here. The ruler is J."
        if found.mdp.deterministic
        else "The world's outcomes are random, so the soft optimum is not the posterior over trajectories: that would "
        "hope for luck. The ruler is J."
    )
    last = steps(config, "actor")
    longer = f", of {last:,} in policy gradient" if last != config.learn.steps else ""
    return [
        f"The world is {_world(config, found)}: {found.mdp.states} states, {found.mdp.actions} actions, "
        f"discount {config.environment.discount:g}, β = {config.beta:g} reward units a nat.",
        chance,
        "The time limit takes what would come after it. π* knows how many steps are left; a learnt policy does not, "
        "and the value engines look beyond the limit (a cut episode is continued by its value), as 'no limit' does.",
        f"{config.learn.seeds} runs of {config.learn.steps:,} steps an engine{longer}. Without the KL, Q-learning and "
        "SARSA know nothing of the prior (ε-greedy), and policy gradient starts from it; all are judged by the same J.",
        _way(rows),
        *remarks,
    ]  # fmt: skip


def _way(rows: list[ControlRow]) -> str:
    prior, best = (next(row for row in rows if row.name == name).j.value for name in ("prior", "optimum"))
    if best - prior <= 1e-9 * (1 + abs(best)):
        return "The prior's J is the optimum's: there is nothing to learn."
    shares = [(row.title, 100 * (row.j.value - prior) / (best - prior)) for row in rows if row.kind == "train"]
    went = ", ".join(f"{title} {number(share, 1)} %" for title, share in shares)
    return f"Of the way from the prior's J to the optimum's, with the KL: {went}."
