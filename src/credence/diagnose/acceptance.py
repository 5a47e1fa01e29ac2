"""Rejection and quasi-rejection on trial: did the bound hold, and what does another bound cost and give?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.logspace import normalise
from credence.core.types import Draws, Finding
from credence.diagnose.weights import checked

LEAST_DRAWS = 32
"""Fewer draws than this show no curve: their largest weight is no quantile of anything."""


@dataclass(frozen=True)
class AcceptancePoint:
    """Quasi-rejection at one bound.

    Attributes:
        bound: log b, nats.
        acceptance: E_q[min(w, b)]/b, the share of proposals accepted.
        tv: TV(p_b, p*).
        tv_bound: p*(w > b), which is at least tv.
    """

    bound: float
    acceptance: float
    tv: float
    tv_bound: float


def acceptance_curve(
    log_w: Float[Tensor, " n"], bounds: Sequence[float] = (), log_share: Float[Tensor, " n"] | None = None
) -> tuple[AcceptancePoint, ...]:
    """What quasi-rejection would accept, and how far its law is from p*, at any number of bounds from one set of draws.

    From draws the three are plug-in estimates: where replies of great weight are missing, tv and tv_bound are too low.
    With every completion of an enumerated prompt and its log-probability as log_share they are exact.

    Args:
        log_w: log weights of one prompt's draws from the proposal (`Importance` gives them), nats.
        bounds: log b, nats; by default nine, from the median weight to the largest, in equal steps.
        log_share: log-probability of each draw under the proposal where the draws are an enumeration; equal by default.

    Raises:
        ShapeError: fewer than 32 draws without log_share, or shares of another shape.
        ContractError: NaN or +inf among the weights.
        ConfigError: no draw has weight, or a bound that is not finite.

    Source: Eikema et al. 2022; SCIENCE 5. Test: TOY-A's golden numbers in tests/oracle/test_quasi_rejection.py.
    """
    log_w = checked(log_w)
    if log_share is None and len(log_w) < LEAST_DRAWS:
        raise ShapeError(f"{len(log_w)} draws show no curve: at least {LEAST_DRAWS} of a prompt are needed.")
    share = torch.full_like(log_w, -math.log(len(log_w))) if log_share is None else log_share.double().cpu()
    if share.shape != log_w.shape:
        raise ShapeError(f"{len(log_w)} weights and {len(share)} shares: one each is needed.")
    log_p = share + log_w
    if bool(torch.isneginf(log_p).all()):
        raise ConfigError("no draw has any weight, so there is nothing to accept: draw more, or soften the evidence.")
    asked = list(bounds) or _grid(log_w)
    if not all(math.isfinite(bound) for bound in asked):
        raise ConfigError(f"bounds {asked}: finite nats are needed.")
    return tuple(_point(log_w, share, normalise(log_p), bound) for bound in asked)


def _grid(log_w: Float[Tensor, " n"]) -> list[float]:
    some = log_w[log_w > -math.inf]
    return torch.linspace(float(some.median()), float(some.max()), 9, dtype=torch.float64).tolist()


def _point(log_w: Tensor, share: Tensor, log_p: Tensor, bound: float) -> AcceptancePoint:
    capped = share + log_w.clamp(max=bound)
    law = torch.exp(normalise(capped))
    rate = float(torch.exp(torch.logsumexp(capped, 0) - bound))
    p = torch.exp(log_p)
    return AcceptancePoint(bound, rate, 0.5 * float((law - p).abs().sum()), float(p[log_w > bound].sum()))


def bound_finding(draws: Draws, prompt: int = 0) -> Finding:
    """Whether the bound of rejection held for one prompt: how many proposals were above it, by how many nats.

    Raises:
        ConfigError: the draws are not rejection's (or quasi-rejection's).
    """
    missing = [name for name in ("above", "excess", "proposals") if name not in draws.info]
    if missing:
        raise ConfigError(f"these draws carry no {missing[0]!r}: Rejection and QuasiRejection give it.")
    above, excess, made = (float(draws.info[name][prompt]) for name in ("above", "excess", "proposals"))
    if above > 0:
        said = (
            f"{above:.0f} of {made:.0f} proposals lay above the bound, the highest by {excess:.3g} nats: they were "
            f"accepted too rarely, so the draws are not exact. Give a bound at least {excess:.3g} nats higher."
        )
    else:
        gap = "none had any weight" if excess == -math.inf else f"the highest stayed {max(-excess, 0.0):.3g} nats below"
        said = (
            f"No proposal of {made:.0f} lay above the bound; {gap}. That proves little: at 95 %, fewer than "
            f"{min(3 / made, 1):.2g} of all replies lie above it."
        )
    return Finding("bound", excess, None, 0.0, above == 0, said)
