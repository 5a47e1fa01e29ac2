"""The reverse-KL gradient from samples: the KL stands inside the baselined return."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import leave_one_out, off_policy, refuse_beyond_prior, row_weights, summary

Advantage = Callable[[Scored], Tensor]
"""How much better than expected each row (R,), or each token (R, T), is in nats; it may not carry a gradient."""


def refuse_impossible(scored: Scored) -> None:
    """Reverse KL is infinite for every policy once a draw it can make is impossible, by evidence or by the prior.

    Raises:
        ContractError: with the remedies.
    """
    lost = int(torch.isneginf(scored.log_lik).sum())
    if lost:
        raise ContractError(
            f"a learner of the reverse KL met {lost} of {len(scored.log_lik)} draws that are impossible under the "
            "evidence (log_lik = -inf): KL(π‖p*) is infinite and has no gradient. Remedies: a finite penalty "
            "(Ended(cut=-3.0), Constraint(..., otherwise=-8.0)), a forward-KL learner (DPG), or an engine that draws "
            "(rejection, SMC)."
        )
    refuse_beyond_prior(scored)


def returns(scored: Scored) -> Float[Tensor, " R"]:
    """D = log_lik − log π/π0 in nats, detached: at π = p* it equals log Z for every draw."""
    return scored.log_lik - (scored.log_pi.detach() - scored.log_prior).sum(-1)


def leave_one_out_gradient(scored: Scored, own: Advantage | None = None) -> tuple[Float[Tensor, ""], Info]:
    """−Σ (π/q) A log π with A = D minus the mean D of the prompt's other draws.

    E[∇loss] = −∇J/β = ∇KL(π‖p*) on draws from any q; on draws from π the weight π/q is 1. The whole log-ratio stays in
    every token's return: the part before the token is the policy's own estimate of how much better its prefix is than
    the prior's, a baseline that makes the variance exactly zero at π = p*. Tested by enumeration in
    tests/oracle/test_gradients.py.

    Info, beside `summary`: advantage_sd, the standard deviation of A in nats, which is 0 at π = p*.

    Args:
        scored: the rows.
        own: another advantage than this A. What it converges to is then its author's affair.

    Raises:
        ContractError: a draw is impossible under the evidence.
        ShapeError: a prompt has a single draw, or `own` gives another shape.

    Source: Kool et al. 2019; Ahmadian et al. 2024 (2402.14740), with the KL in the return.
    """
    refuse_impossible(scored)
    advantage = leave_one_out(returns(scored), scored) if own is None else _given(own, scored)
    wide, told = (advantage[:, None], advantage) if advantage.dim() == 1 else (advantage, advantage[scored.mask])
    terms = (wide * torch.where(scored.mask, scored.log_pi, 0.0)).sum(-1)
    loss = -(row_weights(scored) * off_policy(scored) * terms).sum()
    return loss, {**summary(scored), "advantage_sd": float(told.std())}


def _given(own: Advantage, scored: Scored) -> Tensor:
    """An advantage of the user's own, without gradient.

    Raises:
        ShapeError: neither one number a row nor one a token.
    """
    found, shapes = own(scored), (tuple(scored.log_lik.shape), tuple(scored.mask.shape))
    if not isinstance(found, Tensor) or tuple(found.shape) not in shapes:  # pyright: ignore[reportUnnecessaryIsInstance] - a user's
        what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ShapeError(
            f"the advantage returned {what}: a tensor of shape {shapes[0]}, one a row, or {shapes[1]}, one a token, is "
            "needed."
        )
    return found.detach()


def token_kl(scored: Scored) -> Float[Tensor, "R T"]:
    """KL(π(·|s_t)‖π0(·|s_t)) of each token, with gradient.

    Raises:
        ContractError: the policy did not give it.
    """
    if scored.kl is None:
        raise ContractError(
            "this loss needs the KL of each token over the whole vocabulary and the policy gave none: its learner must "
            'name "kl" in `needs`, and its policy must be one that computes it (tabular_policy, lora_policy, '
            "full_policy, guided_policy)."
        )
    return scored.kl


def rao_blackwell_gradient(scored: Scored, share: float = 1.0) -> tuple[Float[Tensor, ""], Info]:
    """The reverse-KL gradient with each step's KL summed over the vocabulary, and return-to-go.

        a_t = log_lik − Σ_{u<t} ℓ_u − Σ_{u>t} KL_u − b      loss = −Σ_t (π/q) a_t log π_t + Σ_t (π/q) KL_t

    ℓ_u = log π/π0 of the token drawn, KL_u = KL(π(·|s_u)‖π0(·|s_u)); a_t is detached, Σ_t KL_t carries its gradient.
    b is the mean over the prompt's other draws of log_lik − Σ_u KL_u. E[∇loss] = ∇KL(π‖p*), since
    ∇KL(π‖π0) = E[Σ_t ∇KL_t + Σ_t ∇log π_t Σ_{u>t} KL_u] (SCIENCE 2.5); what precedes a token is a baseline. Tested by
    enumeration in tests/oracle/test_policy_gradients.py.

    With `share` c between 0 and 1, c KL_u + (1 − c) ℓ_u stands for KL_u, ℓ_t for the token's own: exact for each c, and
    at c = 0 it is leave_one_out_gradient. Less noise in the KL is not less noise in the sum: the sampled ℓ cancels the
    evidence's own noise near p*, which KL_u cannot (docs/engines/rao-blackwell.md has the figures).

    Info, beside `summary`: advantage_sd, over tokens; kl_token, E[Σ_t KL_t], an estimate of KL(π‖π0) that is never
    negative.

    Raises:
        ContractError: a draw is impossible under the evidence, or no KL was given.
        ShapeError: a prompt has a single draw.

    Source: Amini, Vieira & Cotterell 2025 (2504.10637) for the estimator; the return-to-go derived.
    """
    refuse_impossible(scored)
    exact, mask = token_kl(scored), scored.mask
    drawn = torch.where(mask, scored.log_pi.detach() - scored.log_prior, 0.0)
    fixed = exact.detach()
    paid = share * fixed + (1 - share) * drawn
    back = scored.log_lik - paid.sum(-1)
    base = back - leave_one_out(back, scored)
    before = drawn.cumsum(-1) - drawn
    after = paid.flip(-1).cumsum(-1).flip(-1) - share * fixed  # this token's own KL is differentiated instead
    advantage = torch.where(mask, (scored.log_lik - base)[:, None] - before - after, 0.0)
    terms = (advantage * torch.where(mask, scored.log_pi, 0.0)).sum(-1) - share * exact.sum(-1)
    ratio = off_policy(scored)
    loss = -(row_weights(scored) * ratio * terms).sum()
    return loss, {
        **summary(scored),
        "advantage_sd": float(advantage[mask].std()),
        "kl_token": float((row_weights(scored) * ratio * fixed.sum(-1)).sum()),
    }
