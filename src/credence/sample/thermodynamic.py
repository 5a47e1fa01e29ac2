"""Thermodynamic integration: log Z as the area under E[log_lik] along the path from prior to posterior.

With p_λ ∝ π0 · exp(λ log_lik), d log Z_λ/dλ = E_λ[log_lik], and its own slope is Var_λ[log_lik] ≥ 0. So the mean rises
along the path: at the left end of each interval it bounds the area from below, at the right end from above.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError


def ladder(rungs: int, power: float) -> tuple[float, ...]:
    """Positions λ_k = (k/(rungs − 1))^power, from 0 to 1: with a power above 1 they lie denser near the prior.

    There E[log_lik] changes fastest. Raises ConfigError for fewer than 2 rungs, or a power that is not above 0.
    """
    if rungs < 2 or not 0 < power < float("inf"):
        raise ConfigError(
            f"rungs={rungs}, power={power}: a path has at least its two ends, and a finite power above 0 spaces them."
        )
    return tuple((k / (rungs - 1)) ** power for k in range(rungs))


@dataclass(frozen=True, eq=False)
class Area:
    """∫ E_λ[log_lik] dλ from 0 to 1 in nats: the estimate, and what the rungs allow, noise of the means aside."""

    value: Float[Tensor, "*n"]
    low: Float[Tensor, "*n"]
    high: Float[Tensor, "*n"]


def area(at: Sequence[float], mean: Float[Tensor, "*n K"], variance: Float[Tensor, "*n K"]) -> Area:
    """The area by the corrected trapezium rule, Σ Δ (E_k + E_k+1)/2 − Δ²/12 (V_k+1 − V_k), error O(Δ⁴).

    Args:
        at: the K positions, rising.
        mean: E_λ[log_lik] at each, in nats.
        variance: Var_λ[log_lik] at each: the slope of the mean.

    Source: Friel, Hurn & Wyse 2014. Tested against enumeration in tests/oracle/test_thermodynamic.py.

    Raises:
        ShapeError: not one mean and variance a position.
    """
    if mean.shape[-1] != len(at) or variance.shape != mean.shape:
        raise ShapeError(
            f"{len(at)} positions, means {tuple(mean.shape)}, variances {tuple(variance.shape)}: one of each is needed."
        )
    width = torch.diff(torch.tensor(at, dtype=torch.float64)).to(mean.device)
    left, right = mean[..., :-1], mean[..., 1:]
    bend = width**2 / 12 * (variance[..., 1:] - variance[..., :-1])
    return Area((width * (left + right) / 2 - bend).sum(-1), (width * left).sum(-1), (width * right).sum(-1))
