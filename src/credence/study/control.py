"""`credence control`: one world, a prior policy, three engines with and without the KL, beside the exact optimum."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from credence.core.keys import Key
from credence.learn.actor import Actor, learn_policy
from credence.learn.checkpoint import Checkpoint, Checkpoints
from credence.learn.loop import Record
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import learn_values
from credence.learn.world import GymWorld
from credence.posterior.soft_values import Worth, worth
from credence.report.control import ControlReport
from credence.report.control_page import render
from credence.report.control_plots import save_png
from credence.report.phrases import number
from credence.study import resumption
from credence.study.control_build import ActionPrior, Found, Words, world, written
from credence.study.control_config import ControlConfig
from credence.study.control_report import PLAIN, TITLES, Learned, named, over, report, steps
from credence.study.folder import RunFolder, alone
from credence.study.live import Live
from credence.study.parts import Packed, Parts
from credence.study.session import CHECKPOINTS, Session, begun, finished
from credence.study.stored import read_control
from credence.study.trackers import Tracking, check_trackers

LOAD, PRIOR, REPORT = "the world and its exact optimum", "the prior policy", "report"
KIND = "control"


def run_control(
    config: ControlConfig, folder: Path, *, overwrite: bool = False, resume: bool = False,
    console: Console | None = None,
) -> ControlReport:  # fmt: skip
    """Run a control config and leave its folder. Tested in tests/e2e/test_control.py and test_control_resume.py.

    Args:
        config: checked settings.
        folder: where results go: report.html, report.json, history.jsonl, manifest.json, PNGs; refused if it exists,
            unless `overwrite` or `resume`.
        overwrite: replace an earlier run's folder.
        resume: go on with an earlier run, from whatever state a kill left it in; begin where there is none. On one
            thread history.jsonl gets the bytes that it would have had, and so does report.json but for its manifest.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings that cannot be, a folder that may not be replaced, or a run that was begun with other
            settings, in another world, or from another prior.
        MissingExtraError: gymnasium, or a tracker, is not installed.
        BackendError: a model or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept.

    Cost: seeds × steps of the environment, twice for each engine.
    """
    check_trackers(config)
    before = begun(folder, config, overwrite, resume, KIND)
    live = Live(console or Console(stderr=True), plan(config))
    if finished(folder, before, live):
        return read_control(folder / "report.json")
    session = Session(config, live, before, KIND)
    with live.running():
        with live.part(LOAD):
            found = world(config)
            prior = Words(config, found) if config.prior.model else written(config, found)
            session.compare(origin(config, found, prior))
        place = session.open(folder, overwrite or resume)
        with alone(folder):
            run = _Run(config, found, prior, place, session)
            return session.through(place, run.work, run.keep, final)


def plan(config: ControlConfig) -> dict[str, float]:
    """Seconds expected of each part: shares for the ETA, not promises."""
    parts = {LOAD: 1.0, PRIOR: 30.0 if config.prior.model else 0.1}
    for engine in TITLES:
        lasts = config.learn.seeds * steps(config, engine) * 2e-5
        parts |= {title(engine, True): lasts, title(engine, False): lasts}
    return {**parts, REPORT: 6.0}


def title(engine: str, penalised: bool) -> str:
    """Of a part of the run."""
    return f"{TITLES[engine]}, with the KL" if penalised else f"{PLAIN[engine]}, without the KL"


def origin(config: ControlConfig, found: Found, prior: ActionPrior | Words) -> dict[str, Any]:
    """What the settings do not say of where a run began: the world's table, a table of the prior, a model's numbers."""
    mdp = found.mdp
    table = [x.tolist() for x in (mdp.chance, mdp.state, mdp.reward, mdp.ends, mdp.start)]
    sources: dict[str, Any] = {"environment": [table, found.horizon, list(found.actions)]}
    if isinstance(prior, Words):
        return resumption.origin(config, sources, {}, prior.numbers())
    if config.prior.law.endswith(".json"):
        sources["prior.law"] = prior.log_q.tolist()
    return resumption.origin(config, sources, {}, [])


def looks(config: ControlConfig, engine: str) -> list[int]:
    """Steps at which policies are kept, closer together at first, where more happens."""
    count, last = config.learn.looks, steps(config, engine)
    return sorted({round(last * (i / (count - 1)) ** 2) for i in range(count)})


def final(made: ControlReport) -> dict[str, float]:
    """What a run came to, for trackers: each engine's row."""
    rows = [row for row in made.rows if row.kind in ("train", "draw") and row.name != "plain"]
    return {
        f"final/{row.name}/{name}": getattr(row, name).value
        for row in rows
        for name in ("j", "reward", "kl", "gap", "steps")
    }


