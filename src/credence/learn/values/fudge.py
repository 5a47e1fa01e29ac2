"""FUDGE: regress the likelihood on its prefixes, by the Bregman divergence that a Poisson count has.

    loss = e^(u − c) − e^(r − c) u,   r = log_lik of the draw, u the value of its prefix, c = log Z of the prompt
    E_π0[∇loss | s] = e^−c (e^u(s) − E_π0[e^r | s]) = 0   ⇔   u = log ψ*

The classifier of the paper is the case e^r ∈ {0, 1}; this form needs no upper bound of the likelihood.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, Shape, check_shape, learnt, log_mean_lik, prior_weights, told


@dataclass(frozen=True)
class Fudge(Recall):
    """Future discriminators for generation, for any likelihood.

    Args:
        shape: "token" or "state" (values.rows.Shape).

    Target: the posterior: e^u regresses on e^log_lik, whose mean given the prefix is ψ*.

    Cost: no product with the vocabulary. Errors: weights e^r spread over orders of magnitude leave few draws that
    count. An impossible draw is a likelihood of 0. c only scales: an error of it moves no minimiser.

    Source: SCIENCE 5.4; Yang & Klein 2021 (2104.05218), whose log-loss has the same minimiser on events. Tested in
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
        u, c = learnt(valued, self.shape), log_mean_lik(valued)[valued.prompt]
        w = torch.exp(valued.log_lik - c)[:, None]
        terms = torch.where(valued.mask, torch.exp(u - c[:, None]) - w * u, 0.0)
        loss = (prior_weights(valued) * terms.sum(-1)).sum()
        return loss, told(loss, valued)
