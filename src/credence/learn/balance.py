"""Trajectory balance and VarGrad: squared residuals of log π − log π0 − log_lik + log Z, on any draws.

Target: the posterior, whoever drew the rows, without weights:

    TB: ½(log Z + Δ)²      VarGrad: ½ Var(Δ) over a prompt's draws      Δ = log π/π0 − log_lik

On the policy's own draws both have the gradient ∇KL(π‖p*), as REINFORCE has; on stored or replayed draws of another law
REINFORCE would need π/q, and these need nothing. Held by tests/oracle/test_balance.py.

Left out: weights of rows, and replay's choice of what to recall: the stored draws are used as they come.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.balance import balance, log_variance
from credence.learn.settings import Common


@dataclass(frozen=True)
class TrajectoryBalance(Common):
    """Balance with a log Z for each prompt: given with the stored draws, or learnt beside the policy (prior.flowing).

    Args:
        on_policy: draw from the policy in each step; else recall stored draws.

    Guarantee: off policy the minimum is p* where log Z is learnt, or given truly; a wrong given log Z moves it. On
    policy log Z is only a baseline. Cost: a step as REINFORCE's or DPG's.

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    on_policy: bool = False

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    @property
    def needs(self) -> frozenset[str]:
        """log Z of each prompt."""
        return frozenset({"log_z"})

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.balance.balance."""
        return balance(scored)


@dataclass(frozen=True)
class VarGrad(Common):
    """Balance without a log Z: the draws of a prompt are compared with one another.

    Args:
        on_policy: draw from the policy in each step; else recall stored draws.

    Cost: a step as REINFORCE's or DPG's.

    Raises:
        ConfigError: fewer than one prompt or two draws of each.
    """

    least: ClassVar[int] = 2
    on_policy: bool = False

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.balance.log_variance."""
        return log_variance(scored)
