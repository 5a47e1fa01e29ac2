"""A policy and its flow, trained together: what balance must know beside a policy, log Z or a value of prefixes.

The flow has an Adam of its own, whose step size is `rate` times the policy's: a number that many rows share may go
faster than weights. The law drawn and scored is the policy's alone.

    log Z(c) = V(c, ())      Q(s, v) − V(s) = log π/π0(v|s)

By the first a loss of `Scored` that needs log_z finds one that carries a gradient; by the second any learner of values
(path consistency, sub-trajectory balance) trains any policy, over its own log-probabilities and the flow's V.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, Policy, Scored, State, StepPrior, ValueLoss
from credence.core.types import Codec, Completions, Info, Prompts
from credence.prior.flow import Flow, PromptFlow, StateFlow, TableFlow
from credence.prior.policy import twin_of, unwrap
from credence.prior.tabular import TabularPolicy
from credence.prior.train import Trainer, valued


@dataclass(eq=False)
class Flowing:
    """A policy and its flow; build with `learnt_log_z`, `known_log_z`, `with_table_flow` or `with_state_flow`.

    Attributes:
        inner: the policy, whose law this is.
        flow: what is learnt beside it.
        rate: its step size over the policy's.
        trainer: its Adam; None where it is held.
    """

    inner: Policy
    flow: Flow
    rate: float
    trainer: Trainer | None

    @property
    def codec(self) -> Codec:
        """The policy's."""
        return self.inner.codec

    @property
    def ends(self) -> frozenset[int]:
        """The policy's."""
        return self.inner.ends

    @property
    def horizon(self) -> int:
        """The policy's."""
        return self.inner.horizon

    def start(self, prompts: Prompts, n: int) -> State:
        """As the policy."""
        return self.inner.start(prompts, n)

    def next_logits(self, state: State) -> Float[Tensor, "rows V"]:
        """As the policy."""
        return self.inner.next_logits(state)

    def extend(self, state: State, token: Int[Tensor, " rows"]) -> State:
        """As the policy."""
        return self.inner.extend(state, token)

    def take(self, state: State, rows: Int[Tensor, " k"]) -> State:
        """As the policy."""
        return self.inner.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """As the policy."""
        return self.inner.sample(key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """As the policy."""
        return self.inner.score(prompts, completions)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """The policy's, with log Z of the flow in place of any that came with the rows."""
        return self.inner.forward_backward(replace(batch, log_z=self.flow.root(batch.prompts)), loss)

    def value_backward(self, batch: Batch, loss: ValueLoss) -> Info:
        """A value's loss with V the flow and Q = V + log π/π0, through the policy's own passes."""

        def by_policy(scored: Scored) -> tuple[Tensor, Info]:
            v = self.flow.along(batch.prompts, batch.completions)
            ratio = torch.where(scored.mask, scored.log_pi - scored.log_prior, 0.0)
            return loss(valued(batch, lambda: v + ratio, lambda: v, lambda: v, lambda: v))

        return self.inner.forward_backward(replace(batch, needs=frozenset()), by_policy)  # the flow is that value

    def log_value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Q of each row's last token has no name here.

        Raises:
            ConfigError: always: a flow is read by `log_state`.
        """
        raise ConfigError('a flow is a value of prefixes, not of tokens: read it with shape="state".')

    @torch.no_grad()
    def log_state(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """V after each unfinished row, nats."""
        pad = torch.nn.functional.pad
        wider = replace(completions, ids=pad(completions.ids, (0, 1)), mask=pad(completions.mask, (0, 1)))
        at = completions.lengths[:, None]
        wider = replace(
            wider, mask=wider.mask.scatter(1, at, True), turn=None
        )  # V before a token that is not there yet
        return self.flow.along(prompts, wider).gather(1, at).squeeze(1)

    def step(self, lr: float) -> Info:
        """One Adam step of both; the norm is that of both gradients together."""
        info = self.inner.step(lr)
        if self.trainer is None:
            return info
        own = self.trainer.step(lr * self.rate)["grad_norm"]
        return {**info, "grad_norm": math.hypot(info["grad_norm"], own)}

    def state(self) -> dict[str, Tensor]:
        """A copy of both."""
        own = {f"flow/{name}": p.detach().clone() for name, p in self.flow.parameters.items()}
        return {**self.inner.state(), **own}

    def moments(self) -> dict[str, Tensor]:
        """What both optimisers remember; not copied."""
        own = {} if self.trainer is None else self.trainer.moments(self._names)
        return {**self.inner.moments(), **own}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put both back; the optimisers start afresh, or from these moments."""
        own = {name for name in state if name.startswith("flow/")}
        self.inner.restore({name: state[name] for name in state if name not in own}, moments)
        for name, parameter in self.flow.parameters.items():
            parameter.copy_(state[f"flow/{name}"])
        if self.trainer is not None:
            self.trainer.recall(self._names, moments or {})

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"flow/{name}" for name in self.flow.parameters)


