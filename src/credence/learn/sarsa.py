"""Soft SARSA: the values of the policy that is followed, its KL counted as a cost, the policy improving with them.

Sampled update:   Q(s,a) ← Q + α [r + γ (Q(s',a') − β log b/q(a'|s')) − Q],   a' the next action taken, by b
Expected update:  Q(s,a) ← Q + α [r + γ Σ_a' b(a'|s') (Q(s',a') − β log b/q(a'|s')) − Q]
b is the behaviour: π ∝ q e^{Q/β}, mixed with `explore` uniform actions. Without them the expected target is soft
Q-learning's, since Σ π (Q − β log π/q) = V; they part where b lags or explores. The KL of a' stands in the target of
(s,a), that of a in none: putting −β log π/q into the reward too would count it twice.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.soft import log_soft_policy
from credence.learn.soft_q import TARGET, check_steps, explored
from credence.posterior.mdp import mixed


@dataclass(frozen=True)
class SoftSarsa:
    """Soft SARSA, expected or sampled; β = 0 is Rummery and Niranjan's SARSA.

    Fields:
        expected: average over the next action instead of taking the one that was drawn: less variance, same mean.
        rate: the step size is rate · N(s,a)^−power, N the visits so far.
        power: 0 keeps it constant; above ½ and at most 1 the values converge.
        explore: share of uniformly random actions. It is part of what is valued: with explore > 0 it rests where π is
            the soft policy of the values that b itself has (`temporal.rest` finds it), near the optimum and not at it.
            Soft policies explore by themselves, unless the prior shows nothing: 0 by default.

    Target: the soft-optimal policy at explore = 0. Cost: one look at A values a step.
    Tested in tests/oracle/test_value_engines.py (TOY-A) and tests/statistical/test_control.py.
    """

    expected: bool = True
    rate: float = 1.0
    power: float = 0.7
    explore: float = 0.0
    name: ClassVar[str] = "soft SARSA"
    target: ClassVar[str] = TARGET

    def __post_init__(self) -> None:
        check_steps(self.rate, self.power, self.explore)

    def aim(
        self, reward: Float[Tensor, " n"], ended: Bool[Tensor, " n"], values: Float[Tensor, "n A"],
        log_prior: Float[Tensor, "n A"], action: Int[Tensor, " n"], beta: float, discount: float,
    ) -> Float[Tensor, " n"]:  # fmt: skip
        """The target of (s,a) in reward units; arguments as SoftQ.aim, `action` the next action drawn by b."""
        log_b = self.behaviour(values, log_prior, beta)
        worth = penalised(values, log_b, log_prior, beta)
        later = mixed(log_b.exp(), worth) if self.expected else worth.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return reward + discount * torch.where(ended, 0.0, later)

    def behaviour(
        self, values: Float[Tensor, "n A"], log_prior: Float[Tensor, "n A"], beta: float
    ) -> Float[Tensor, "n A"]:
        """log b: the soft policy, mixed with uniform exploration."""
        return explored(log_soft_policy(values, log_prior, beta), log_prior, self.explore)


def penalised(
    values: Float[Tensor, "n A"], log_b: Float[Tensor, "n A"], log_prior: Float[Tensor, "n A"], beta: float
) -> Float[Tensor, "n A"]:
    """Q − β log b/q of each action in reward units; whatever stands at actions of probability 0."""
    if beta == 0:
        return values
    return values - beta * torch.where(torch.isneginf(log_b), 0.0, log_b - log_prior)
