"""Reward- and advantage-weighted regression: maximum likelihood on draws weighted by what the evidence says of them.

Target: the posterior whose prior is the law of the draws, d e^log_lik/Z_d: p* where they are draws of π0, and only
there. Rounds that draw from the policy count the same evidence again in each: p* at β/k after k of them.

    loss = −mean_i w_i log π(x_i)      w = min(e^(log_lik − V), clip)

V = log mean e^log_lik (RWR: weights of mean one) or mean log_lik (AWR); both leave a prompt's law the same, so long as
nothing is clipped. log_q is not looked at: draws of another proposal are taken as the prior they are not.

Held by tests/oracle/test_weighted_fits.py.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import log_sums, sizes, sums
from credence.learn.losses.weighted import likelihood
from credence.learn.settings import Stored


class Centre(Enum):
    """V, what a draw's log_lik is compared with."""

    SOFT = "soft"
    """log mean e^log_lik: reward-weighted regression."""
    MEAN = "mean"
    """Mean log_lik: advantage-weighted regression."""


@dataclass(frozen=True)
class RewardWeighted(Stored):
    """RWR and AWR on stored draws.

    Args:
        centre: SOFT (RWR) or MEAN (AWR).
        clip: largest weight; inf: none, which is what the posterior asks for.

    Cost: a step as DPG's without its baseline.

    Source: SCIENCE 3.8 and 7; Peters & Schaal 2007; Peng et al. 2019.

    Raises:
        ConfigError: a clip that is not above 0, fewer than one prompt or draw.
    """

    centre: Centre = Centre.SOFT
    clip: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip > 0:
            raise ConfigError(f"clip={self.clip}: the largest weight, above 0; inf for none.")

    @property
    def target(self) -> str:
        """The posterior whose prior the draws follow, or its clipped likeness."""
        if self.clip == math.inf:
            return "the draws' law times the likelihood: p* if they are the prior's, else not"
        return f"the draws' law times the likelihood cut at weight {self.clip:g}: not p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.weighted.likelihood. Info: also clipped, the share of rows at the clip."""
        log_w = scored.log_lik - self._level(scored)[scored.prompt]
        log_w = torch.where(torch.isneginf(scored.log_lik), scored.log_lik, log_w)
        cap = math.log(self.clip)
        loss, info = likelihood(scored, log_w.clamp(max=cap))
        return loss, {**info, "clipped": float((log_w > cap).double().mean())}

    def _level(self, scored: Scored) -> Tensor:
        match self.centre:
            case Centre.SOFT:
                return log_sums(scored.log_lik, scored) - torch.log(sizes(scored))
            case Centre.MEAN:
                possible = ~torch.isneginf(scored.log_lik)
                total = sums(torch.where(possible, scored.log_lik, 0.0), scored)
                return total / sums(possible.double(), scored).clamp(min=1)
            case _:
                assert_never(self.centre)
