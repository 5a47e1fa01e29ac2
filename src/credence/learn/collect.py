"""What one training step learns from: which prompts, fresh draws or stored ones, and their nats."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Batch, Guide, Policy
from credence.core.protocols import Learner as LearnerLaw
from credence.core.protocols import ValueLearner as ValueLaw
from credence.core.types import Completions, Prompts
from credence.evidence.product import measure
from credence.posterior.posterior import Posterior

Record = Mapping[str, Any]
Schedule = Callable[[int, Record], Posterior]

HISTORY: Mapping[str, str] = {
    "stage": "the name given to fit",
    "step": "from 1",
    "elbo": "E[log_lik − log π/π0] in nats, J/β; on draws from elsewhere weighted by π/q",
    "log_lik": "E[log_lik] in nats",
    "kl_prior": "E[log π/π0] in nats, an estimate of KL(π‖π0)",
    "kl_posterior_estimate": "KL(π‖p*) in nats with log Z from the same rows: biased low",
    "grad_norm": "norm of the gradient before clipping",
    "lr": "Adam's step size",
    "tokens": "completion tokens of the step",
    "val_elbo": "ELBO on the validation prompts in nats, where they were looked at",
    "val_elbo_se": "its standard error over draws; inf where it cannot be known",
    "best": "whether this step became the kept checkpoint",
    "advantage_sd": "REINFORCE: standard deviation of the advantages in nats",
    "ess_share": "DPG: effective draws over draws",
    "ratio_max": "DPG: the largest π/q",
    "value_loss": "value learners: the loss, in a unit of its own",
    "root": "soft Q and ILQL: V before the first token in nats, mean over prompts; log Z at the optimum of soft Q",
}
"""The keys of a record; beside them stands the mean of each evidence reading under its own name."""


@runtime_checkable
class Settings(Protocol):
    """The loop's settings, fields of every learner."""

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
class Learner(LearnerLaw, Settings, Protocol):
    """Trains a policy by its log-probabilities."""


@runtime_checkable
class ValueLearner(ValueLaw, Settings, Protocol):
    """Trains a policy by the value that guides it."""


@dataclass(eq=False)
class Collector:
    """What stays fixed over the steps of one stage, and the tokens spent.

    Raises:
        ConfigError: no prompts; a learner of stored draws without them; a prompt without a stored draw; a learner of
            values for a policy that has none.
        ShapeError: stored draws of other prompts than those to learn on.
    """

    posterior: Posterior | Schedule
    policy: Policy
    all_prompts: Prompts
    learner: Learner | ValueLearner
    key: Key
    stored: Batch | None
    tokens: int = 0

    def __post_init__(self) -> None:
        if not len(self.all_prompts):
            raise ConfigError("no training prompts: give at least one.")
        if isinstance(self.learner, ValueLearner):
            self._guide()
        if self.learner.on_policy:
            return
        if self.stored is None:
            raise ConfigError(
                f"{type(self.learner).__name__} learns from stored draws: pass stored=Batch(...), draws on the prompts."
            )
        if self.stored.prompts.ids != self.all_prompts.ids:
            raise ShapeError("the stored draws answer other prompts than those to learn on: give the same, in order.")
        rows = torch.bincount(self.stored.completions.prompt.cpu(), minlength=len(self.all_prompts))
        if bool((rows == 0).any()):
            first = int((rows == 0).nonzero()[0])
            raise ConfigError(f"prompt {first} has no stored draw: leave it out, or draw for it.")

    def target(self, step: int, record: Record) -> Posterior:
        """The posterior aimed at in this step."""
        return self.posterior if isinstance(self.posterior, Posterior) else self.posterior(step, record)

    def step(self, step: int, last: Record, lr: float) -> tuple[Record, Record]:
        """One gradient step: its record, and its clock. A step whose record holds a NaN has not been applied."""
        began, cpu = time.monotonic(), time.process_time()
        batch = self.collect(step, self.target(step, last))
        info: Record = self._backward(batch)
        if troubles(info) == []:
            info = {**info, **self.policy.step(lr)}
        used = int(batch.completions.mask.sum())
        self.tokens += used
        wall = time.monotonic() - began
        clock = {"step": step, "wall": wall, "cpu": time.process_time() - cpu, "tokens_per_s": used / wall}
        return {"step": step, **info, "lr": lr, "tokens": used}, clock

    def _backward(self, batch: Batch) -> Record:
        if isinstance(self.learner, ValueLearner):
            return self._guide().value_backward(batch, self.learner.value_loss)
        return self.policy.forward_backward(batch, self.learner.loss)

    def _guide(self) -> Guide:
        if isinstance(self.policy, Guide):
            return self.policy
        raise ConfigError(
            f"{type(self.learner).__name__} trains a value of prefixes, and {type(self.policy).__name__} has none: "
            "build the policy with guided_policy (a language model) or guided_table."
        )

    def visit(self, step: int) -> list[int]:
        """The prompts of this step: consecutive pieces of a new shuffle each epoch."""
        total, size = len(self.all_prompts), self.learner.prompts
        picked: list[int] = []
        for i in range((step - 1) * size, step * size):
            epoch, place = divmod(i, total)
            order = self.key.fold("epoch", epoch).generator().permutation(total)
            picked.append(int(order[place]))
        return picked

    def collect(self, step: int, posterior: Posterior) -> Batch:
        """Draws of this step's prompts with the nats of prior and evidence.

        Raises:
            ConfigError: a reading has the name of a key of the history.
        """
        index = self.visit(step)
        prompts = self.all_prompts.take(index)
        if self.stored is not None and not self.learner.on_policy:
            batch = self._recall(index, prompts, posterior, self.stored)
        else:
            completions, log_q = self.policy.sample(self.key.fold("step", step), prompts, self.learner.group)
            log_prior = posterior.prior.score(prompts, completions)
            log_lik, readings = measure(posterior.evidence, prompts, completions)
            batch = Batch(prompts, completions, log_q, log_prior, log_lik, on_policy=True, readings=readings)
        for name in batch.readings:
            if name in HISTORY:
                raise ConfigError(f"the evidence reads {name!r}, a key of the history: give it another name.")
        return batch

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


def troubles(record: Record) -> list[str]:
    """Names of what must end a stage: any NaN, and a gradient that is not finite."""
    found = [name for name, value in record.items() if isinstance(value, float) and value != value]
    return found + ["grad_norm"] * (abs(record.get("grad_norm", 0.0)) == float("inf"))
