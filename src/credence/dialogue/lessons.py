"""Online learning from simulated users: talk, update, look at the validation users, keep the best."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.status import Status
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.rollout import MakeEnv, Talk, converse, learn_from, refuse_impossible
from credence.learn.budget import Budget, warmed
from credence.learn.checkpoint import Checkpoints
from credence.learn.loop import Beginning, Callback, Record
from credence.learn.resume import Brought, Saver, origin


@dataclass(frozen=True)
class Lessons:
    """How the agent learns.

    Args:
        users: a step.
        rollouts: dialogues with each of them, at least 2: the others are each one's baseline.
        steps: updates.
        lr: Adam's step size after warm-up; it falls to a tenth.
        warmup: steps over which it rises.
        seconds: wall-clock budget after which learning stops, if earlier.
        validate_every: steps between two looks at the validation users; the best policy by their J is kept.
        validation_rollouts: dialogues with each of them.

    Raises:
        ConfigError: fewer than one user or two rollouts.
    """

    users: int = 8
    rollouts: int = 6
    steps: int = 20
    lr: float = 1e-5
    warmup: int = 3
    seconds: float | None = None
    validate_every: int = 5
    validation_rollouts: int = 4

    def __post_init__(self) -> None:
        if self.users < 1 or self.rollouts < 2:
            raise ConfigError(
                f"users={self.users}, rollouts={self.rollouts}: at least one user a step, and two dialogues with each: "
                "one is the other's baseline."
            )


@dataclass(eq=False)
class Learnt:
    """What learning left; the agent's policy stands at its best.

    Attributes:
        history: a record a step, without clock fields: keys in docs/dialogue.md.
        status: OK, STOPPED (Ctrl-C or the time budget) or NAN, with `why`.
        best: step of the kept policy; 0 is the prior.
        best_j: its J on the validation users, nats; -inf where nothing validated.
        skipped: dialogues left out of updates because a reward failed.
    """

    history: list[Record] = field(default_factory=list[Record])
    status: Status = Status.OK
    why: str = ""
    best: int = 0
    best_j: float = -math.inf
    skipped: int = 0
    interrupted: bool = False


def gains(agent: DialogueAgent, talks: Sequence[Talk]) -> list[float]:
    """Σ_t (r_t − log π/π0) of each dialogue, nats: its mean is J/β. NaN where a reward failed."""
    spent = agent.log_ratio([a.said for talk in talks for a in talk.actions])
    out: list[float] = []
    at = 0
    for talk in talks:
        n = len(talk.actions)
        out.append(sum(talk.rewards) - sum(spent[at : at + n]))
        at += n
    return out


def learn(
    agent: DialogueAgent, train: MakeEnv, users: int, validation: MakeEnv, validators: int, lessons: Lessons, key: Key,
    *, callbacks: Sequence[Callback] = (), checkpoints: Checkpoints | None = None, checkpoint_every: int = 5,
) -> Learnt:  # fmt: skip
    """Teach the agent on the training users and leave its policy at the best validation J.

    Step t talks with key.fold("step", t) and nothing else; the validation always with key.fold("validation"). With
    `checkpoints`, the same call goes on after the newest whole one, as `learn.loop.fit` does. Tested in
    tests/unit/test_lessons.py, and by kills at random moments in tests/e2e/test_dialogue_kill.py.

    Args:
        agent: changed in place.
        train: an environment of the training users.
        users: how many there are.
        validation: an environment of the validation users.
        validators: how many there are; 0 keeps the last policy.
        lessons: settings.
        key: of everything drawn.
        callbacks: called after each step with its record and its clock (progress, seconds, tokens_per_s); a Beginning
            also before the first one.
        checkpoints: where to save what is needed to go on, and where to look for it.
        checkpoint_every: steps between two of them; one is always written at the end. 0: only at the end.

    Returns:
        Learnt. Ctrl-C and a NaN end it; the best policy so far is restored in any case.

    Raises:
        ConfigError: the checkpoints are of a call with other arguments.
        ContractError: a reply is impossible under the evidence (−inf nats).
        BackendError: a checkpoint cannot be written; those from before stay.
    """
    course = _Course(agent, train, users, validation, validators, lessons, key)
    saver = Saver(checkpoints, checkpoint_every, origin("dialogue", lessons, key, lessons.steps))
    try:
        found = saver.load(agent.policy)
        if found is None:
            course.look(0)
        else:
            course.bring_back(found)
        for callback in callbacks:
            if isinstance(callback, Beginning):
                callback.begin(course.out.history)
        if not saver.ended:
            course.teach(callbacks, saver)
    except KeyboardInterrupt:
        course.out.status, course.out.why, course.out.interrupted = Status.STOPPED, "interrupted", True
    finally:
        agent.policy.restore(course.kept)
        agent.version += 1
    if not course.out.interrupted:
        saver.end(agent.policy, course.out.best > 0, course.facts())
    return course.out


@dataclass(eq=False)
class _Course:
    """Lessons under way: what was learnt, the best weights so far, and the time that it took."""

    agent: DialogueAgent
    train: MakeEnv
    users: int
    validation: MakeEnv
    validators: int
    lessons: Lessons
    key: Key
    out: Learnt = field(default_factory=Learnt)
    kept: Mapping[str, Tensor] = field(init=False)
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.kept, self.budget = self.agent.policy.state(), Budget(self.lessons.steps, self.lessons.seconds)

    def teach(self, callbacks: Sequence[Callback], saver: Saver) -> None:
        """The steps that are still to do."""
        out, lessons = self.out, self.lessons
        for step in range(len(out.history) + 1, lessons.steps + 1):
            if self.budget.late:
                out.status, out.why = Status.STOPPED, f"the time budget ended after step {step - 1}"
                break
            began = time.monotonic()
            record = self.step(step)
            if any(isinstance(v, float) and not math.isfinite(v) for v in record.values()):
                out.status = Status.NAN
                out.why = f"a number of step {step} is not finite: lower lr or soften the evidence"
                return
            rate = record["tokens"] / max(1e-9, time.monotonic() - began)
            if step % lessons.validate_every == 0 or step == lessons.steps or not self.validators:
                record = {**record, **self.look(step)}
            out.history.append(record)
            clock = {"progress": self.budget.used(step), "seconds": self.budget.elapsed, "tokens_per_s": rate}
            for callback in callbacks:
                callback(record, clock)
            if saver.due(step):
                best = self.kept if 0 < out.best < step else None
                saver.save(step, self.agent.policy, best, self.facts())
        if out.history and self.validators and "val_j" not in out.history[-1]:
            out.history[-1] = {**out.history[-1], **self.look(len(out.history))}  # the budget cut unvalidated steps off

    def step(self, step: int) -> Record:
        """Talk and update; the record of it."""
        lessons = self.lessons
        rate = warmed(lessons.lr, lessons.warmup, step, self.budget.used(step - 1))
        users = _visit(step, self.users, lessons.users, self.key)
        talks = converse(self.agent, self.train, users, lessons.rollouts, self.key.fold("step", step))
        info = learn_from(self.agent, talks, rate)
        self.out.skipped += int(info["skipped"])
        satisfied = sum(t.satisfied for t in talks) / len(talks)
        return {"step": float(step), **info, "lr": rate, "satisfied": satisfied}

    def look(self, step: int) -> Record:
        """The validation's part of the record; keeps the policy if it is the best."""
        agent, out = self.agent, self.out
        if not self.validators:
            self.kept, out.best = agent.policy.state(), step
            return {}
        talks = converse(
            agent, self.validation, range(self.validators), self.lessons.validation_rollouts,
            self.key.fold("validation"),
        )  # fmt: skip
        refuse_impossible(talks)
        value, error = _mean([g for g in gains(agent, talks) if g == g])
        better = value > out.best_j
        if better:
            self.kept, out.best, out.best_j = agent.policy.state(), step, value
        return {"val_j": value, "val_j_se": error, "best": better}

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says besides its tensors."""
        out = self.out
        return {
            "history": list(out.history),
            "status": out.status.name,
            "why": out.why,
            "best": out.best,
            "best_j": out.best_j,
            "skipped": out.skipped,
            "elapsed": self.budget.elapsed,
        }

    def bring_back(self, found: Brought) -> None:
        """What a checkpoint said."""
        facts, out = found.facts, self.out
        out.history, out.status, out.why = list(facts["history"]), Status[facts["status"]], facts["why"]
        out.best, out.best_j, out.skipped = facts["best"], facts["best_j"], facts["skipped"]
        self.kept = found.best or self.kept
        self.budget.back(facts["elapsed"])


def _visit(step: int, total: int, size: int, key: Key) -> list[int]:
    """The users of this step: consecutive pieces of a new shuffle each epoch."""
    picked: list[int] = []
    for i in range((step - 1) * size, step * size):
        epoch, place = divmod(i, total)
        picked.append(int(key.fold("epoch", epoch).generator().permutation(total)[place]))
    return picked


def _mean(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return -math.inf, math.inf
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.inf
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
