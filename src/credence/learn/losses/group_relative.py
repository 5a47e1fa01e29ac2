"""GRPO as it is published, in nats: advantages over the group's spread, a length weight, k3 in the loss."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.clipped import gains, surrogate
from credence.learn.losses.groups import row_weights, sizes, summary, sums
from credence.learn.losses.policy_gradient import refuse_impossible

LEAST = 1e-4
"""Added to a group's standard deviation, nats."""


def centred(values: Float[Tensor, " R"], scored: Scored) -> Float[Tensor, " R"]:
    """Each value minus the mean of its prompt's, its own included: (G − 1)/G of the leave-one-out difference."""
    return values - (sums(values, scored) / sizes(scored).clamp(min=1))[scored.prompt]


def spreads(values: Float[Tensor, " R"], scored: Scored) -> Float[Tensor, " R"]:
    """The standard deviation of each row's group, with G − 1 below."""
    square = sums(centred(values, scored).square(), scored) / (sizes(scored) - 1).clamp(min=1)
    return torch.sqrt(square)[scored.prompt]


def group_relative_gradient(
    scored: Scored, spread: float | None, length: bool, k3: bool, clip: float
) -> tuple[Float[Tensor, ""], Info]:
    """−mean w Σ_t (min(ρ_t A, clip(ρ_t) A) − k3_t), with w = 1/|x| under `length`, else 1.

        A = spread · (y − mean y)/(sd y + 1e-4)     k3_t = ρ0 − 1 − log ρ0,  ρ0 = π0/π of the token, differentiated

    y is log_lik under `k3`, else the return D = log_lik − log q/π0; without a spread A = y − mean y. Without spread and
    length, and with the KL in the return, it is (G − 1)/G times leave-one-out REINFORCE at π = q; every other form has
    another fixed point. Tested by enumeration in tests/oracle/test_group_relative.py, the fixed points too.

    Info, beside `summary`: advantage_sd, nats; clip_share; group_sd, mean standard deviation of y in a group, nats:
    the β that the division makes of β is β·group_sd/spread.

    Args:
        scored: the rows.
        spread: nats that every group's evidence is rescaled to; None: not rescaled. TRL's β is 1/spread.
        length: each reply's tokens share one weight.
        k3: the KL stands in the loss as k3 of each token; else in the return.
        clip: of the token's ratio.

    Raises:
        ContractError: a draw is impossible under the evidence.

    Source: Shao et al. 2024 (2402.03300) for GRPO; Liu et al. 2025 (2503.20783) for what its divisions do.
    """
    refuse_impossible(scored)
    y = scored.log_lik if k3 else gains(scored).sum(-1)
    sd, advantage = spreads(y, scored), centred(y, scored)
    if spread is not None:
        advantage = spread * advantage / (sd + LEAST)
    terms, cut = surrogate(scored, torch.where(scored.mask, advantage[:, None], 0.0), clip)
    if k3:
        log_ratio = torch.where(scored.mask, scored.log_prior - scored.log_pi, 0.0)
        terms = terms - (torch.exp(log_ratio) - 1 - log_ratio)
    each = terms.sum(-1) / (scored.mask.sum(-1) if length else 1)
    loss = -(row_weights(scored) * each).sum()
    return loss, {
        **summary(scored),
        "advantage_sd": float(advantage.std()),
        "clip_share": float(cut[scored.mask].double().mean()),
        "group_sd": float((row_weights(scored) * sd).sum()),
    }
