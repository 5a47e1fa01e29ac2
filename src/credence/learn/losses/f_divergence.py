"""The gradient of any f-divergence to the posterior, from draws of any proposal.

    D_f(π‖p*) = E_p*[f(t)],  t = π/p*      ∇D_f = E_π[f'(t) ∇log π] = E_q[(π/q) f'(t) ∇log π]

−f'(t) is a reward that no reward function could give, since it asks what the policy and its target say of the draw.
"""

from enum import Enum
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.logspace import ess
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.forward_kl import log_posterior_weights
from credence.learn.losses.groups import refuse_beyond_prior, row_weights, summary


class Divergence(Enum):
    """How far π is from p*; each is 0 only at π = p*."""

    FORWARD_KL = "forward_kl"
    """KL(p*‖π): f(t) = −log t."""
    REVERSE_KL = "reverse_kl"
    """KL(π‖p*): f(t) = t log t."""
    TOTAL_VARIATION = "total_variation"
    """½ Σ|π − p*|: f(t) = ½|t − 1|."""
    JENSEN_SHANNON = "jensen_shannon"
    """KL(π‖m) + KL(p*‖m), m = (π + p*)/2: f(t) = t log(2t/(1+t)) + log(2/(1+t)); twice the even mixture's."""
    CHI_SQUARED = "chi_squared"
    """χ²(π‖p*) = Σ (π − p*)²/p*: f(t) = (t − 1)²."""
    CHI_SQUARED_FORWARD = "chi_squared_forward"
    """χ²(p*‖π) = Σ (π − p*)²/π: f(t) = 1/t − 1. Draws of π weighted to p* have n/(1 + χ²) effective ones."""


def pull(which: Divergence, log_p: Float[Tensor, " R"], log_pi: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """π (f'(1) − f'(t)), t = π/p: the coefficient of ∇log π, 0 where π and p agree.

    f'(1) is the baseline. With log p/q and log π/q in place of the logs it is that of a draw of q. Tested against each
    divergence's own derivative in tests/oracle/test_f_divergence.py.

    Args:
        which: f.
        log_p: log p, nats up to the constant that log_pi has too.
        log_pi: log π likewise.
    """
    gap, pi = log_p - log_pi, torch.exp(log_pi)  # gap = −log t
    match which:
        case Divergence.FORWARD_KL:
            return torch.exp(log_p) - pi
        case Divergence.REVERSE_KL:
            return pi * gap
        case Divergence.TOTAL_VARIATION:
            return 0.5 * pi * torch.sign(gap)
        case Divergence.JENSEN_SHANNON:
            return pi * (torch.nn.functional.softplus(gap) - torch.log(gap.new_tensor(2.0)))
        case Divergence.CHI_SQUARED:
            return -2 * pi * torch.expm1(-gap)
        case Divergence.CHI_SQUARED_FORWARD:
            return torch.exp(2 * log_p - log_pi) - pi
        case _:
            assert_never(which)


def at_one(which: Divergence) -> float:
    """−f'(1), times π what `pull` leaves out: without a baseline it is added again."""
    match which:
        case Divergence.FORWARD_KL | Divergence.CHI_SQUARED_FORWARD:
            return 1.0
        case Divergence.REVERSE_KL:
            return -1.0
        case Divergence.TOTAL_VARIATION | Divergence.JENSEN_SHANNON | Divergence.CHI_SQUARED:
            return 0.0
        case _:
            assert_never(which)


def size(which: Divergence, log_p: Float[Tensor, " R"], log_pi: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """The term of each outcome in D_f(π‖p), nats for the KLs: its sum over outcomes is the divergence.

    With log p/q and log π/q in place of the logs it is what the mean over draws of q must be taken of.
    """
    p, pi = torch.exp(log_p), torch.exp(log_pi)
    match which:
        case Divergence.FORWARD_KL:
            return _part(p, log_p - log_pi)
        case Divergence.REVERSE_KL:
            return _part(pi, log_pi - log_p)
        case Divergence.TOTAL_VARIATION:
            return 0.5 * (pi - p).abs()
        case Divergence.JENSEN_SHANNON:
            middle = torch.logaddexp(log_p, log_pi) - torch.log(p.new_tensor(2.0))
            return _part(p, log_p - middle) + _part(pi, log_pi - middle)
        case Divergence.CHI_SQUARED:
            return pi * torch.exp(log_pi - log_p) - 2 * pi + p
        case Divergence.CHI_SQUARED_FORWARD:
            return p * torch.exp(log_p - log_pi) - 2 * p + pi
        case _:
            assert_never(which)


def _part(mass: Tensor, nats: Tensor) -> Tensor:
    return torch.where(mass > 0, mass * nats, 0.0)  # 0 · inf = 0: no mass, no term


def f_gradient(scored: Scored, which: Divergence, baseline: bool = True) -> tuple[Float[Tensor, ""], Info]:
    """−mean (π/q)(f'(1) − f'(t)) log π: E_q[∇loss] = ∇D_f(π‖p*), whatever the proposal q.

    p* needs Z: the prompt's own, as given, or self-normalised over its rows (consistent, biased by O(1/n); for reverse
    KL with a baseline an error of Z only shifts a baseline). f'(1) has mean gradient zero on and off policy, and at
    π = p* it makes every coefficient zero. Tested by enumeration in tests/oracle/test_f_divergence.py.

    Info, beside `summary`: divergence, D_f(π‖p*) of these rows; ess_share, effective draws over draws of w/Z;
    ratio_max, the largest π/q.

    Raises:
        ContractError: an impossible draw, where D_f would be infinite (REVERSE_KL, CHI_SQUARED).
        ShapeError: no log Z is given and a prompt has a single draw.

    Source: Go et al. 2023 (2302.08215), from the formulas of SCIENCE 3.4.
    """
    _refuse_impossible(scored, which)
    log_w = log_posterior_weights(scored)  # log p*/q
    log_ratio = (scored.log_pi.detach() - scored.log_q).sum(-1)
    worth = pull(which, log_w, log_ratio) + (0.0 if baseline else at_one(which) * torch.exp(log_ratio))
    weight = row_weights(scored)
    loss = -(weight * worth * torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)).sum()
    return loss, {
        **summary(scored),
        "divergence": float((weight * size(which, log_w, log_ratio)).sum()),
        "ess_share": float(ess(log_w) / len(log_w)),
        "ratio_max": float(torch.exp(log_ratio.max())),
    }


def _refuse_impossible(scored: Scored, which: Divergence) -> None:
    lost = int(torch.isneginf(scored.log_lik).sum())
    if lost and which in (Divergence.REVERSE_KL, Divergence.CHI_SQUARED):
        raise ContractError(
            f"{lost} of {len(scored.log_lik)} draws are impossible (log_lik = -inf), so {which.value} is infinite "
            "for every policy that can make them. Remedies: a finite penalty (Ended(cut=-3.0), "
            "Constraint(..., otherwise=-8.0)), or forward_kl, total_variation, jensen_shannon, chi_squared_forward."
        )
    if which in (Divergence.REVERSE_KL, Divergence.CHI_SQUARED):
        refuse_beyond_prior(scored)