class _Run:
    def __init__(
        self, config: ControlConfig, found: Found, prior: ActionPrior | Words, place: RunFolder, session: Session
    ) -> None:
        self.config, self.found, self.given, self.place = config, found, prior, place
        self.session, self.live = session, session.live
        self.parts = Parts(place.path / CHECKPOINTS, config.learn.keep, self.live, session.resumed)
        self.history: list[Record] = []
        self.told: Sequence[Tracking] = ()

    def work(self, told: Sequence[Tracking]) -> ControlReport:
        """All parts in their order; what is on the disk from before is not done again."""
        self.told = told
        prior, learnt, before = self.prior(), list[Learned](), 0
        for engine in TITLES:
            for penalised in (True, False):
                learnt.append(self.engine(engine, penalised, prior, before))
                before += steps(self.config, engine)
        with self.live.part(REPORT):
            made = report(self.config, self.found, prior, learnt, self.session.manifest())
            self.place.json("report.json", made.to_json())
            self.place.text("report.html", render(made))
            with self.place.writing() as where:
                save_png(made, where)
            self.session.done(self.place, made.manifest)
            self.parts.clear()
        return made

    def keep(self, status: str) -> str:
        """What a run leaves that did not come to its end: the looks so far."""
        return f"{len(self.history)} looks of history"

    def prior(self) -> ActionPrior:
        """The prior policy; a model is asked once for all processes of a run."""
        with self.live.part(PRIOR):
            given = self.given
            if not isinstance(given, Words):
                return given
            return self.parts.kept("prior", lambda: given.ask(self.live.tick), _pack_prior, _unpack_prior)

    def engine(self, engine: str, penalised: bool, prior: ActionPrior, before: int) -> Learned:
        """All runs of one engine, which move together: from the disk, or from wherever a kill left them."""
        with self.live.part(title(engine, penalised)):
            name, begun_at = named(engine, penalised), len(self.history)
            seen = _Seen(self, engine, penalised, prior, self.parts.checkpoints(name), begun_at, before)
            done = self.parts.kept(f"{name}-done", lambda: self.learn(seen), _pack, seen.unpack)
            if len(self.history) == begun_at:  # from the disk, as a whole
                seen.keep(done.worth)
            self.live.say(f"  J {number(over(done.worth[-1].j)[0], 4)} after {done.steps[-1]:,} steps")
        return done

    def learn(self, seen: "_Seen") -> Learned:
        """Without the KL, values start from no prior at all and the actor still from the prior."""
        config, found, log_q = self.config, self.found, seen.prior.log_q
        beta = config.beta if seen.penalised else 0.0
        given, key = config.learn, Key(config.seed).fold(seen.engine, int(seen.penalised))
        discount, at = config.environment.discount, looks(config, seen.engine)
        every, tick = given.checkpoint_every, self.live.tick

        def lakes(rows: int) -> GymWorld:
            return GymWorld([found.make() for _ in range(rows)], key)

        if seen.engine == "actor":
            rule = Actor(given.actor.episodes, given.actor.lr, given.actor.baseline, given.actor.trace)
            rows = lakes(given.seeds * rule.episodes)
            learnt = learn_policy(
                rule, rows, log_q, beta, key, at, discount, tick,
                watcher=seen, checkpoints=seen.store, checkpoint_every=every,
            )  # fmt: skip
        else:
            rule = _values(config, seen.engine, seen.penalised)
            blank = log_q if seen.penalised else torch.log_softmax(torch.zeros_like(log_q), -1)
            rows = lakes(given.seeds)
            learnt = learn_values(
                rule, rows, blank, beta, key, at, discount, tick,
                watcher=seen, checkpoints=seen.store, checkpoint_every=every,
            )  # fmt: skip
        tick(1.0)
        return Learned(seen.engine, seen.penalised, learnt.steps, tuple(seen.worth), learnt.log_pi[-1])


