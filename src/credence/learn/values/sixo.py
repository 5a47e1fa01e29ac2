"""SIXO: the twist as a density ratio, learnt by telling the posterior's prefixes from the prior's.

    loss = −Σ_t {E_p*[log σ(u_t − c)] + E_π0[log σ(c − u_t)]}      minimiser  e^(u_t − c) = p*(s_t)/π0(s_t) = ψ*(s_t)/Z

With c = log Z of the same draws, a posterior draw being a prior draw that counts e^(log_lik − c), u_t = log ψ*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, Shape, check_shape, learnt, log_mean_lik, prior_weights, told


@dataclass(frozen=True)
class SIXO(Recall):
    """Twists by logistic regression.

    Args:
        shape: "token" or "state" (values.rows.Shape).

    Target: the posterior: the odds of a prefix are ψ*/Z. c cancels, so its error moves no minimiser.

    Cost: no product with the vocabulary. Errors: the loss flattens where posterior and prior hardly meet. Impossible
    draws are legal: they count as the prior's only.

    Source: Lawson et al. 2022 (2206.05952), the density-ratio form, for one reply's prefixes; SCIENCE 5.2. Tested in
    tests/oracle/test_token_values.py.

    Raises:
        ConfigError: no such shape.
    """

    shape: Shape = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self.shape)

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """Mean over the prior's draws, summed over tokens."""
        c = log_mean_lik(valued)[valued.prompt]
        odds = learnt(valued, self.shape) - c[:, None]
        w = torch.exp(valued.log_lik - c)[:, None]
        softplus = torch.nn.functional.softplus
        terms = torch.where(valued.mask, w * softplus(-odds) + softplus(odds), 0.0)
        loss = (prior_weights(valued) * terms.sum(-1)).sum()
        return loss, told(loss, valued)
