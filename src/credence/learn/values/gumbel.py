"""Gumbel regression of the log-likelihood: a convex loss whose minimiser is a log-mean-exp.

    loss = e^(r − u) − (r − u) − 1,   r = log_lik of the draw, u the value of its prefix
    E_π0[∇loss | s] = 0   ⇔   u(s) = log E_π0[e^r | s] = log ψ*(s)

It weighs surprises upwards exponentially and downwards linearly: that is why its minimiser is no mean.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, Shape, check_shape, learnt, prior_weights, told


@dataclass(frozen=True)
class Gumbel(Recall):
    """Soft values as extreme-value regression, without a clip.

    Args:
        shape: "token" or "state" (values.rows.Shape).

    Target: the posterior: each prefix's minimiser is its soft value, on draws of the prior (or weighted to it).

    Cost: no product with the vocabulary. Errors: the weight e^(r − u) of a surprise is its likelihood ratio, so the
    gradient's tail is that of importance weights: a clip would make it lighter and the target another one. An
    impossible draw (r = -inf) is legal.

    Source: SCIENCE 4.3; Garg et al. 2023 (2301.02328). Tested in tests/oracle/test_token_values.py.

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
        """Mean over the prior's draws of e^(r − u) + u, summed over tokens: the same loss less what no value moves."""
        u = learnt(valued, self.shape)
        terms = torch.where(valued.mask, torch.exp(valued.log_lik[:, None] - u) + u, 0.0)
        loss = (prior_weights(valued) * terms.sum(-1)).sum()
        return loss, told(loss, valued)
