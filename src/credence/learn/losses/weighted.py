"""Maximum likelihood on weighted rows: the policy comes to the law that the weights make of the draws."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.logspace import ess
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import row_weights, summary


def likelihood(scored: Scored, log_w: Float[Tensor, " R"]) -> tuple[Float[Tensor, ""], Info]:
    """−mean w log π, mean over a prompt's rows, then over prompts: for draws of q its optimum is q·w/E_q[w].

    Rows of weight 0 need no backward pass.

    Args:
        scored: rows.
        log_w: (R,) nats; -inf weighs nothing.

    Info, beside `summary`: ess_share, effective draws over draws, of all weights together.
    """
    log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    loss = -(row_weights(scored) * torch.exp(log_w) * log_pi).sum()
    return loss, {**summary(scored), "ess_share": float(ess(log_w) / len(log_w))}