def learnt_log_z(
    policy: Policy, prompts: Prompts, rate: float = 30.0, start: Float[Tensor, " B"] | None = None
) -> Flowing:
    """The policy with a log Z of each prompt that is learnt by the same loss.

    Args:
        policy: any.
        prompts: all that it will be trained on.
        rate: step size of log Z over the policy's: 10 to 100.
        start: (B,) nats to begin at; by default 0, which is log Z of no evidence at all.

    Raises:
        ConfigError: a rate that is not above 0, or a start that is not one finite number a prompt.
    """
    flow = _of_prompts(prompts, torch.zeros(len(prompts), dtype=torch.float64) if start is None else start)
    return _trained(policy, flow, rate)


def known_log_z(policy: Policy, prompts: Prompts, log_z: Float[Tensor, " B"]) -> Flowing:
    """The policy with these log Z, which training leaves as they are: for learners that draw anew and need one.

    Raises:
        ConfigError: log_z is not one finite number a prompt.
    """
    flow = _of_prompts(prompts, log_z)
    flow.log_z.requires_grad_(False)
    return Flowing(policy, flow, 0.0, None)


def with_table_flow(policy: TabularPolicy, rate: float = 1.0) -> Flowing:
    """A tabular policy with a value of 0 nats at each prefix, learnt beside it.

    Raises:
        ConfigError: a rate that is not above 0.
    """
    return _trained(policy, TableFlow(policy, nn.Parameter(torch.zeros(len(policy.places), dtype=torch.float64))), rate)


def with_state_flow(policy: Policy, prior: StepPrior, rate: float = 1.0) -> Flowing:
    """A policy with a value of 0 nats everywhere on its prior's states, learnt beside it.

    Args:
        policy: on that prior: lora_policy(prior, …), full_policy(prior).
        prior: a language model; it is never trained.
        rate: step size of the values over the policy's.

    Raises:
        ConfigError: a rate that is not above 0, or a prior that cannot be trained on (prior.policy).
    """
    lm = twin_of(unwrap(prior)[0], frozenset())
    dtype = torch.promote_types(lm.dtype, torch.float32)
    a, c = (nn.Parameter(torch.zeros(shape, device=lm.device, dtype=dtype)) for shape in (lm.head.in_features, ()))
    return _trained(policy, StateFlow(lm, a, c), rate)


def _of_prompts(prompts: Prompts, log_z: Tensor) -> PromptFlow:
    if log_z.shape != (len(prompts),) or not bool(torch.isfinite(log_z).all()):
        raise ConfigError(f"{len(prompts)} prompts and log Z {log_z.tolist()}: one finite number of nats each.")
    places = {ids: i for i, ids in enumerate(prompts.ids)}  # a prompt that stands twice has the last one's
    return PromptFlow(places, nn.Parameter(log_z.detach().clone().double()))


def _trained(policy: Policy, flow: Flow, rate: float) -> Flowing:
    if not 0 < rate < math.inf:
        raise ConfigError(f"rate={rate}: the flow's step size over the policy's, above 0.")
    return Flowing(policy, flow, rate, Trainer(list(flow.parameters.values()), clip=math.inf))
