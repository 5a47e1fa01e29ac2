"""Soft Q-learning of replies: each token's value is what the best policy makes of the text after it.

    loss = ½ (Q(s_t, x_t) − y_t)²      y_t = V̄(s_t x_t), log_lik at the last token      V̄(s) = log Σ_v π0(v|s) e^Q̄(s,v)

with Q̄ the target network, γ = 1, and the whole vocabulary in the sum: nothing of V is sampled. Transitions are
deterministic, so the mean of SCIENCE 4.4 over the world's answers is one term, and Q* = log ψ* is the posterior's.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, following, prior_weights, refuse_impossible, root, told


@dataclass(frozen=True)
class TokenSoftQ(Recall):
    """Soft Q-learning on stored draws, off policy, with a target network (`follow` of the guide).

    Target: the posterior, for any draws that try every token: π0 e^(Q−V) = p*, V(root) = log Z.

    Cost: two sums over the vocabulary a token. Errors: a value travels one token a pass of the target network, so
    rewards at the end need many steps to reach the beginning.

    Source: SCIENCE 4.1, 4.2; Haarnoja et al. 2017. Tested to 1e-10 against the exact gradient and to V(root) = log Z in
    tests/oracle/test_token_values.py, mutants in tests/mutants/test_value_mutants.py.
    """

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """Half the squared Bellman residual, summed over tokens.

        Raises:
            ContractError: an impossible draw.
        """
        return bellman(valued)


def bellman(valued: Valued) -> tuple[Float[Tensor, ""], Info]:
    """See TokenSoftQ. Info: value_loss, nats²; root, the target network's V(root), nats."""
    refuse_impossible(valued, "soft Q-learning")
    soft = valued.ahead()
    residual = torch.where(valued.mask, valued.chosen() - following(soft, valued), 0.0)
    loss = (prior_weights(valued) * 0.5 * (residual**2).sum(-1)).sum()
    return loss, {**told(loss, valued), "root": root(soft, valued)}
