"""Maximum a posteriori policy optimisation (MPO, REPS): as much evidence as a KL of ε allows, and a trust region.

Target: not p* at the β given. With d the law of the draws, the E-step tilts it until it is ε nats away,

    q ∝ d e^(log_lik/η)      η = argmin ηε + η mean_prompts log E_d e^(log_lik/η),   so that KL(q‖d) = ε

and the M-step fits q with a penalty α KL(d‖π): its optimum is (q + α d)/(1 + α), prompt by prompt.

    loss = −mean_i (n q_i + α) log π(x_i)

Rounds that draw from the policy tilt again and again: they end at the best reply. Draws of the prior and η = 1 give p*
(RewardWeighted). Held by tests/oracle/test_weighted_fits.py.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import log_sums, sizes, sums
from credence.learn.losses.weighted import likelihood
from credence.learn.settings import Stored


@dataclass(frozen=True)
class MPO(Stored):
    """One E-step and M-step on stored draws, η solved over all rows of the step.

    Args:
        epsilon: nats that q may be from the draws' law, mean over prompts. What n draws cannot reach (log n is the
            most) is replaced by what they can.
        trust: α, of the penalty that holds the policy to the draws' law.

    Cost: a step as DPG's without its baseline, and sixty sums over rows.

    Source: SCIENCE 3.8; Abdolmaleki et al. 2018; Peters et al. 2010.

    Raises:
        ConfigError: an epsilon that is not above 0, a trust below 0, fewer than one prompt or draw.
    """

    epsilon: float = 0.5
    trust: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epsilon < math.inf or not 0 <= self.trust < math.inf:
            raise ConfigError(f"epsilon={self.epsilon}, trust={self.trust}: nats above 0, and a weight of at least 0.")

    @property
    def target(self) -> str:
        """The law by name."""
        held = f", mixed {self.trust:g} to 1 with it" if self.trust else ""
        return f"the draws' law tilted by {self.epsilon:g} nats{held}: not p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.weighted.likelihood. Info: also eta, η; tilt, KL(q‖draws) in nats."""
        lam = self._solve(scored)
        log_q = tilted(scored, lam)
        loss, info = likelihood(scored, torch.log(torch.exp(log_q) + self.trust))
        return loss, {**info, "eta": 1 / lam if lam else math.inf, "tilt": distance(scored, log_q)}

    def _solve(self, scored: Scored) -> float:
        """1/η by bisection in its logarithm: the KL rises with it."""
        low, high = -20.0, 20.0
        for _ in range(60):
            middle = (low + high) / 2
            below = distance(scored, tilted(scored, math.exp(middle))) < self.epsilon
            low, high = (middle, high) if below else (low, middle)
        return math.exp((low + high) / 2)


def tilted(scored: Scored, lam: float) -> Float[Tensor, " R"]:
    """log of e^(λ log_lik) over its mean among the prompt's rows: n times the weight that each row has."""
    nats = lam * scored.log_lik
    level = log_sums(nats, scored) - torch.log(sizes(scored))
    return torch.where(torch.isneginf(nats), nats, nats - level[scored.prompt])


def distance(scored: Scored, log_w: Float[Tensor, " R"]) -> float:
    """KL of rows weighted by w (mean 1) from rows that weigh the same, nats, mean over prompts."""
    terms = torch.where(torch.isneginf(log_w), 0.0, torch.exp(log_w) * log_w)
    return float((sums(terms, scored) / sizes(scored).clamp(min=1)).mean())
