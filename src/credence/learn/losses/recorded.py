"""Losses of single recorded replies: maximum likelihood, and labels without a partner."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import row_weights
from credence.learn.losses.preference import BETA, column, log_ratio

LIKED = "liked"
"""Reading of a labelled reply: 1 liked, −1 disliked, 0 a reply to another prompt that only measures the drift."""


def maximum_likelihood(scored: Scored) -> tuple[Float[Tensor, ""], Info]:
    """−log π of the recorded replies: mean over the replies of each prompt, then over prompts; sums over tokens.

    The fixed point is the law of the data, KL(data‖π) = 0. Prompts are no part of the loss: rows hold replies alone.

    Info: nll, the loss in nats a reply; nll_token, the same a token; h_mean, mean log π/π0 of the replies.
    """
    log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    weight = row_weights(scored)
    loss = -(weight * log_pi).sum()
    nats, tokens = float(loss.detach()), float((weight * scored.mask.sum(-1)).sum())
    drift = float((weight * (log_pi.detach() - scored.log_prior.sum(-1))).sum())
    return loss, {"nll": nats, "nll_token": nats / max(tokens, 1e-12), "h_mean": drift}


def prospect(scored: Scored, liked_weight: float = 1.0, disliked_weight: float = 1.0) -> tuple[Float[Tensor, ""], Info]:
    """KTO: λ_y (1 − σ(±β(h − z0))), z0 = max(0, mean h of replies to other prompts) without gradient.

    Raises:
        ShapeError: rows without labels; no labelled row, or none to measure the drift by.
        ContractError: as log_ratio.

    Info: preference_loss, the loss; agreed, share of labels on whose side h − z0 is; h_liked and h_disliked, mean h,
    0 where the step has none; h_drift, z0.

    Source: Ethayarajh et al. 2024 (2402.01306), from the formulas.
    """
    h, label, beta = log_ratio(scored), column(scored, LIKED), column(scored, BETA)
    own = label != 0
    if not bool(own.any()) or bool(own.all()):
        raise ShapeError(
            "KTO needs labelled replies, and beside them replies to other prompts (label 0) that measure the drift: "
            "build the rows with stored_labels."
        )
    z0 = h[~own].detach().mean().clamp(min=0)
    sign, weight = label[own], torch.where(label[own] > 0, liked_weight, disliked_weight)
    side = sign * (h[own] - z0)
    loss = (weight * torch.sigmoid(-beta[own] * side)).mean()

    def mean(rows: Tensor) -> float:
        return float(h[rows].detach().mean()) if bool(rows.any()) else 0.0

    return loss, {
        "preference_loss": float(loss.detach()),
        "agreed": float((side.detach() > 0).double().mean()),
        "h_liked": mean(label > 0),
        "h_disliked": mean(label < 0),
        "h_drift": float(z0),
    }
