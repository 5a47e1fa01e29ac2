"""Soft Q-learning: off policy, towards the soft-optimal values.

Update: Q(s,a) ← Q(s,a) + α [r + γ V_Q(s') − Q(s,a)],  V_Q(s) = β log Σ_a q(a|s) e^{Q(s,a)/β},  π ∝ q e^{Q/β}.
Q does not contain the KL paid at (s,a) itself: V does. Shaping the reward with −β log π/q as well would count it twice.
Target: the soft-optimal policy of the world without its time limit (a cut episode is continued by V_Q(s')).
Left out: replay, target networks, double estimators: the values stand in a table.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.soft import log_soft_policy, soft_value

TARGET = "soft-optimal"


@dataclass(frozen=True)
class SoftQ:
    """Soft Q-learning (Rawlik et al. 2012; Fox et al. 2016; Haarnoja et al. 2017); β = 0 is Watkins' Q-learning.

    Fields:
        rate: the step size is rate · N(s,a)^−power, N the visits so far.
        power: 0 keeps it constant; above ½ and at most 1 the values converge.
        explore: share of uniformly random actions; any behaviour that tries everything will do.

    Guarantee: converges to the soft-optimal Q where every (s,a) goes on being tried. Cost: one look at A values a step.
    Tested in tests/oracle/test_value_engines.py (TOY-A to 1e-10) and tests/statistical/test_control.py.
    """

    rate: float = 1.0
    power: float = 0.7
    explore: float = 0.1
    name: ClassVar[str] = "soft Q-learning"
    target: ClassVar[str] = TARGET

    def __post_init__(self) -> None:
        check_steps(self.rate, self.power, self.explore)

    def aim(
        self, reward: Float[Tensor, " n"], ended: Bool[Tensor, " n"], values: Float[Tensor, "n A"],
        log_prior: Float[Tensor, "n A"], action: Int[Tensor, " n"], beta: float, discount: float,
    ) -> Float[Tensor, " n"]:  # fmt: skip
        """r + γ V_Q(s'), reward units.

        Args:
            reward: paid for (s,a).
            ended: nothing follows.
            values: Q(s', ·).
            log_prior: log q(·|s').
            action: the next action taken, which is not looked at: that is what makes it off policy.
            beta: reward units a nat.
            discount: γ.
        """
        return reward + discount * torch.where(ended, 0.0, soft_value(values, log_prior, beta))

    def behaviour(
        self, values: Float[Tensor, "n A"], log_prior: Float[Tensor, "n A"], beta: float
    ) -> Float[Tensor, "n A"]:
        """log of what it does while learning: the soft policy, mixed with uniform exploration."""
        return explored(log_soft_policy(values, log_prior, beta), log_prior, self.explore)


def explored(log_pi: Float[Tensor, "n A"], log_prior: Float[Tensor, "n A"], share: float) -> Float[Tensor, "n A"]:
    """(1 − share) π + share · uniform over what the prior allows, in nats."""
    if share == 0:
        return log_pi
    allowed = (~torch.isneginf(log_prior)).to(log_pi.dtype)  # as booleans they would round the share to float32
    return torch.log((1 - share) * log_pi.exp() + share * allowed / allowed.sum(-1, keepdim=True))


def check_steps(rate: float, power: float, explore: float) -> None:
    """Refuse step sizes and exploration that cannot be.

    Raises:
        ConfigError: names the setting.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"rate = {rate}: above 0 and at most 1, the share of the way to the target.")
    if not 0 <= power <= 1:
        raise ConfigError(f"power = {power}: between 0 (constant steps) and 1 (averages).")
    if not 0 <= explore <= 1:
        raise ConfigError(f"explore = {explore}: a share of the actions, between 0 and 1.")
