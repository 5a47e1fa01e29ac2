"""`credence control`: one world, a prior policy, three engines with and without the KL, beside the exact optimum."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from credence.core.keys import Key
from credence.diagnose.intervals import student
from credence.learn.actor import Actor, learn_policy
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import Learnt, learn_values, rest
from credence.learn.world import GymWorld
from credence.posterior.soft_values import Worth, solve, worth
from credence.report.control import ControlReport, ControlRow, Curve, PolicyMap
from credence.report.control_page import render
from credence.report.control_plots import save_png
from credence.report.manifest import manifest
from credence.report.phrases import number
from credence.report.schema import Estimate
from credence.study.control_build import Found, action_prior, world
from credence.study.control_config import ControlConfig
from credence.study.folder import RunFolder, check_place
from credence.study.grid import MOVES
from credence.study.live import Live

LOAD, PRIOR, REPORT = "the world and its exact optimum", "the prior policy", "report"
TITLES = {"q": "soft Q-learning", "sarsa": "soft SARSA", "actor": "policy gradient"}
PLAIN = {"q": "Q-learning", "sarsa": "SARSA", "actor": "policy gradient"}


@dataclass(frozen=True, eq=False)
class _Run:
    engine: str
    penalised: bool
    learnt: Learnt
    worth: Worth
    """Of N looks × R runs, flattened."""


def run_control(
    config: ControlConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None
) -> ControlReport:
    """Run a control config and leave its folder: report.html, report.json, manifest.json, PNGs.

    Args:
        config: checked settings.
        folder: where the results go; refused if it exists, unless `overwrite`.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings that cannot be, or a folder that may not be replaced.
        MissingExtraError: gymnasium is not installed.

    Cost: seeds × steps of the environment, twice for each engine. Tested in tests/e2e/test_control.py.
    """
    check_place(folder, overwrite)
    started = time.time()
    parts = {LOAD: 1.0, PRIOR: 30.0 if config.prior.model else 0.1}
    for engine in TITLES:
        lasts = config.learn.seeds * steps(config, engine) * 2e-5
        parts |= {f"{TITLES[engine]}, with the KL": lasts, f"{PLAIN[engine]}, without the KL": lasts}
    live = Live(console or Console(stderr=True), {**parts, REPORT: 6.0})
    with live.running():
        with live.part(LOAD):
            found = world(config)
        with live.part(PRIOR):
            log_q, name, remarks = action_prior(config, found, live.tick)
        place = RunFolder(folder, overwrite)
        place.json(
            "manifest.json", {"status": "running", **manifest(config.model_dump(mode="json"), config.seed, started)}
        )
        runs = [_learn(config, found, log_q, engine, kl, live) for engine in TITLES for kl in (True, False)]
        with live.part(REPORT):
            made = _report(config, found, log_q, name, remarks, runs, started)
            place.json("report.json", made.to_json())
            place.text("report.html", render(made))
            with place.writing() as where:
                save_png(made, where)
            place.json("manifest.json", {"status": "done", **made.manifest})
    return made


def steps(config: ControlConfig, engine: str) -> int:
    """Steps in the world that a run of this engine has."""
    return (config.learn.actor.steps if engine == "actor" else None) or config.learn.steps


def looks(config: ControlConfig, engine: str) -> list[int]:
    """Steps at which policies are kept, closer together at first, where more happens."""
    count, last = config.learn.looks, steps(config, engine)
    return sorted({round(last * (i / (count - 1)) ** 2) for i in range(count)})


def _learn(config: ControlConfig, found: Found, log_q: Tensor, engine: str, penalised: bool, live: Live) -> _Run:
    """All runs of one engine; without the KL, values start from no prior at all and the actor still from the prior."""
    beta = config.beta if penalised else 0.0
    discount, count = config.environment.discount, config.learn.seeds
    key, given = Key(config.seed).fold(engine, int(penalised)), config.learn
    blank = log_q if penalised else torch.log_softmax(torch.zeros_like(log_q), -1)
    title = f"{TITLES[engine]}, with the KL" if penalised else f"{PLAIN[engine]}, without the KL"

    def lakes(rows: int) -> GymWorld:
        return GymWorld([found.make() for _ in range(rows)], key)

    with live.part(title):
        if engine == "actor":
            rule = Actor(given.actor.episodes, given.actor.lr, given.actor.baseline, given.actor.trace)
            at = lakes(count * rule.episodes)
            learnt = learn_policy(rule, at, log_q, beta, key, looks(config, engine), discount, live.tick)
        else:
            rule = _values(config, engine, penalised)
            learnt = learn_values(rule, lakes(count), blank, beta, key, looks(config, engine), discount, live.tick)
        value = worth(found.mdp, learnt.log_pi.flatten(0, 1), log_q, config.beta, discount, found.horizon)
        live.tick(1.0)
    return _Run(engine, penalised, learnt, value)


def _values(config: ControlConfig, engine: str, penalised: bool) -> SoftQ | SoftSarsa:
    given = config.learn
    if engine == "q":
        return SoftQ(given.q.rate, given.q.power, given.q.explore)
    explore = given.sarsa.explore if penalised else given.sarsa.explore_without
    return SoftSarsa(given.sarsa.expected, given.sarsa.rate, given.sarsa.power, explore)


def _over(values: Tensor) -> tuple[float, float, float]:
    """Mean over runs and its 95 % Student interval."""
    mean, half = float(values.mean()), student(len(values) - 1, 0.95) * float(values.std()) / len(values) ** 0.5
    return mean, mean - half, mean + half


def _row(name: str, title: str, kind: str, value: Worth, best: float, beta: float, note: str = "") -> ControlRow:
    def over(x: Tensor) -> Estimate:
        return Estimate(*_over(x)) if len(x) > 1 else Estimate(float(x[0]), float(x[0]), float(x[0]))

    lost = (best - value.j) / beta
    gap = over(torch.where(lost > 1e-9 * (1 + abs(best) / beta), lost, 0.0))  # rounding is no distance
    return ControlRow(
        name, title, kind, over(value.j), over(value.reward), over(value.kl), gap, over(value.steps), note
    )


def _report(
    config: ControlConfig, found: Found, log_q: Tensor, name: str, remarks: list[str], runs: list[_Run], started: float
) -> ControlReport:
    beta, discount, horizon = config.beta, config.environment.discount, found.horizon
    best = solve(found.mdp, log_q, beta, discount, horizon)

    def exact(law: Tensor) -> Worth:
        return worth(found.mdp, law, log_q, beta, discount, horizon)

    explore = config.learn.sarsa.explore

    def aimed(engine: SoftQ | SoftSarsa) -> Worth:
        return exact(rest(engine, found.mdp, log_q, beta, discount, 10 * horizon))

    rows = [
        _row("prior", "prior q", "prior", exact(log_q), best.j, beta, name),
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
    for run in runs:
        title = TITLES[run.engine] if run.penalised else f"{PLAIN[run.engine]} without the KL"
        parts = (run.worth.j, run.worth.reward, run.worth.kl, run.worth.steps)
        final = Worth(*(x.view(-1, config.learn.seeds)[-1] for x in parts))
        kind, name_of = ("train", run.engine) if run.penalised else ("draw", f"{run.engine}_plain")
        rows.append(_row(name_of, title, kind, final, best.j, beta))
        j, reward = (x.view(-1, config.learn.seeds) for x in (run.worth.j, run.worth.reward))
        curves.append(Curve(run.engine, PLAIN[run.engine], run.penalised, run.learnt.steps,
                            tuple(map(_over, j)), tuple(map(_over, reward))))  # fmt: skip
        if run.penalised or run.engine == "q":
            law = run.learnt.log_pi[-1].exp().mean(0).log()
            maps.append(PolicyMap(title, "train" if run.penalised else "draw", _law(law)))
    grid = found.grid
    made = manifest(config.model_dump(mode="json"), config.seed, started)
    return ControlReport(
        config.name, _world(config, found), beta, name, found.mdp.deterministic, tuple(rows), tuple(curves),
        tuple(maps) if grid else (), grid.cells if grid else (), tuple(MOVES[a] for a in found.actions) if grid else (),
        tuple(_facts(config, found, rows, remarks)), made,
    )  # fmt: skip


def _law(log_pi: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in log_pi.exp().tolist())


def _world(config: ControlConfig, found: Found) -> str:
    options = ", ".join(f"{k} = {v}" for k, v in config.environment.options.items())
    return f"{config.environment.id}{f' ({options})' if options else ''}, cut after {found.horizon} steps"


def _facts(config: ControlConfig, found: Found, rows: list[ControlRow], remarks: list[str]) -> list[str]:
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