@dataclass(eq=False)
class _Seen:
    """The looks at one engine: each judged exactly, written down, and told to trackers; a Watcher."""

    run: _Run
    engine: str
    penalised: bool
    prior: ActionPrior
    store: Checkpoints
    begun: int
    """Records of the engines before."""
    before: int
    """Steps of the engines before."""
    worth: list[Worth] = field(default_factory=list[Worth])

    def begin(self, log_pi: Tensor) -> None:
        """What was written after the last checkpoint, or cut through by a kill, goes."""
        run = self.run
        for warning in self.store.warnings:
            run.live.say(f"  {warning}", "yellow")
        self.worth = [self._judged(law) for law in log_pi]
        self.keep(self.worth)
        if len(log_pi):
            at = looks(run.config, self.engine)
            run.live.skip(at[len(log_pi) - 1] / max(1, at[-1]))
            run.live.say(f"  {len(log_pi)} looks taken from the disk", "dim")

    def look(self, log_pi: Tensor) -> None:
        """One more."""
        run, found = self.run, self._judged(log_pi)
        record = self._record(len(self.worth), found)
        self.worth.append(found)
        run.history.append(record)
        run.place.append("history.jsonl", record)
        numbers = {f"{record['stage']}/{n}": v for n, v in record.items() if n not in ("stage", "step")}
        for tracker in run.told:
            tracker.tell(numbers, self.before + int(record["step"]))

    def keep(self, worth: Sequence[Worth]) -> None:
        """The history as far as it is on the disk otherwise."""
        run = self.run
        run.history[self.begun :] = [self._record(i, w) for i, w in enumerate(worth)]
        if run.session.resumed:
            run.place.lines("history.jsonl", [dict(record) for record in run.history])

    def _judged(self, log_pi: Tensor) -> Worth:
        run = self.run
        discount = run.config.environment.discount
        return worth(run.found.mdp, log_pi, self.prior.log_q, run.config.beta, discount, run.found.horizon)

    def _record(self, look: int, found: Worth) -> Record:
        step = looks(self.run.config, self.engine)[look]
        parts = {"j": found.j, "reward": found.reward, "kl": found.kl, "length": found.steps}
        se = float(found.j.std()) / len(found.j) ** 0.5
        means = {name: float(values.mean()) for name, values in parts.items()}
        return {"stage": named(self.engine, self.penalised), "step": step, **means, "j_se": se}

    def unpack(self, found: Checkpoint) -> Learned:
        """The inverse of _pack."""
        each = [found.tensors[name] for name in _WORTH]
        worths = tuple(Worth(*numbers) for numbers in zip(*each, strict=True))
        return Learned(self.engine, self.penalised, tuple(found.state["steps"]), worths, found.tensors["log_pi"])


_WORTH = ("j", "reward", "kl", "steps")


def _pack(made: Learned) -> Packed:
    worths = {name: torch.stack([getattr(w, name) for w in made.worth]) for name in _WORTH}
    return {**worths, "log_pi": made.log_pi}, {"steps": list(made.steps)}


def _pack_prior(made: ActionPrior) -> Packed:
    return {"log_q": made.log_q}, {"name": made.name, "remarks": list(made.remarks)}


def _unpack_prior(found: Checkpoint) -> ActionPrior:
    return ActionPrior(found.tensors["log_q"], found.state["name"], tuple(found.state["remarks"]))


def _values(config: ControlConfig, engine: str, penalised: bool) -> SoftQ | SoftSarsa:
    given = config.learn
    if engine == "q":
        return SoftQ(given.q.rate, given.q.power, given.q.explore)
    explore = given.sarsa.explore if penalised else given.sarsa.explore_without
    return SoftSarsa(given.sarsa.expected, given.sarsa.rate, given.sarsa.power, explore)
