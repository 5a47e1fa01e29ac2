"""The one training loop: collect, score, step, record, validate, keep the best; and go on where it was killed."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Batch, Policy
from credence.core.status import Status
from credence.core.types import Cost, Prompts
from credence.learn.budget import Budget, warmed
from credence.learn.checkpoint import Checkpoints
from credence.learn.collect import Collector, Draw, Learner, Record, Schedule, Shape, ValueLearner, troubles
from credence.learn.replay import Replay
from credence.learn.resume import Brought, Saver, origin
from credence.learn.schedules import Resting
from credence.learn.stops import Stop
from credence.learn.validation import Measure, Validation, elbo, elbo_of, mean_of, nats_on
from credence.posterior.posterior import Posterior

__all__ = [
    "Beginning", "Callback", "Fit", "Learner", "Measure", "Record", "Schedule", "Validation", "elbo", "fit",
]  # fmt: skip


@runtime_checkable
class Callback(Protocol):
    """Called after every step with its record; KeyboardInterrupt from it ends the stage as Ctrl-C does."""

    def __call__(self, record: Record, clock: Record) -> None:
        """Look at one step."""
        ...


@runtime_checkable
class Beginning(Protocol):
    """A callback that is also told, before the first step, what this stage has done already."""

    def begin(self, history: Sequence[Record]) -> None:
        """The records that a checkpoint brought back; none where the stage starts."""
        ...


@dataclass(eq=False)
class Fit:
    """What a training stage left: the policy at its best checkpoint, and its history.

    Attributes:
        policy: at the best validation; where nothing validates, at the last step (after a NaN: as it came).
        history: a record a step, without clock fields: the same run gives the same bytes. Keys: collect.HISTORY.
        status: OK, STOPPED (Ctrl-C, the time budget or a stop rule) or NAN, with `why`.
        why: a sentence where the status is not OK.
        best: step of the policy that was kept; 0 is the policy as it came.
        best_elbo: its validation ELBO in nats, or its measure; -inf where nothing validated, or it makes impossible
            draws.
        cost: completion tokens learnt from, and CPU seconds.
        interrupted: whether Ctrl-C ended it.
        target: what the learner tends to, "posterior" or another law by name.
    """

    policy: Policy
    history: list[Record] = field(default_factory=list)
    status: Status = Status.OK
    why: str = ""
    best: int = 0
    best_elbo: float = float("-inf")
    cost: Cost = field(default_factory=Cost)
    interrupted: bool = False
    target: str = "posterior"


def fit(
    posterior: Posterior | Schedule,
    policy: Policy,
    prompts: Prompts,
    learner: Learner | ValueLearner,
    key: Key,
    steps: int,
    *,
    stored: Batch | None = None,
    validation: Validation | None = None,
    seconds: float | None = None,
    stage: str = "",
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 10,
    stops: Sequence[Stop] = (),
    replay: Replay | None = None,
    draw: Draw | None = None,
    shape: Shape | None = None,
    spent: Callable[[], float] | None = None,
    say: Callable[[str], object] = lambda line: sys.stderr.write(f"{line}\n"),
) -> Fit:
    """Train `policy` towards the learner's target; where that is another law than the posterior, one line says so.

    So does it where a schedule rests at another β than the posterior's (`ToKL`).

    With `checkpoints`, a call with the same arguments and the policy as it came goes on after the newest whole
    checkpoint, and one that had ended returns at once: on one thread with the same bytes in policy and history as if
    it had never been killed (not under a budget in seconds). Tested in tests/unit/test_resume.py and by kills at random
    moments in tests/e2e/test_kill.py.

    Args:
        posterior: the target, or a schedule (step, last record) -> Posterior that anneals β.
        policy: changed in place; on return it holds the best checkpoint.
        prompts: to draw from; each epoch visits them in an order given by the key.
        learner: its loss and settings.
        key: of every draw and shuffle; step t uses key.fold("step", t) and nothing else.
        steps: gradient steps.
        stored: draws on `prompts`, with their nats, for learners that do not draw from the policy.
        validation: chooses the checkpoint; the policy as it came is one of the candidates.
        seconds: wall-clock budget after which the stage stops (then the number of steps depends on the machine); what
            was used before a kill counts, up to the last checkpoint.
        stage: name written into each record.
        callbacks: called after each step with (record, clock); a Beginning also before the first one.
        checkpoints: where to save what is needed to go on, and where to look for it.
        checkpoint_every: steps between two of them; one is always written at the end. 0: only at the end.
        stops: rules that end the stage early (learn.stops: a KL budget, no better checkpoint); any callable on the
            history will do.
        replay: past rows to learn from beside the fresh ones; they are part of a checkpoint.
        draw: another way to draw a step's rows, by default the policy's own. The rows are then off policy, and log q
            must be the law that they really came from.
        shape: changes a step's rows before they are learnt from.
        spent: share used of a budget that is kept outside (tokens, CPU seconds): the step size falls with it, as with
            steps and seconds; a rule in `stops` ends the stage.
        say: where that line goes, by default standard error.

    Returns:
        Fit. Ctrl-C ends the stage with what was done, status STOPPED and `interrupted`. A NaN in loss, gradient or
        validation, or an infinite gradient, ends it with status NAN, and the step is not applied. Any other exception
        passes through, and leaves the best policy in `policy` all the same. Tested in tests/unit/test_loop.py.

    Raises:
        ConfigError: no prompts, a learner of stored draws without them, a reading named like a key of the history; the
            checkpoints are of a call with other arguments.
        ContractError: an impossible draw met a learner of the reverse KL; rows that the policy cannot say though its
            prior can; a validation measure that does not give a number for each draw.
        BackendError: a checkpoint cannot be written; those from before stay.

    Cost: a step is one sampling pass (on policy), one prior scoring pass, one forward and backward pass. Memory: a copy
        of what is trained. Disk: a checkpoint holds what is trained three or four times (weights, Adam's two moments,
        the best weights).
    """
    run = Collector(posterior, policy, prompts, learner, key, stored, draw, shape, replay)
    tends = _tends(learner, posterior)
    if tends != "posterior":
        say(f"{type(learner).__name__} converges to {tends}.")
    out = Fit(policy, target=tends)
    budget = Budget(steps, seconds, spent)
    best = _Best(out, run, validation, steps)
    saver = Saver(checkpoints, checkpoint_every, origin(stage, learner, key, steps))
    try:
        found = saver.load(policy)
        if found is None:
            best.look(0)
        else:
            _bring_back(found, out, run, best, budget)
        for callback in callbacks:
            if isinstance(callback, Beginning):
                callback.begin(out.history)
        if not saver.ended:
            _train(run, out, best, budget, stage, callbacks, saver, stops)
    except KeyboardInterrupt:
        out.status, out.why, out.interrupted = Status.STOPPED, "interrupted", True
    finally:
        best.restore()
        out.cost = Cost(run.tokens, budget.cpu)
    if not out.interrupted:
        saver.end(policy, out.best > 0, _facts(out, run, budget))
    return out


def _tends(learner: Learner | ValueLearner, posterior: Posterior | Schedule) -> str:
    """What a learner tends to: its own target, or where a schedule rests that does not come back to the posterior."""
    moved = posterior.target if isinstance(posterior, Resting) else "posterior"
    return moved if learner.target == "posterior" else learner.target


def _facts(out: Fit, run: Collector, budget: Budget) -> dict[str, Any]:
    """What a checkpoint says besides its tensors."""
    return {
        "history": list(out.history),
        "status": out.status.name,
        "why": out.why,
        "best": out.best,
        "best_elbo": out.best_elbo,
        "tokens": run.tokens,
        "elapsed": budget.elapsed,
        "cpu": budget.cpu,
    }


def _bring_back(found: Brought, out: Fit, run: Collector, best: "_Best", budget: Budget) -> None:
    facts = found.facts
    out.history, out.status, out.why = list(facts["history"]), Status[facts["status"]], facts["why"]
    out.best, out.best_elbo, run.tokens = facts["best"], facts["best_elbo"], facts["tokens"]
    best.state = found.best or best.state
    if run.replay is not None and found.replay:
        run.replay.restore(found.replay)
    budget.back(facts["elapsed"], facts["cpu"])


def _train(
    run: Collector,
    out: Fit,
    best: "_Best",
    budget: Budget,
    stage: str,
    callbacks: Sequence[Callback],
    saver: Saver,
    stops: Sequence[Stop],
) -> None:
    record: Record = out.history[-1] if out.history else {}
    for step in range(len(out.history) + 1, budget.steps + 1):
        if out.status is Status.NAN:
            return
        if budget.late:
            out.status, out.why = Status.STOPPED, f"the time budget of {budget.seconds:g} s ended after step {step - 1}"
            break
        if why := "; ".join(filter(None, (stop(out.history) for stop in stops))):
            out.status, out.why = Status.STOPPED, why
            break
        progress, learner = budget.used(step), run.learner
        record, clock = run.step(step, record, warmed(learner.lr, learner.warmup, step, progress))
        record = {"stage": stage, **record}
        if not troubles(record) and best.due(step):
            record = {**record, **best.look(step)}
        if names := troubles(record):
            where = f"step {step} of {stage}" if stage else f"step {step}"
            out.status = Status.NAN
            out.why = (
                f"{', '.join(names)} not finite at {where}: lower lr (now {run.learner.lr:g}) or raise beta. "
                f"{'Step ' + str(out.best) if out.best else 'The policy as it came'} was restored."
            )
            return
        out.history.append(record)
        for callback in callbacks:
            callback(record, {**clock, "elapsed": budget.elapsed, "progress": progress})
        if saver.due(step):
            kept = best.state if 0 < out.best < step else None
            past = None if run.replay is None else run.replay.state()
            saver.save(step, run.policy, kept, _facts(out, run, budget), past)
    if out.history and best.validation is not None and "val_elbo" not in out.history[-1]:
        out.history[-1] = {**out.history[-1], **best.look(len(out.history))}  # the budget cut unvalidated steps off


@dataclass(eq=False)
class _Best:
    """The best checkpoint so far, every one judged by one target with one key."""

    out: Fit
    run: Collector
    validation: Validation | None
    steps: int
    state: Mapping[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.out.policy.state()
        given = None if self.validation is None else self.validation.target
        # Annealed targets have other log Z: checkpoints are compared under the one that the schedule ends at.
        self.target = given or self.run.target(self.steps, {})

    def due(self, step: int) -> bool:
        """Whether this step is looked at."""
        return self.validation is not None and (step % self.validation.every == 0 or step == self.steps)

    def look(self, step: int) -> Record:
        """The validation's part of the record; keeps the policy if it is the best."""
        if self.validation is None:
            return {}
        given, out = self.validation, self.out
        key = given.key or self.run.key.fold("val")
        drawn = out.policy.sample(key, given.prompts, given.draws)
        nats, spent = nats_on(self.target, given.prompts, *drawn)
        value, se = elbo_of(nats - spent, len(given.prompts))
        said: Record = {"val_elbo": value, "val_elbo_se": se}
        if given.measure is not None:
            gold = mean_of(given.measure, given.prompts, drawn[0])
            said = {**said, "val_measure": gold, "val_log_lik": float(nats.mean()), "val_kl": float(spent.mean())}
            value = gold if given.chooses else value
        if step == 0 and value != value:
            out.status, out.why = Status.NAN, "the validation of the policy as it came is no number"
        # While every candidate makes impossible draws the ELBO is -inf and cannot choose: the last one is kept.
        better = value > out.best_elbo or value == out.best_elbo == -math.inf
        if better:
            out.best, out.best_elbo = step, value
            self.state = out.policy.state() if step else self.state
        return {**said, "best": better}

    def restore(self) -> None:
        """Leave the best in the policy, and nothing of a step that was broken off."""
        if self.validation is None and self.out.status is not Status.NAN:
            self.out.best, self.state = len(self.out.history), self.out.policy.state()
        self.out.policy.restore(self.state)
