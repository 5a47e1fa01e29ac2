"""Implicit language Q-learning: an expectile where the log-mean-exp should stand.

    Q: ½ (Q(s_t, x_t) − v(s_t+1))², log_lik at the last token      v: |τ − 1[u < 0]| u², u = Q(s_t, x_t) − v(s_t)
    + cql · −log π(x_t|s_t), π ∝ π0 e^Q, which keeps values low that the draws do not know

v is the τ-expectile of Q over the prior's tokens: between their mean (τ = ½) and their maximum (τ → 1). No τ makes it
log E e^Q, and the law π0 e^(Q − V) is **not** p*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, following, prior_weights, refuse_impossible, root, told


@dataclass(frozen=True)
class ILQL(Recall):
    """Implicit Q-learning of replies, for comparison.

    Args:
        expectile: τ in [0.5, 1).
        cql: weight of the conservative term.

    Target: its own law. Cost: one sum over the vocabulary a token where cql > 0. Left out: the second Q that the
    paper takes the smaller of, and decoding at another β than 1 (temper the evidence).

    Source: SCIENCE 4.3; Snell et al. 2023 (2206.11871). Tested to be what it says, and to be away from p*, in
    tests/oracle/test_token_values.py.

    Raises:
        ConfigError: an expectile or weight out of range.
    """

    expectile: float = 0.7
    cql: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.expectile < 1 or not 0 <= self.cql < float("inf"):
            raise ConfigError(
                f"ILQL(expectile={self.expectile}, cql={self.cql}): an expectile in [0.5, 1), where 0.5 is the mean, "
                "and a finite weight of at least 0 are needed."
            )

    @property
    def target(self) -> str:
        """Not the posterior."""
        return "expectile values: not p*"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """The two losses together, each with the other's value detached.

        Raises:
            ContractError: an impossible draw.
        """
        refuse_impossible(valued, "ILQL")
        chosen, state = valued.chosen(), valued.state()
        residual = torch.where(valued.mask, chosen - following(state.detach(), valued), 0.0)
        above = torch.where(valued.mask, chosen.detach() - state, 0.0)
        slope = torch.where(above < 0, 1 - self.expectile, self.expectile)
        terms = 0.5 * residual**2 + slope * above**2
        if self.cql:
            log_pi = chosen - valued.soft() + valued.log_prior
            terms = terms - self.cql * torch.where(valued.mask, log_pi, 0.0)
        loss = (prior_weights(valued) * terms.sum(-1)).sum()
        return loss, {**told(loss, valued), "root": root(state, valued)}
