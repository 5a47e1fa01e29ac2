"""The one training loop: collect, score, step, record, validate, keep the best."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Policy, Prior
from credence.core.protocols import Learner as LearnerLaw
from credence.core.status import Status
from credence.core.types import Completions, Cost, Prompts
from credence.evidence.product import measure
from credence.posterior.posterior import Posterior

Record = Mapping[str, Any]
Schedule = Callable[[int, Record], Posterior]


@runtime_checkable
class Learner(LearnerLaw, Protocol):
    """A learner with the loop's settings as fields."""

    @property
    def prompts(self) -> int:
        """A step."""
        ...

    @property
    def group(self) -> int:
        """Draws a prompt."""
        ...

    @property
    def lr(self) -> float:
        """Step size after warm-up."""
        ...

    @property
    def warmup(self) -> int:
        """Steps over which lr rises."""
        ...

    @property
    def on_policy(self) -> bool:
        """Whether each step draws from the policy; else it recalls stored draws."""
        ...


@runtime_checkable
class Callback(Protocol):
    """Called after every step with its record; may raise to stop the run."""

    def __call__(self, record: Record, clock: Record) -> None:
        """Look at one step."""
        ...


@dataclass(frozen=True, eq=False)
class Validation:
    """Prompts that choose the checkpoint by their ELBO, always with the same key."""

    prompts: Prompts
    draws: int = 8
    every: int = 10


@dataclass(eq=False)
class Fit:
    """What a training stage left: the policy at its best checkpoint, and its history.

    Attributes:
        policy: restored to the best validation ELBO (the last step where nothing validated).
        history: a record a step, without clock fields: the same run gives the same bytes.
        status: OK, STOPPED (Ctrl-C or the time budget) or NAN, with `why`.
        best: step of the kept checkpoint; 0 is the policy as it came.
        best_elbo: its validation ELBO in nats.
    """

    policy: Policy
    history: list[Record] = field(default_factory=list)
    status: Status = Status.OK
    why: str = ""
    best: int = 0
    best_elbo: float = float("-inf")
    best_state: Mapping[str, Tensor] | None = None
    cost: Cost = field(default_factory=Cost)
    interrupted: bool = False


def fit(
    posterior: Posterior | Schedule,
    policy: Policy,
    prompts: Prompts,
    learner: Learner,
    key: Key,
    steps: int,
    *,
    stored: Batch | None = None,
    validation: Validation | None = None,
    seconds: float | None = None,
    stage: str = "",
    callbacks: Sequence[Callback] = (),
) -> Fit:
    """Train `policy` towards the learner's target.

    Args:
        posterior: the target, or a schedule (step, last record) -> Posterior that anneals β.
        policy: changed in place; on return it holds the best checkpoint.
        prompts: to draw from; each epoch visits them in an order given by the key.
        learner: its loss and settings.
        key: of every draw and shuffle; step t uses key.fold("step", t) and nothing else.
        steps: gradient steps.
        stored: draws on `prompts`, with their nats, for learners that do not draw from the policy.
        validation: chooses the checkpoint; the policy as it came is one of the candidates.
        seconds: wall-clock budget after which the stage stops (then the number of steps depends on the machine).
        stage: name written into each record.
        callbacks: called after each step with (record, clock).

    Returns:
        Fit. Ctrl-C ends the stage with what was done, status STOPPED and `interrupted`. A NaN in loss or gradient ends
        it with status NAN, before the step is applied.

    Raises:
        ConfigError: no prompts, or a learner that needs stored draws got none.

    Cost: a step is one sampling pass (on policy), one prior scoring pass, one forward and backward pass.
    """
    if not len(prompts):
        raise ConfigError("no training prompts: give at least one.")
    if not learner.on_policy and stored is None:
        raise ConfigError(
            f"{type(learner).__name__} learns from stored draws: pass stored=Batch(...) of draws on the prompts."
        )
    run = _Run(posterior, policy, prompts, learner, key, stored)
    out = Fit(policy)
    begun = time.monotonic()
    cpu = time.process_time()
    record: Record = {}
    try:
        if validation is not None:
            out.best_elbo, _ = elbo(
                run.target(0, record), policy, validation.prompts, key.fold("val"), validation.draws
            )
            out.best_state = policy.state()
        for step in range(1, steps + 1):
            late = seconds is not None and time.monotonic() - begun > seconds
            if late:
                out.status, out.why = Status.STOPPED, f"the time budget of {seconds:.0f} s ended after step {step - 1}"
                break
            progress = step / steps if seconds is None else max(step / steps, (time.monotonic() - begun) / seconds)
            record, clock = run.step(step, record, _rate(learner, step, progress))
            record = {"stage": stage, **record}
            if any(isinstance(v, float) and v != v for v in record.values()):
                out.status = Status.NAN
                out.why = f"a NaN at step {step} of {stage or 'training'}: lower lr (now {learner.lr:g}) or raise beta."
                break
            if validation is not None and (step % validation.every == 0 or step == steps):
                record = {**record, **_validate(out, run, validation, step, record)}
            out.history.append(record)
            for callback in callbacks:
                callback(record, {**clock, "elapsed": time.monotonic() - begun, "progress": progress})
    except KeyboardInterrupt:
        out.status, out.why, out.interrupted = Status.STOPPED, "interrupted", True
    if out.best_state is not None:
        _last_word(out, run, validation)
        policy.restore(out.best_state)
    out.cost = Cost(run.tokens, time.process_time() - cpu)
    return out


