"""Online learning from simulated users: talk, update, look at the validation users, keep the best."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.status import Status
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.rollout import MakeEnv, Talk, converse, learn_from

Record = dict[str, float | bool]


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

    def rate(self, step: int, progress: float) -> float:
        """The step size of step number `step` (from 1), `progress` of the budget being used."""
        return self.lr * min(1.0, step / max(1, self.warmup)) * (1 - 0.9 * min(1.0, progress))


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
    told: Callable[[Record, Record], None] = lambda record, clock: None,
) -> Learnt:  # fmt: skip
    """Teach the agent on the training users and leave its policy at the best validation J.

    Step t talks with key.fold("step", t) and nothing else; the validation always with key.fold("validation").

    Args:
        agent: changed in place.
        train: an environment of the training users.
        users: how many there are.
        validation: an environment of the validation users.
        validators: how many there are; 0 keeps the last policy.
        lessons: settings.
        key: of everything drawn.
        told: called after each step with its record and its clock (progress, seconds).

    Returns:
        Learnt. Ctrl-C and a NaN end it; the best policy so far is restored in any case.
    """
    out, began = Learnt(), time.monotonic()
    kept: Mapping[str, Tensor] = agent.policy.state()

    def look(step: int) -> Record:
        nonlocal kept
        if not validators:
            kept, out.best = agent.policy.state(), step
            return {}
        talks = converse(agent, validation, range(validators), lessons.validation_rollouts, key.fold("validation"))
        value, error = _mean([g for g in gains(agent, talks) if g == g])
        better = value > out.best_j
        if better:
            kept, out.best, out.best_j = agent.policy.state(), step, value
        return {"val_j": value, "val_j_se": error, "best": better}

    try:
        look(0)
        for step in range(1, lessons.steps + 1):
            spent = time.monotonic() - began
            if lessons.seconds is not None and spent > lessons.seconds:
                out.status, out.why = Status.STOPPED, f"the time budget ended after step {step - 1}"
                break
            progress = max((step - 1) / lessons.steps, spent / lessons.seconds if lessons.seconds else 0.0)
            rate = lessons.rate(step, progress)
            talks = converse(agent, train, _visit(step, users, lessons.users, key), lessons.rollouts,
                             key.fold("step", step))  # fmt: skip
            info = learn_from(agent, talks, rate)
            out.skipped += int(info["skipped"])
            record: Record = {"step": float(step), **info, "lr": rate}
            record["satisfied"] = sum(t.satisfied for t in talks) / len(talks)
            if any(isinstance(v, float) and not math.isfinite(v) for v in record.values()):
                out.status, out.why = (
                    Status.NAN,
                    f"a number of step {step} is not finite: lower lr or soften the evidence",
                )
                break
            if step % lessons.validate_every == 0 or step == lessons.steps or not validators:
                record |= look(step)
            out.history.append(record)
            told(record, {"progress": step / lessons.steps, "seconds": time.monotonic() - began})
        if out.history and validators and "val_j" not in out.history[-1]:
            out.history[-1] |= look(int(out.history[-1]["step"]))
    except KeyboardInterrupt:
        out.status, out.why, out.interrupted = Status.STOPPED, "interrupted", True
    finally:
        agent.policy.restore(kept)
        agent.version += 1
    return out


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
