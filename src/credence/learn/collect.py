"""What one training step learns from: which prompts, fresh draws or stored ones, and their nats."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Batch, Critic, Guide, Policy
from credence.core.protocols import Learner as LearnerLaw
from credence.core.protocols import ValueLearner as ValueLaw
from credence.core.types import Completions, Prompts
from credence.evidence.product import measure, prefix_twists
from credence.learn.replay import Replay
from credence.learn.reuse import merged, pick, shares
from credence.learn.schedules import realised
from credence.posterior.posterior import Posterior

Record = Mapping[str, Any]
Schedule = Callable[[int, Record], Posterior]

Draw = Callable[[Key, Policy, Prompts, int], tuple[Completions, Float[Tensor, "R T"]]]
"""Another way to draw a step's rows: n a prompt, with log q of each token as really drawn."""

Shape = Callable[[Batch], Batch]
"""A step's rows as collected -> as learnt from. Whoever changes log_lik changes the target."""

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
    "advantage_sd": "standard deviation of the advantages in nats, of rows or of tokens",
    "ratio_ess": "effective draws over draws of the weights π/q; 1 on policy",
    "ratio_max": "the largest π/q of a row; 1 on policy",
    "tau": "under a schedule: the power of the evidence aimed at",
    "beta": "under a schedule: the β that this is, where one reward has one",
    "val_measure": "mean of the validation's own measure, where it has one",
    "val_log_lik": "beside it: mean nats of the evidence on the same draws, the proxy",
    "val_kl": "beside it: KL(π‖π0) in nats on the same draws",
    "ess_share": "DPG, f-DPG and what fits weighted draws: effective draws over draws",
    "divergence": "f-DPG, BOND: the divergence of these rows, nats for the KLs",
    "imbalance": "balances: root of the mean square that they lessen, in nats; 0 at p*",
    "log_z": "balances: log Z in nats as they have it, mean over prompts",
    "kept": "expert iteration: share of the rows with weight",
    "clipped": "reward-weighted regression: share of the rows at the clip",
    "eta": "MPO: η of the step",
    "tilt": "MPO: KL(q‖draws) in nats",
    "preference_loss": "DPO, IPO, KTO: the loss",
    "agreed": "DPO, IPO, KTO: share of judgements on whose side the policy is",
    "h_margin": "DPO, IPO: mean of h(chosen) − h(rejected) in nats, h = log π/π0",
    "h_chosen": "DPO, IPO: mean h of the chosen replies, nats",
    "h_rejected": "DPO, IPO: mean h of the rejected replies, nats",
    "seen": "DPO, IPO: the policy's mass on the two replies of a comparison",
    "seen_prior": "DPO, IPO: the prior's",
    "h_liked": "KTO: mean h of liked replies, nats; 0 where a step has none",
    "h_disliked": "KTO: mean h of disliked replies, nats; 0 where a step has none",
    "h_drift": "KTO: z0 in nats",
    "nll": "SFT: −log π of a reply, nats",
    "nll_token": "SFT: the same a token",
    "h_mean": "SFT: mean h of the replies, nats",
    "clip_share": "PPO, GRPO: share of the tokens whose gradient the clip cut",
    "kl_step": "PPO: E_q[log q/π] in nats a reply, how far the policy went from the one that drew the rows",
    "kl_token": "Rao-Blackwell: E[Σ KL(π(·|s_t)‖π0(·|s_t))] in nats, an estimate of KL(π‖π0) that is never negative",
    "group_sd": "GRPO: mean standard deviation within a group, in nats",
    "replay_groups": "past groups joined to the step's own",
    "replay_age": "their mean age in steps",
    "replay_dropped": "groups dropped because they were too old",
    "value_grad_norm": "norm of the value's gradient, where a policy has one beside it",
    "value_loss": "value learners: the loss, in a unit of its own; PPO: mean squared error of the value, nats²",
    "root": "value learners: V before the first token in nats, mean over prompts; log Z at the optimum of all but ILQL",
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
    """What stays fixed over the steps of one stage, the tokens spent, and what is replayed.

    Raises:
        ConfigError: no prompts; a learner of stored draws without them, or one that draws with them replayed; a prompt
            without a stored draw; a learner that needs values for a policy that has none.
        ShapeError: stored draws of other prompts than those to learn on.
    """

    posterior: Posterior | Schedule
    policy: Policy
    all_prompts: Prompts
    learner: Learner | ValueLearner
    key: Key
    stored: Batch | None
    draw: Draw | None = None
    shape: Shape | None = None
    replay: Replay | None = None
    tokens: int = 0

    def __post_init__(self) -> None:
        if not len(self.all_prompts):
            raise ConfigError("no training prompts: give at least one.")
        if isinstance(self.learner, ValueLearner):
            self._guide()
        elif "value" in self.learner.needs:
            self._critic()
        if self.learner.on_policy:
            return
        if self.replay is not None or self.draw is not None:
            raise ConfigError(
                f"{type(self.learner).__name__} learns from stored draws and draws none: replay and draw are for "
                "learners that do."
            )
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
        """One collection and its gradient steps: record and clock. A gradient that holds a NaN has not been applied."""
        began, cpu = time.monotonic(), time.process_time()
        posterior = self.target(step, last)
        batch, more = self._replayed(step, posterior, self.collect(step, posterior))
        infos: list[Record] = []
        for part in shares(self.learner, self.key.fold("reuse", step), batch):
            info = self._backward(part)
            if troubles(info) == []:
                info = {**info, **self.policy.step(lr)}
            infos.append(info)
            if troubles(info):
                break
        info = {**merged(infos), **more, **({} if isinstance(self.posterior, Posterior) else realised(posterior))}
        used = int(batch.completions.mask.sum())
        self.tokens += used
        wall = time.monotonic() - began
        clock = {"step": step, "wall": wall, "cpu": time.process_time() - cpu, "tokens_per_s": used / wall}
        return {"step": step, **info, "lr": lr, "tokens": used}, clock

    def _backward(self, batch: Batch) -> Record:
        if isinstance(self.learner, ValueLearner):
            return self._guide().value_backward(batch, self.learner.value_loss)
        return self.policy.forward_backward(batch, self.learner.loss)

    def _critic(self) -> Critic:
        if isinstance(self.policy, Critic):
            return self.policy
        raise ConfigError(
            f"{type(self.learner).__name__} needs a value of prefixes, and {type(self.policy).__name__} has none: "
            "build the policy with value=True."
        )

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
            batch = self._recall(index, posterior, self.stored)
        else:
            key, n = self.key.fold("step", step), self.learner.group
            given = self.draw(key, self.policy, prompts, n) if self.draw else self.policy.sample(key, prompts, n)
            completions, log_q = given
            log_prior = posterior.prior.score(prompts, completions)
            log_lik, readings = measure(posterior.evidence, prompts, completions)
            batch = Batch(prompts, completions, log_q, log_prior, log_lik, self.draw is None, readings=readings)
        for name in batch.readings:
            if name in HISTORY:
                raise ConfigError(f"the evidence reads {name!r}, a key of the history: give it another name.")
        return batch if self.shape is None else self.shape(batch)

    def _replayed(self, step: int, posterior: Posterior, fresh: Batch) -> tuple[Batch, Record]:
        """The rows to learn from: past ones joined, and with them what the learner needs; and what to record of it."""
        batch, said = fresh, dict[str, float]()
        if self.replay is not None:
            batch, said = self.replay.join(self.key, step, fresh, self.all_prompts)
            if batch is not fresh and not isinstance(self.posterior, Posterior):
                batch = replace(batch, log_lik=posterior.log_lik(batch.prompts, batch.completions))
            self.replay.add(step, self.visit(step), fresh)
        needs = self.learner.needs
        if "kl" in needs:
            batch = replace(batch, prior=posterior.prior)
        if "value" in needs and not isinstance(self.learner, ValueLearner):
            batch = replace(batch, value_q=self._critic().value(batch.prompts, batch.completions))
        if "log_twist" in needs:
            said_so_far = prefix_twists(posterior.evidence, batch.prompts, batch.completions)
            batch = replace(batch, log_twist=said_so_far)
        return replace(batch, needs=needs), said

    def _recall(self, index: list[int], posterior: Posterior, stored: Batch) -> Batch:
        """The stored rows of these prompts, renumbered; their evidence is read again only where it is annealed."""
        batch = pick(replace(stored, prompts=self.all_prompts), index, self.learner.group)
        if isinstance(self.posterior, Posterior):
            return batch
        return replace(batch, log_lik=posterior.log_lik(batch.prompts, batch.completions), log_z=None)


def troubles(record: Record) -> list[str]:
    """Names of what must end a stage: any NaN, and a gradient that is not finite."""
    found = [name for name, value in record.items() if isinstance(value, float) and value != value]
    return found + ["grad_norm"] * (abs(record.get("grad_norm", 0.0)) == float("inf"))
