"""Part 3 of a run: forward KL on weighted prior draws, then the engine that `train.engine` names."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.protocols import Batch, Policy
from credence.core.status import Status
from credence.core.types import Cost, Prompts
from credence.learn.collect import Schedule, ValueLearner
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Learner, Record, Validation, fit
from credence.learn.replay import Replay
from credence.learn.schedules import Annealed, ToKL
from credence.learn.stops import KLBudget, NoBetter, Stop
from credence.posterior.posterior import Posterior
from credence.prior.guided import GuidedLM, guided_policy
from credence.prior.policy import LMPolicy
from credence.study import build, plan, summary, values
from credence.study.allowance import Allowance
from credence.study.collect import Tick, draw_policy, score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder
from credence.study.found import Found
from credence.study.learner import LearnerConfig
from credence.study.live import Telling
from credence.study.parts import Packed, Parts, pack_completions, unpack_completions
from credence.study.recorded_learners import RecordedConfig
from credence.study.ruler import Drawn, Ruler, carrying
from credence.study.sources import Sources
from credence.study.stored_learners import DistilConfig
from credence.study.trackers import Tracking

UNENDING = 1_000_000_000
"""Steps of a stage that only its allowance ends."""


class Learning:
    """The stages of one run; each leaves its history, its fit, and held-out draws of the policy as it then stands.

    With an allowance the last stage goes on, whatever its steps, until that is spent; no stage then writes checkpoints.
    """

    def __init__(
        self,
        config: RunConfig,
        found: Found,
        place: RunFolder,
        parts: Parts,
        live: Telling,
        key: Key,
        trackers: Sequence[Tracking] = (),
        allowed: Allowance | None = None,
    ) -> None:
        self.config, self.found, self.place, self.live, self.key = config, found, place, live, key
        self.parts, self.trackers, self.train = parts, trackers, config.train
        self.name, self.begun, self.steps, self.store = "", 0, 1, parts.checkpoints("dpg")  # of the stage at hand
        self.headed, self.allowed = False, allowed
        self.sources = Sources(config, found, parts, live, key)

    def run(self) -> None:
        """The stages, as far as the config asks for them.

        Raises:
            KeyboardInterrupt: passed on with the best policy so far in found.policy.
        """
        dpg, given, value = self.train.dpg, self.train.chosen, self.train.value
        if not self.stages:
            return
        self.found.policy = made = self.start()
        prompts, stored = self.sources.prior() if plan.stored(self.config) else (self.found.train, None)
        if isinstance(made, GuidedLM) and stored is not None:
            with self.live.part(plan.STATES):
                made.remember(prompts, stored.completions, self.live.tick)
        if value.learner != "none":
            learner = values.learner(value, self.train.dpg.draws)
            self.stage(
                "value", prompts, learner, max(1, value.epochs * len(prompts) // value.batch), value.seconds, stored
            )
        if dpg.epochs > 0:
            steps = max(1, dpg.epochs * len(prompts) // dpg.batch)
            self.stage(
                "dpg", prompts, DPG(dpg.batch, dpg.draws, dpg.lr, baseline=dpg.baseline), steps, dpg.seconds, stored
            )
        if plan.engine(self.config):
            self.last(given, prompts, stored)

    def last(self, given: LearnerConfig, prompts: Prompts, stored: Batch | None) -> None:
        """The stage of the engine that `train.engine` names."""
        learner = given.learner()
        if isinstance(given, RecordedConfig):
            prompts, stored = self.sources.recorded(given)
        elif isinstance(given, DistilConfig):
            learner = given.learner(self.sources.sampler(given))
            prompts, stored = self.sources.engine(given)
        elif not given.on_prior:
            prompts, stored = self.found.train, None
        prior: Any = self.found.posterior.prior  # build gives a reshaped model
        trained = given.beside(self.policy, prior, prompts, stored)
        self.stage(self.train.engine, prompts, learner, given.steps, given.seconds, stored, trained)

    @property
    def stages(self) -> list[str]:
        """What this run trains in, in order."""
        return plan.stages(self.config)

    def start(self) -> LMPolicy | GuidedLM:
        """The policy that is the prior."""
        prior, value = self.found.posterior.prior, plan.engine(self.config) and self.train.chosen.value
        if self.train.method == "value":
            given, key = self.train.value, self.key.fold("head")
            made = guided_policy(prior, key, given.width, given.follow)  # pyright: ignore[reportArgumentType]
        else:
            made = build.policy(prior, self.train, self.key.fold("adapters"), value)  # pyright: ignore[reportArgumentType]
        made.products = self.found.products
        return made

    def stage(
        self,
        name: str,
        prompts: Prompts,
        learner: Learner | ValueLearner,
        steps: int,
        seconds: float | None,
        stored: Batch | None = None,
        trained: Policy | None = None,
    ) -> None:
        """Train, tell, keep; the validation draws are the same in all stages, so their ELBOs compare.

        Args:
            name: of the stage.
            prompts: to learn on.
            learner: by which.
            steps: at most.
            seconds: at most.
            stored: draws on the prompts, for a learner that recalls them.
            trained: the policy with what is trained beside it; default: the policy.
        """
        train, found = self.train, self.found
        self.name, self.begun, self.steps, self.store = name, len(found.history), steps, self.parts.checkpoints(name)
        with self.live.part(plan.title(name)):
            if self.allowed is not None:
                self.allowed.stage()
            done = fit(
                self.target(name, steps),
                self.policy if trained is None else trained,
                prompts,
                learner,
                self.key.fold(name),
                steps if self.allowed is None or name != self.stages[-1] else UNENDING,
                stored=stored,
                validation=Validation(
                    found.validation,
                    train.validation_draws,
                    train.validate_every,
                    key=self.key.fold("validation"),
                    measure=found.gold,
                    chooses=self.config.measure.gold_chooses,
                ),
                seconds=seconds,
                stage=name,
                callbacks=[self],
                checkpoints=self.store if self.allowed is None else None,
                checkpoint_every=train.checkpoint_every,
                say=lambda line: self.live.say(f"  {line}", "yellow"),
                **self.watched(name),
            )
        found.fits[name] = done
        found.cost[name] = found.cost.get(name, Cost()) + done.cost
        self.late_words(done)
        self.live.say(summary.stage_line(name, done), "bold yellow" if done.status is Status.NAN else "")
        if done.interrupted:
            raise KeyboardInterrupt
        with self.live.part(plan.measuring(name)):
            self.measure(name)

    def target(self, name: str, steps: int) -> Posterior | Schedule:
        """What a stage aims at: β may move in the last one."""
        given, posterior = self.train.beta, self.found.posterior
        if name != self.train.engine or given.schedule == "fixed":
            return posterior
        if given.schedule == "annealed":
            return Annealed(posterior, given.first, max(1, round(given.share * steps)))
        return ToKL(posterior, given.kl)

    def watched(self, name: str) -> dict[str, Any]:
        """Stop rules and replay of the last stage."""
        stop, replay, allowed = self.train.stop, self.train.replay, self.allowed
        outside: dict[str, Any] = {} if allowed is None else {"stops": [allowed], "spent": allowed.share}
        if name != self.train.engine:
            return outside
        stops: list[Stop] = [KLBudget(stop.kl_budget)] if stop.kl_budget is not None else []
        stops += [NoBetter(stop.no_better)] if stop.no_better is not None else []
        past = Replay(replay.groups, replay.capacity, replay.age) if replay.groups else None
        stops += [allowed] if allowed is not None else []
        return {**outside, "stops": stops, "replay": past}

    @property
    def policy(self) -> LMPolicy | GuidedLM:
        """What is trained."""
        if self.found.policy is None:
            raise BackendError("no policy was built: this is a fault of credence, please report it.")
        return self.found.policy

    def begin(self, history: Sequence[Record]) -> None:
        """Before a stage's first step: what was written after its last checkpoint, or cut through by a kill, goes."""
        for tracker in self.trackers:
            tracker.begin(history)
        for warning in self.store.warnings:
            self.live.say(f"  {warning}", "yellow")
        if self.parts.resumed:
            self.found.history[self.begun :] = [self.full(record) for record in history]
            self.place.lines("history.jsonl", self.found.history)
            self.place.filter("timing.jsonl", lambda line: line["stage"] != self.name or line["step"] <= len(history))
        if history:
            self.live.skip(len(history) / self.steps)
            self.live.say(f"  {len(history)} steps taken from the disk", "dim")
        self.headed = False

    def __call__(self, record: Record, clock: Record) -> None:
        """One step."""
        if not self.headed:  # a stage that had ended before the run was resumed has no steps to head
            self.live.headings()
            self.headed = True
        self.keep(record, clock)
        for tracker in self.trackers:
            tracker(self.full(record), clock)

    def keep(self, record: Record, clock: Record) -> None:
        """One step, on the disk and on the screen."""
        full = self.full(record)
        self.found.history.append(full)
        self.place.append("history.jsonl", full)
        self.place.append("timing.jsonl", {"stage": record["stage"], **clock})
        self.live.step(full, clock)

    def full(self, record: Record) -> dict[str, Any]:
        """A record with the main reading under the name that reports look for."""
        name = self.found.reward  # learners of recorded replies read no reward
        return {**record, "reward": record[name]} if name in record else dict(record)

    def late_words(self, done: Fit) -> None:
        """A stage cut by its time budget validates its last step after it was told: put that into the history."""
        history = [self.full(record) for record in done.history]
        if history and history[-1] != self.found.history[-1]:
            self.found.history[self.begun :] = history
            self.place.lines("history.jsonl", self.found.history)

    def measure(self, name: str) -> None:
        """Held-out draws of the policy as this stage leaves it."""
        found, ruler, policy = self.found, self.found.ruler, self.policy
        if ruler is None or found.prior is None:
            return
        last = name == self.stages[-1]

        def look() -> Packed:
            n, key = self.config.measure.policy_draws, self.key.fold("measure", name)
            first, second = shares(self.live.tick, 1.0 if last else 0.65)
            drawn, rows, log_q, log_prior = draw_policy(
                policy, key, found.posterior, found.heldout, n, found.reward, first
            )
            tensors, state = pack_completions(rows)
            tensors |= {f"drawn/{f.name}": getattr(drawn, f.name) for f in fields(drawn)}
            if not last:  # the last one is scored on all prior draws instead
                tensors["on_prior"] = stage_on_prior(policy, ruler, found, second)
            return tensors | {"log_q": log_q, "log_prior": log_prior}, state

        seen, state = self.parts.packed(f"measure-{name}", look)
        ruler.policies[name] = Drawn(*(seen[f"drawn/{f.name}"] for f in fields(Drawn)))
        found.shown[name] = (unpack_completions(seen, state), seen["log_q"], seen["log_prior"])
        if not last:
            ruler.stage_on_prior[name] = seen["on_prior"]


def stage_on_prior(policy: LMPolicy | GuidedLM, ruler: Ruler, found: Found, tick: Tick) -> Tensor:
    """(B, n, 2) as Ruler.stage_on_prior: the prior's draws that carry weight, scored under a policy.

    Cost: about a third of scoring all of them.
    """
    if found.prior is None:
        raise BackendError("nothing was drawn from the prior: this is a fault of credence, please report it.")
    lik = ruler.prior.log_lik
    rows = torch.nonzero(carrying(lik).flatten()).flatten()
    scored = score_each(policy, found.heldout, found.prior.completions.rows(rows), tick)
    out = torch.zeros(lik.numel(), 2, dtype=torch.float64)
    out[:, 0] = -torch.inf
    out[rows, 0] = lik.flatten()[rows]
    out[rows, 1] = ruler.prior.log_prior.flatten()[rows] - scored
    return out.view(*lik.shape, 2)


def shares(tick: Tick, first: float) -> tuple[Tick, Tick]:
    """One part's progress as that of two pieces of work, the first taking this share of it."""
    return lambda done: tick(first * done), lambda done: tick(first + (1 - first) * done)
