"""BOND: a policy that says at once what best-of-n says, by a mixture of both KLs to its law.

Target: best-of-n of the prior, not p*. Best-of-n is the posterior of other evidence, log (F^n − F⁻^n)/(F − F⁻), which
where nothing ties is about (n − 1) log F: F is the prior's distribution function of log_lik, read off the stored draws.

    loss of (1 − γ) KL(π‖best-of-n) + γ KL(best-of-n‖π)      by losses.f_divergence, off policy

Held by tests/oracle/test_weighted_fits.py. Left out: the paper's moving anchor, which iterates best-of-n and has no
end but the best reply (expert_iteration has it).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.f_divergence import Divergence, f_gradient
from credence.learn.losses.groups import summary
from credence.learn.losses.ranks import log_best_of
from credence.learn.settings import Stored


@dataclass(frozen=True)
class BOND(Stored):
    """Jeffreys' divergence to best-of-n, on stored draws.

    Args:
        of: n of best-of-n.
        forward: γ, the share of the forward KL.

    Cost: a step as DPG's, and n² comparisons of a prompt's rows. Errors: ranks among m rows know quantiles to 1/m, so a
    group of several times `of` is needed.

    Source: SCIENCE 3.8; Sessa et al. 2024 (2407.14622).

    Raises:
        ConfigError: of below 1 or beyond the group, a share outside [0, 1].
    """

    of: int = 4
    forward: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.of <= self.group:
            raise ConfigError(
                f"of={self.of}, group={self.group}: ranks of {self.group} draws know the best of as many."
            )
        if not 0 <= self.forward <= 1:
            raise ConfigError(f"forward={self.forward}: the share of the forward KL, between 0 and 1.")

    @property
    def target(self) -> str:
        """Best-of-n by name."""
        return f"best-of-{self.of} of the prior: not p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """The mixture, log Z = 0 by construction. Info: as f_gradient, but divergence is the mixture's, in nats."""
        known = torch.zeros(scored.prompts, dtype=torch.float64, device=scored.log_lik.device)
        told = replace(scored, log_lik=log_best_of(scored, self.of), log_z=known)
        ahead, info = f_gradient(told, Divergence.FORWARD_KL)
        back, more = f_gradient(told, Divergence.REVERSE_KL)
        gamma = self.forward
        mixed = gamma * info["divergence"] + (1 - gamma) * more["divergence"]
        return gamma * ahead + (1 - gamma) * back, {**info, **summary(scored), "divergence": mixed}
