"""Sub-trajectory balance: every piece of every reply must balance, long pieces counting for less.

    m_t = V(s_t) − Σ_{u<t} log π/π0(x_u|s_u),  V(s_L) = log_lik      loss = ½ Σ_{i<j≤L} λ^(j−i) (m_i − m_j)² / Σ λ^(j−i)

The residual of a piece is V(s_i) + Σ_{i≤u<j} log π/π0 − V(s_j): path consistency at every length at once. λ → 0 leaves
single tokens, λ → ∞ whole replies, which is trajectory balance with log Z = V(root). V is the value with its own
parameters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored, Valued
from credence.core.types import Info
from credence.learn.losses.groups import row_weights, summary
from credence.learn.values.rows import Recall, refuse_impossible, root, told


@dataclass(frozen=True)
class SubTB(Recall):
    """Sub-trajectory balance on stored draws, whoever drew them.

    Args:
        decay: λ, the weight of a piece over that of a piece one token shorter, above 0.

    Target: the posterior, for draws whose support is whole. V(root) = log Z.

    Cost: as path consistency, and (T + 1)² numbers a row.

    Source: Madan et al. 2023, from SCIENCE 3.5. The form that takes F(s) = R(s⊤)/π(⊤|s) for V is left out: it holds
    only where every prefix may stop, which a horizon forbids. Tested in tests/oracle/test_balance.py.

    Raises:
        ConfigError: fewer than one prompt or draw, or a decay that is not above 0.
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.decay < float("inf"):
            raise ConfigError(f"decay={self.decay}: above 0 and finite, the weight of one more token.")

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """Mean over rows of the weighted squares of all their pieces, nats².

        Info: as losses.groups.summary; value_loss; root.

        Raises:
            ContractError: an impossible draw.
        """
        refuse_impossible(valued, "sub-trajectory balance")
        v, mask = valued.state(), valued.mask
        spent = torch.where(mask, valued.chosen() - valued.soft(), 0.0).cumsum(-1)
        zero = spent.new_zeros(len(spent), 1)
        before = torch.cat([zero, spent], 1)
        length = mask.sum(-1, keepdim=True)
        place = torch.arange(before.shape[1], device=v.device)
        level = torch.where(place == length, valued.log_lik[:, None], torch.cat([v, zero], 1)) - before
        inside = place[None, :] <= length
        ahead = place[None, :] - place[:, None]
        pieces = inside[:, :, None] & inside[:, None, :] & (ahead > 0)
        weight = torch.where(pieces, self.decay ** ahead.clamp(min=0).to(v), 0.0)
        square = torch.where(pieces, level[:, :, None] - level[:, None, :], 0.0) ** 2
        rows = (weight * square).sum((1, 2)) / weight.sum((1, 2))
        loss = (row_weights(valued) * 0.5 * rows).sum()
        said = summary(_scored(valued, spent))
        return loss, {**said, **told(loss, valued), "root": root(v, valued)}


def _scored(valued: Valued, spent: Float[Tensor, "R T"]) -> Scored:
    """The rows under the law of the values, π = π0 e^(Q−V), `spent` being the running sum of log π/π0."""
    ratio = torch.diff(spent.detach(), dim=-1, prepend=spent.new_zeros(len(spent), 1))
    return Scored(
        valued.log_prior + ratio, valued.log_prior, valued.log_q, valued.log_lik, valued.mask, valued.prompt,
        valued.prompts, readings=valued.readings,
    )  # fmt: skip
