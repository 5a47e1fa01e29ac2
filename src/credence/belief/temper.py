"""How strongly a likelihood may speak: its power, fitted where it counts, on the log-loss of held-out answers."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.logspace import normalise

STEPS = 100
"""Newton steps at most; ten are usual."""


def log_loss(log_p: Float[Tensor, "N K"], truth: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """−log p(true hypothesis) of each case, in nats; inf where the truth was called impossible."""
    return -log_p.double().gather(1, truth[:, None]).squeeze(1)


def fit_tau(
    log_lik: Float[Tensor, "N K"], truth: Int[Tensor, " N"], log_prior: Float[Tensor, " K"], spread: float = 100.0
) -> float:
    """The power τ > 0 for which p(h | D) ∝ p(h) L(D | h)^τ has the least log-loss on cases whose truth is known.

    Args:
        log_lik: log p(D_n | h_k) in nats, finite.
        truth: index of the hypothesis that was true in case n.
        log_prior: (K,) nats.
        spread: standard deviation of a normal prior on τ around 0. It only matters where the cases can be told apart
            without error, when the best τ would be infinite.

    Returns:
        τ; the smallest positive step above 0 where the likelihood says nothing that is true.

    Cost: a few passes over N × K numbers. The objective is convex, so its minimum is the minimum. Tested against a grid
    and against the true power in tests/unit/test_temper.py.
    """
    return max(float(fit_weights(log_lik[:, :, None], truth, log_prior, spread)[0]), 1e-6)


def fit_weights(
    features: Float[Tensor, "N K P"],
    truth: Int[Tensor, " N"],
    log_prior: Float[Tensor, " K"],
    spread: float | Sequence[float] = 100.0,
) -> Float[Tensor, " P"]:
    """Weights w of p(h_k | n) ∝ p(h_k) exp(Σ_p w_p features[n, k, p]) with the least log-loss, by Newton's method.

    Minimises Σ_n −log p(h_truth | n) + ½ Σ_p (w_p/spread_p)².

    Raises:
        ShapeError: axes that do not fit, or no case at all.
        ContractError: a feature that is not finite.
        ConfigError: a truth that the prior calls impossible.
    """
    x, prior = features.double(), log_prior.double()
    n, k, p = x.shape
    if n == 0 or truth.shape != (n,) or prior.shape != (k,):
        raise ShapeError(
            f"features {tuple(x.shape)}, truth {tuple(truth.shape)}, log_prior {tuple(prior.shape)}: (N, K, P), (N,) "
            "and (K,) with N of at least 1 are needed."
        )
    if not bool(torch.isfinite(x).all()):
        raise ContractError("a log-likelihood that is to be tempered must be finite: -inf has every power.")
    if bool(torch.isneginf(prior[truth]).any()):
        raise ConfigError("a case's true hypothesis has prior probability 0: no power can mend that.")
    spreads = torch.tensor([spread] * p if isinstance(spread, int | float) else list(spread), dtype=torch.float64)
    ridge = torch.diag(spreads**-2)

    def loss(w: Tensor) -> float:
        return float(log_loss(normalise(prior + x @ w), truth).sum() + 0.5 * w @ ridge @ w)

    w = torch.zeros(p, dtype=torch.float64)
    own = x[torch.arange(n), truth]
    value = loss(w)
    for _ in range(STEPS):
        law = torch.exp(normalise(prior + x @ w))
        mean = torch.einsum("nk,nkp->np", law, x)
        slope = (mean - own).sum(0) + ridge @ w
        spreading = torch.einsum("nk,nkp,nkq->pq", law, x, x) - mean.T @ mean
        step = torch.linalg.solve(spreading + ridge, slope)
        size = 1.0
        while size > 1e-12 and not loss(w - size * step) <= value:
            size /= 2
        if size <= 1e-12:
            break
        w = w - size * step
        gained, value = value - loss(w), loss(w)
        if gained < 1e-12 * max(1.0, math.fabs(value)):
            break
    return w
