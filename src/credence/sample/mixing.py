"""How well chains have mixed: split R̂ on ranks, the autocorrelation time by Geyer's rule, effective draws.

Axes: any number of leading ones, then C chains and S steps of one statistic a step. Ranks are what is compared, so a
statistic without a variance, or with impossible (-inf) values, is judged like any other.

Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021 (rank-normalised split R̂, combined chains); Geyer 1992 (the
initial monotone sequence). Tested in tests/unit/test_mixing.py. diagnose.chains turns the figures into verdicts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError, ShapeError

LEAST_STEPS = 4
"""Steps a chain below which its halves have no variance: R̂ and the autocorrelation time cannot be known."""


@dataclass(frozen=True, eq=False)
class Mixing:
    """What the chains of each group are worth, by the worst of their statistics.

    Attributes:
        rhat: rank-normalised split R̂, near 1 where chains agree; inf where each stands still at a place of its own.
        tau: autocorrelation time in steps: so many steps are worth one independent draw.
        ess: C·S/tau, in draws.

    All NaN where chains are too short (under 4 steps) or where no statistic ever changed.
    """

    rhat: Float[Tensor, "*n"]
    tau: Float[Tensor, "*n"]
    ess: Float[Tensor, "*n"]


def mixing(trace: Float[Tensor, "*n F C S"]) -> Mixing:
    """The worst R̂ and autocorrelation time over F statistics; those that never change say nothing and are passed over.

    Raises:
        ContractError: NaN among the statistics.

    Cost: a sort and a Fourier transform of each trace.
    """
    chains, steps = trace.shape[-2:]
    if steps < LEAST_STEPS:
        unknown = torch.full(trace.shape[:-3], torch.nan, dtype=torch.float64, device=trace.device)
        return Mixing(unknown, unknown, unknown)
    rhat = _largest(split_rhat(trace))
    tau = _largest(autocorrelation_time(split(rank_normal(trace))))
    return Mixing(rhat, tau, chains * steps / tau)


def split(x: Float[Tensor, "*n C S"]) -> Float[Tensor, "*n D H"]:
    """Each chain as two, its first and second half: D = 2C, H = S // 2; a middle step that is left over is dropped."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half], x[..., x.shape[-1] - half :]], -2)


def rank_normal(x: Float[Tensor, "*n C S"]) -> Float[Tensor, "*n C S"]:
    """Normal scores Φ⁻¹((rank − 3/8)/(CS + 1/4)) of the values among all chains' steps; ties share their mean rank.

    Raises:
        ContractError: NaN among the values.
    """
    if bool(torch.isnan(x).any()):
        raise ContractError("the chains' statistic holds NaN, which has no rank: look for the evidence that gave it.")
    flat = x.double().flatten(-2)
    ordered = flat.sort(-1).values
    below = torch.searchsorted(ordered, flat, right=False)
    upto = torch.searchsorted(ordered, flat, right=True)
    rank = (below + upto + 1).double() / 2
    return torch.special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25)).view(x.shape)


def split_rhat(x: Float[Tensor, "*n C S"]) -> Float[Tensor, "*n"]:
    """The larger of R̂ of the ranks (places differ) and of the folded ranks (spreads differ), each on split chains.

    inf where no half chain moves and they differ; NaN where nothing differs at all.

    Raises:
        ShapeError: fewer than 4 steps a chain.
        ContractError: NaN among the values.
    """
    if x.shape[-1] < LEAST_STEPS:
        raise ShapeError(f"chains of {x.shape[-1]} steps: split R̂ needs at least {LEAST_STEPS}. Let them run longer.")
    middle = x.double().flatten(-2).median(-1).values[..., None, None]
    folded = torch.where(x == middle, 0.0, (x.double() - middle).abs())
    return torch.fmax(rhat(split(rank_normal(x))), rhat(split(rank_normal(folded))))


def rhat(x: Float[Tensor, "*n C S"]) -> Float[Tensor, "*n"]:
    """Gelman & Rubin's R̂ = √(((S − 1)/S · W + B/S)/W), W within and B between chains, of finite values as they are."""
    steps = x.shape[-1]
    within, between = _within_between(x.double())
    return torch.sqrt((steps - 1) / steps + between / within)


def autocorrelation_time(x: Float[Tensor, "*n C S"]) -> Float[Tensor, "*n"]:
    """Integrated autocorrelation time τ = 1 + 2 Σ_t ρ_t of finite values, in steps; NaN where they never change.

    ρ_t = 1 − (W − mean over chains of their lag-t covariance)/var⁺, so that chains which stay apart count as
    correlated. The sum runs over pairs ρ_2k + ρ_2k+1 while they are positive, each at most the one before (Geyer's
    initial monotone sequence), and τ is at least 1/log10(CS): more than that no sequence is believed to gain.
    """
    chains, steps = x.shape[-2:]
    centred = x.double() - x.double().mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(centred, 2 * steps)
    covariance = torch.fft.irfft(spectrum * spectrum.conj(), 2 * steps)[..., :steps] / steps
    within, between = _within_between(x.double())
    total = within * (steps - 1) / steps + between
    rho = 1 - (within[..., None] - covariance.mean(-2)) / total[..., None]
    rho[..., 0] = torch.where(total > 0, 1.0, torch.nan)
    pairs = rho[..., : steps - steps % 2].unflatten(-1, (steps // 2, 2)).sum(-1)
    counted = (pairs > 0).double().cumprod(-1)
    tau = 2 * (pairs.cummin(-1).values * counted).sum(-1) - 1
    least = 1 / torch.log10(torch.tensor(float(chains * steps), dtype=torch.float64))
    return torch.where(total > 0, tau.clamp(min=float(least)), torch.nan)


def _within_between(x: Float[Tensor, "*n C S"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Mean variance of the chains, and variance of their means (B/S; 0 for one chain)."""
    within = _variance(x).mean(-1)
    return within, _variance(x.mean(-1)) if x.shape[-2] > 1 else torch.zeros_like(within)


def _variance(x: Float[Tensor, "*n S"]) -> Float[Tensor, "*n"]:
    """Exactly 0 for equal values, whose mean may round to another number."""
    return torch.where(x.amax(-1) == x.amin(-1), 0.0, x.var(-1))


def _largest(x: Float[Tensor, "*n F"]) -> Float[Tensor, "*n"]:
    """The largest of the statistics, NaN where all are."""
    known = ~torch.isnan(x)
    return torch.where(known.any(-1), torch.where(known, x, -torch.inf).max(-1).values, torch.nan)
