"""The reverse-KL gradient from samples: the KL stands inside the baselined return."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import leave_one_out, row_weights, summary


def refuse_impossible(scored: Scored) -> None:
    """Reverse KL is infinite for every policy once a draw it can make is impossible.

    Raises:
        ContractError: with the remedies.
    """
    lost = int(torch.isneginf(scored.log_lik).sum())
    if lost:
        raise ContractError(
            f"leave-one-out REINFORCE met {lost} of {len(scored.log_lik)} draws that are impossible under the evidence "
            "(log_lik = -inf): KL(π‖p*) is infinite and has no gradient. Remedies: a finite penalty (Ended(cut=-3.0), "
            "Constraint(..., otherwise=-8.0)), a forward-KL learner (DPG), or an engine that draws (rejection, SMC)."
        )


def returns(scored: Scored) -> Float[Tensor, " R"]:
    """D = log_lik − log π/π0 in nats, detached: at π = p* it equals log Z for every draw."""
    return scored.log_lik - (scored.log_pi.detach() - scored.log_prior).sum(-1)


def leave_one_out_gradient(scored: Scored) -> tuple[Float[Tensor, ""], Info]:
    """−Σ A log π with A = D minus the mean D of the prompt's other draws.

    E[∇loss] = −∇J/β = ∇KL(π‖p*) on draws from π. The whole log-ratio stays in every token's return: the part before
    the token is the policy's own estimate of how much better its prefix is than the prior's, a baseline that makes
    the variance exactly zero at π = p*. Tested by enumeration in tests/oracle/test_gradients.py.

    Info, beside `summary`: advantage_sd, the standard deviation of A in nats, which is 0 at π = p*.

    Raises:
        ContractError: a draw is impossible under the evidence.
        ShapeError: a prompt has a single draw.

    Source: Kool et al. 2019; Ahmadian et al. 2024 (2402.14740), with the KL in the return.
    """
    refuse_impossible(scored)
    advantage = leave_one_out(returns(scored), scored)
    terms = advantage * torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    loss = -(row_weights(scored) * terms).sum()
    return loss, {**summary(scored), "advantage_sd": float(advantage.std())}
