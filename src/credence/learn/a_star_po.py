"""A*-PO: the optimal value from draws of the prior first, then a regression on the policy's own draws.

Target: the posterior. V̂ = log mean e^log_lik over draws of the prior, once, and then on policy

    loss = ½ mean (log π/π0 − (log_lik − V̂))²

which is trajectory balance with that log Z. On the policy's own draws V̂ is only a baseline: E[∇loss] = ∇KL(π‖p*)
whatever its error (it is low by χ²/2n). One draw a prompt and step is enough, where leave-one-out needs two.

Held by tests/oracle/test_balance.py.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Batch, Scored
from credence.core.types import Info
from credence.learn.losses.balance import balance
from credence.learn.losses.groups import log_sums, sizes
from credence.learn.settings import Common


@dataclass(frozen=True)
class AStarPO(Common):
    """Trajectory balance on policy with a plug-in log Z: train known_log_z(policy, prompts, soft_value(draws)).

    Args:
        prompts: a step.
        group: draws a prompt; one will do.

    Cost: the prior's draws once, then a step as REINFORCE's.

    Source: Brantley et al. 2025 (2505.20686), from the formulas of SCIENCE 3.6.

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    group: int = 1

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    @property
    def on_policy(self) -> bool:
        """Each step draws from the policy."""
        return True

    @property
    def needs(self) -> frozenset[str]:
        """log Z of each prompt."""
        return frozenset({"log_z"})

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.balance.balance."""
        return balance(scored)


def soft_value(draws: Batch) -> Float[Tensor, " B"]:
    """V̂ of each prompt in nats: log mean of π0 e^log_lik/q over its stored draws, a lower bound of log Z on average."""
    rows = Scored(
        draws.log_prior, draws.log_prior, draws.log_q, draws.log_lik, draws.completions.mask, draws.completions.prompt,
        len(draws.prompts),
    )  # fmt: skip
    return log_sums(draws.log_lik + (draws.log_prior - draws.log_q).sum(-1), rows) - torch.log(sizes(rows))