def _last_word(out: Fit, run: "_Run", validation: Validation | None) -> None:
    """A stage cut by its budget has unvalidated steps behind the last checkpoint: let them compete too."""
    unseen = bool(out.history) and "val_elbo" not in out.history[-1]
    if validation is None or not unseen or out.interrupted or out.status is Status.NAN:
        return
    step = len(out.history)
    out.history[-1] = {**out.history[-1], **_validate(out, run, validation, step, out.history[-1])}


def _validate(out: Fit, run: "_Run", validation: Validation, step: int, record: Record) -> Record:
    value, se = elbo(run.target(step, record), out.policy, validation.prompts, run.key.fold("val"), validation.draws)
    best = value > out.best_elbo
    if best:
        out.best, out.best_elbo, out.best_state = step, value, out.policy.state()
    return {"val_elbo": value, "val_elbo_se": se, "best": best}


def _rate(learner: Learner, step: int, progress: float) -> float:
    return learner.lr * min(1.0, step / max(1, learner.warmup)) * (1 - 0.9 * min(1.0, progress))


def elbo(posterior: Posterior, policy: Prior, prompts: Prompts, key: Key, n: int) -> tuple[float, float]:
    """E_π[log_lik − log π/π0] in nats and its standard error, mean over prompts of n draws each: J/β ≤ log Z."""
    completions, log_q = policy.sample(key, prompts, n)
    log_prior = posterior.prior.score(prompts, completions)
    gain = posterior.log_lik(prompts, completions) - (log_q - log_prior).sum(-1)
    by = gain.view(len(prompts), n)
    se = float((by.var(1).sum() / n).sqrt() / len(prompts)) if n > 1 else float("nan")
    return float(by.mean()), se


@dataclass(eq=False)
class _Run:
    """What stays fixed over the steps of one stage, and the counters."""

    posterior: Posterior | Schedule
    policy: Policy
    all_prompts: Prompts
    learner: Learner
    key: Key
    stored: Batch | None
    tokens: int = 0

    def target(self, step: int, record: Record) -> Posterior:
        return self.posterior if isinstance(self.posterior, Posterior) else self.posterior(step, record)

    def step(self, step: int, last: Record, lr: float) -> tuple[Record, Record]:
        began, cpu = time.monotonic(), time.process_time()
        posterior = self.target(step, last)
        batch = self._collect(step, posterior)
        info = self.policy.forward_backward(batch, self.learner.loss)
        grown = self.policy.step(lr)
        used = int(batch.completions.mask.sum())
        self.tokens += used
        record = {"step": step, **info, **grown, "lr": lr, "tokens": used}
        wall = time.monotonic() - began
        return record, {"step": step, "wall": wall, "cpu": time.process_time() - cpu, "tokens_per_s": used / wall}

    def _visit(self, step: int) -> list[int]:
        """The prompts of this step: consecutive pieces of a new shuffle each epoch."""
        total, size = len(self.all_prompts), self.learner.prompts
        picked: list[int] = []
        for i in range((step - 1) * size, step * size):
            epoch, place = divmod(i, total)
            order = self.key.fold("epoch", epoch).generator().permutation(total)
            picked.append(int(order[place]))
        return picked

    def _collect(self, step: int, posterior: Posterior) -> Batch:
        index = self._visit(step)
        prompts = self.all_prompts.take(index)
        if self.stored is not None and not self.learner.on_policy:
            return self._recall(index, prompts, posterior, self.stored)
        key = self.key.fold("step", step)
        completions, log_q = self.policy.sample(key, prompts, self.learner.group)
        log_prior = posterior.prior.score(prompts, completions)
        log_lik, readings = measure(posterior.evidence, prompts, completions)
        return Batch(prompts, completions, log_q, log_prior, log_lik, on_policy=True, readings=readings)

    def _recall(self, index: list[int], prompts: Prompts, posterior: Posterior, stored: Batch) -> Batch:
        """The stored rows of these prompts, renumbered; their evidence is read again only where it is annealed."""
        rows = [torch.nonzero(stored.completions.prompt == b).flatten()[: self.learner.group] for b in index]
        picked = torch.cat(rows)
        whole = stored.completions.rows(picked)
        place = torch.cat([torch.full((len(r),), i) for i, r in enumerate(rows)]).to(picked)
        completions = Completions(whole.ids, whole.mask, whole.ended, place)
        annealed = not isinstance(self.posterior, Posterior)
        log_lik = posterior.log_lik(prompts, completions) if annealed else stored.log_lik[picked]
        log_z = None if stored.log_z is None or annealed else stored.log_z[torch.tensor(index)]
        readings = {name: values[picked] for name, values in stored.readings.items()}
        return Batch(
            prompts,
            completions,
            stored.log_q[picked],
            stored.log_prior[picked],
            log_lik,
            log_z=log_z,
            readings=readings,
        )
