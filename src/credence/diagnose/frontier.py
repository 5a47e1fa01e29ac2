"""The reward–KL frontier from prior draws: the best reward that any law can have at each divergence from the prior."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError
from credence.core.logspace import normalise
from credence.diagnose.weights import pareto_k, pareto_threshold
from credence.posterior.path import solve_increasing

_ROOM = 2.0
"""n draws express a divergence of at most log n; this many nats below it they still do so well (SCIENCE 8)."""


class Optimum(NamedTuple):
    """The posterior at one β, averaged over prompts: KL(p*_β‖π0) in nats, E[r] in reward units."""

    beta: float
    kl: float
    reward: float
    trusted: bool


class _Prompt(NamedTuple):
    reward: Tensor
    other: Tensor
    measure: Tensor


def _prompts(
    rewards: Sequence[Tensor], other: Sequence[Tensor] | None, measure: Sequence[Tensor] | None
) -> list[_Prompt]:
    if not rewards or any(len(given) != len(rewards) for given in (other, measure) if given is not None):
        raise ShapeError("rewards, other and measure need one tensor a prompt, and at least one prompt.")
    out: list[_Prompt] = []
    for b, given in enumerate(rewards):
        r = given.detach().double().cpu()
        zero = torch.zeros_like(r)
        evidence = zero if other is None else other[b].detach().double().cpu()
        base = zero if measure is None else measure[b].detach().double().cpu()
        if r.ndim != 1 or r.numel() == 0 or evidence.shape != r.shape or base.shape != r.shape:
            raise ShapeError(f"prompt {b}: rewards, other and measure need one and the same axis of draws.")
        if bool(torch.isnan(r + evidence + base).any() | torch.isposinf(r).any()):
            raise ContractError(f"prompt {b}: NaN or +inf among rewards, other evidence or measure.")
        out.append(_Prompt(r, evidence, base))
    return out


def _at(prompt: _Prompt, lam: float) -> tuple[float, float, Tensor]:
    """KL(p_λ‖π0), E[r] and the log weights of one prompt at λ = 1/β."""
    never = torch.isneginf(prompt.reward) | torch.isneginf(prompt.other) | torch.isneginf(prompt.measure)
    nats = torch.where(never, -math.inf, prompt.other + lam * prompt.reward.masked_fill(never, 0.0))
    share = torch.exp(normalise(prompt.measure + nats))
    if float(share.sum()) == 0:
        raise DegeneracyError("every draw of a prompt is impossible under the evidence: it has no posterior to plot.")
    log_z = torch.logsumexp(prompt.measure + nats, 0) - torch.logsumexp(prompt.measure, 0)
    kept = share > 0
    kl = float((share[kept] * nats[kept]).sum() - log_z)
    return max(kl, 0.0), float((share[kept] * prompt.reward[kept]).sum()), prompt.measure + nats


def _trusted(kl: float, log_w: Tensor) -> bool:
    n = log_w.numel()
    return kl < math.log(n) - _ROOM and pareto_k(log_w) < pareto_threshold(n)


def frontier(
    rewards: Sequence[Tensor],
    betas: Sequence[float],
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
) -> list[Optimum]:
    """The posterior's reward and divergence at each β: w = exp(other + r/β), E = Σ w̄ r, KL = Σ w̄ log w − log mean w.

    No law lies above this curve, and its slope dE/dKL is β. A point is trusted only while KL < log n − 2 and
    k̂ < pareto_threshold(n) for *every* prompt, because the plotted mean is no better than its worst part.

    Args:
        rewards: r of prior draws, one tensor (n,) a prompt, n may differ; reward units; -inf forbids a draw.
        betas: reward units per nat, each above 0.
        other: nats of the other evidence of each draw, held fixed (such as Ended); none by default. With it the curve
            is the family π0·other·e^{r/β}, whose slope is β only where the other evidence is 0.
        measure: log weight of each draw as a draw from π0, where it came from elsewhere (`bounds.balance` with
            log π0 in the place of the joint), or log π0 for enumerated rows; equal by default.
        exact: the rows are the whole space and `measure` its prior, so every point is trusted.

    Raises:
        ConfigError: a β not finite and above 0. DegeneracyError: a prompt whose draws are all impossible.

    Source: SCIENCE 8. Test: the Gaussian square-root law, the slope and TOY-A's β in tests/unit/test_frontier.py.
    """
    if any(not (beta > 0 and math.isfinite(beta)) for beta in betas):
        raise ConfigError(f"betas {list(betas)}: each must be finite and above 0, in reward units per nat.")
    prompts = _prompts(rewards, other, measure)
    out: list[Optimum] = []
    for beta in betas:
        found = [_at(p, 1 / beta) for p in prompts]
        kl = sum(f[0] for f in found) / len(found)
        reward = sum(f[1] for f in found) / len(found)
        out.append(Optimum(float(beta), kl, reward, exact or all(_trusted(k, w) for k, _, w in found)))
    return out


def beta_for_kl(
    rewards: Sequence[Tensor],
    kl: float,
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
) -> float:
    """The β at which the mean over prompts of KL(p*_β‖π0) is `kl` nats: a budget turned into evidence.

    Arguments are those of `frontier`. Without other evidence the divergence grows with 1/β, so the answer is unique.

    Raises:
        ConfigError: the budget lies outside what these draws reach: from that of the other evidence alone to that of
            the best draw of each prompt, and (unless `exact`) below log n − 2.
    """
    prompts = _prompts(rewards, other, measure)
    if not (kl > 0 and math.isfinite(kl)):
        raise ConfigError(f"kl={kl}: a budget in nats must be finite and above 0 (0 is the prior itself).")

    def mean_kl(lam: float) -> float:
        return sum(_at(p, lam)[0] for p in prompts) / len(prompts)

    least = mean_kl(0.0)
    room = math.inf if exact else math.log(min(p.reward.numel() for p in prompts)) - _ROOM
    finite = [p.reward[torch.isfinite(p.reward)] for p in prompts]
    spread = max(float(r.max() - r.min()) if r.numel() else 0.0 for r in finite)
    high = 1 / spread if spread > 0 else 1.0
    while mean_kl(high) < kl and high * spread < 1e12 and spread > 0:
        high *= 2
    most = min(mean_kl(high), room)
    if not least < kl <= most:
        raise ConfigError(
            f"kl={kl:g} nats cannot be had from these draws: they reach from {least:.4g} to {max(most, least):.4g} "
            "(n draws a prompt say nothing beyond log n − 2). Ask for less, or take more draws."
        )
    return 1 / solve_increasing(mean_kl, kl, 0.0, high, high * 1e-14)
