"""Whether importance weights can carry an estimate: effective sample size, Pareto k̂, largest weight."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.logspace import ess, normalise
from credence.core.types import Finding

LEAST_TAIL = 5
"""Fewer excesses than this say nothing about a tail."""

LEAST_ESS = 30.0
"""Effective draws below which a weighted mean is not worth reading: its error is a fifth of the spread."""

MOST_WEIGHT = 0.1
"""Share of the weight above which one draw decides the answer."""


def checked(log_w: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log weights as float64 on the CPU, refusing what no weight can be.

    Raises:
        ShapeError: not one axis, or empty.
        ContractError: NaN or +inf.
    """
    if log_w.ndim != 1 or log_w.numel() == 0:
        raise ShapeError(f"log weights of shape {tuple(log_w.shape)}: one axis of at least one draw is needed.")
    log_w = log_w.detach().double().cpu()
    if bool((torch.isnan(log_w) | torch.isposinf(log_w)).any()):
        raise ContractError("the log weights hold NaN or +inf: look for the prior or evidence that returned it.")
    return log_w


def pareto_k(log_w: Float[Tensor, " n"]) -> float:
    """Shape k̂ of a generalised Pareto law fitted to the largest weights: their moments below 1/k̂ exist.

    The tail is the min(0.2 S, 3√S) largest of S weights; what exceeds the largest weight outside it is fitted by
    Zhang & Stephens (2009) and pulled towards ½ by ten pseudo-draws: (M k̂ + 5)/(M + 10), as Vehtari et al. 2024.

    Returns:
        k̂. +inf (nothing can be trusted) when fewer than 5 weights exceed the cut or all weights are zero; -inf
        (bounded, nothing to fear) when the whole tail has the same weight as the cut, as constant weights do.
        Weights on a finite space are bounded (true k ≤ 0): there k̂ tells only what the sample shows.

    Raises:
        ContractError: NaN or +inf among the weights.

    Source: SCIENCE 5.5. Test: closed form Exp(θ)/Exp(1), k = 1 − θ, in tests/unit/test_weights.py.
    """
    log_w = checked(log_w)
    size = log_w.numel()
    tail = math.ceil(min(0.2 * size, 3 * math.sqrt(size)))
    top = float(log_w.max())
    if tail < LEAST_TAIL or top == -math.inf:
        return math.inf
    ordered = torch.exp(log_w.sort().values - top)
    cut = float(ordered[-tail - 1])
    if cut == 1.0:
        return -math.inf
    excess = ordered[-tail:] - cut
    excess = excess[excess > 0]  # ties with the cut carry no information on the tail
    if excess.numel() < LEAST_TAIL:
        return math.inf
    return _zhang_stephens(excess)


def _zhang_stephens(excess: Float[Tensor, " M"]) -> float:
    """Posterior mean of k over a grid of θ = −k/σ under Zhang & Stephens' data-driven prior; excess is ascending."""
    size = excess.numel()
    grid = 30 + int(math.sqrt(size))
    quartile = excess[max(int(size / 4 + 0.5) - 1, 0)]
    steps = torch.arange(1, grid + 1, dtype=torch.float64)
    theta = 1 / excess[-1] + (1 - torch.sqrt(grid / (steps - 0.5))) / (3 * quartile)
    k = torch.log1p(-theta[:, None] * excess).mean(-1)
    profile = size * (torch.log(-theta / k) - k - 1)
    weight = torch.softmax(torch.nan_to_num(profile, nan=-math.inf), 0)  # θ = 0 exactly is 0/0: no mass there
    best = float((weight * theta).sum())
    found = float(torch.log1p(-best * excess).mean())
    return (size * found + 5) / (size + 10)


def pareto_threshold(n: int) -> float:
    """Largest k̂ at which n draws can be trusted: min(1 − 1/log10 n, 0.7). Source: SCIENCE 5.5."""
    if n < 2:
        return -math.inf
    return min(1 - 1 / math.log10(n), 0.7)


def weight_findings(log_w: Float[Tensor, " n"]) -> tuple[Finding, ...]:
    """Three verdicts on one prompt's log weights: effective draws, Pareto k̂, largest normalised weight.

    None is read alone: the effective sample size is optimistic when a mode was missed.

    Raises:
        ContractError: NaN or +inf among the weights.
    """
    log_w = checked(log_w)
    n = log_w.numel()
    effective = float(ess(log_w))
    k, limit = pareto_k(log_w), pareto_threshold(n)
    largest = float(torch.exp(normalise(log_w).max())) if effective > 0 else 1.0
    none = "Every draw is impossible under the evidence: no draw carries weight. "
    return (
        Finding(
            "ess",
            effective,
            None,
            LEAST_ESS,
            effective >= LEAST_ESS,
            (none if effective == 0 else "")
            + f"The {n} weighted draws are worth {effective:.1f} equal ones; at least {LEAST_ESS:g} are wanted.",
        ),
        Finding("pareto_k", k, None, limit, k < limit, _tail_sentence(k, limit, n)),
        Finding(
            "max_weight",
            largest,
            None,
            MOST_WEIGHT,
            largest <= MOST_WEIGHT,
            (none if effective == 0 else "")
            + f"One draw holds {largest:.1%} of the weight; above {MOST_WEIGHT:.0%} it decides the answer by itself.",
        ),
    )


def _tail_sentence(k: float, limit: float, n: int) -> str:
    if k == math.inf:
        return f"The tail of {n} weights cannot be judged: too few draws stand out of it, or none carries weight."
    if k == -math.inf:
        return "The largest weights are all equal: they have no tail."
    if k < limit:
        return f"The tail of the weights is light enough (k̂ = {k:.2f} < {limit:.2f})."
    if k < 1:
        return f"The tail is heavy (k̂ = {k:.2f}, limit {limit:.2f}): bias dominates, rare draws are still missing."
    return f"The tail is so heavy (k̂ = {k:.2f}) that the mean of the weights may not exist: do not use these numbers."
