"""Numeric scores as a belief over the reward: Bayesian linear regression, exact, its noise chosen by the evidence.

    y_i = θ·φ_i + a + ε_i,   ε ~ N(0, σ²),   θ ~ N(0, τ²/d),   a flat        φ divided by `scale`

The posterior of (θ, a) at given σ, τ is Gaussian without approximation. σ and τ maximise the marginal likelihood of the
scores, in closed form for σ at each ratio τ/σ (MacKay 1992; with a flat level a this is REML). They are then taken as
known, so that intervals are a little narrow where there are few scores (docs/reward.md says how much).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.evidence.feedback import Head
from credence.evidence.fitted import Fitted

RATIOS = (-3.0, 1.0)
"""log₁₀ of τ/σ between which it is looked for. With more features than scores the likelihood alone may take scores for
free of noise, which no person's are: a usual reply's reward is thought to vary ten times as much as its scores at most.
"""
_GRID, _GOLDEN = 121, 40


def conjugate(
    features: Float[Tensor, "N d"],
    scores: Float[Tensor, " N"],
    scale: Float[Tensor, " d"],
    tau: float,
    noise: float,
    weight: Float[Tensor, " N"] | None = None,
) -> Head:
    """The exact posterior of (θ, a) at a known σ and τ; the mean reward is in the scores' own points.

    Args:
        features: not yet scaled.
        scores: y.
        scale: what one unit of each feature is.
        tau: prior standard deviation of the reward of a reply whose features are all one unit, points.
        noise: σ, points.
        weight: how often each score counts; None: once.

    Cost: one Cholesky factor of (d + 1)². Test: against a grid in tests/oracle/test_score_head.py; calibration in
    tests/statistical/test_reward_heads.py.
    """
    d = len(scale)
    rows = torch.cat([features.double() / scale.double(), torch.ones(len(features), 1, dtype=torch.float64)], 1)
    heavy = rows if weight is None else rows * weight.double()[:, None]
    precision = heavy.T @ rows / noise**2
    precision.diagonal()[:d].add_(d / tau**2)
    factor = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve((heavy.T @ scores.double() / noise**2)[:, None], factor)[:, 0]
    return Head(mean, torch.cholesky_inverse(factor).contiguous(), scale.double())  # rows first, as a file has it


def fit_scores(features: Float[Tensor, "N d"], scores: Float[Tensor, " N"], scale: Float[Tensor, " d"]) -> Fitted:
    """The belief at the σ and τ of largest marginal likelihood.

    Args:
        features: not yet scaled.
        scores: y, in points.
        scale: what one unit of each feature is.

    Raises:
        ShapeError: not one score a row of features.
        ConfigError: fewer than three scores, scores that are all the same, or a scale with a zero.
        DegeneracyError: features or scores that are not finite.

    Cost: one singular value decomposition of (N, d) and one Cholesky factor. Test: the evidence against scipy's normal
    law, the maximum against a grid, in tests/oracle/test_score_head.py.
    """
    n, d = len(scores), len(scale)
    if features.shape != (n, d):
        raise ShapeError(f"features {tuple(features.shape)}, {n} scores, {d} scales: (N, d), (N,) and (d,) are needed.")
    if not bool((scale > 0).all()):
        raise ConfigError(f"every scale (least {float(scale.min()):.3g}) must be above 0.")
    x, y = features.double() / scale.double(), scores.double()
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DegeneracyError("features or scores are not finite: they cannot be learnt from.")
    if n < 3 or float(y.max()) == float(y.min()):
        raise ConfigError(f"{n} scores from {y.min():g} to {y.max():g}: at least three, not all the same, are needed.")
    left, spread, _ = torch.linalg.svd((x - x.mean(0)) / math.sqrt(d), full_matrices=False)
    seen = spread > 1e-10 * max(float(spread[0]), 1e-300)
    u = (left.T @ (y - y.mean()))[seen]
    rest = max(0.0, float((y - y.mean()).square().sum() - u.square().sum()))
    s2 = spread[seen].square()

    def at(log_ratio: float) -> tuple[float, float]:
        """log p(y | σ̂, τ) with the best σ at this ratio, and that σ."""
        v = 1 + 10 ** (2 * log_ratio) * s2
        sigma2 = max((float((u.square() / v).sum()) + rest) / (n - 1), 1e-300)
        nats = -0.5 * ((n - 1) * (math.log(2 * math.pi * sigma2) + 1) + float(v.log().sum()) + math.log(n))
        return nats, math.sqrt(sigma2)

    best = _highest(lambda ratio: at(ratio)[0])
    nats, noise = at(best)
    tau = noise * 10**best
    return Fitted(conjugate(features, scores, scale, tau, noise), tau, noise, nats)


def _highest(of: Callable[[float], float]) -> float:
    """Where a function on RATIOS is largest: a grid, then golden sections around its best place."""
    grid = [RATIOS[0] + (RATIOS[1] - RATIOS[0]) * i / (_GRID - 1) for i in range(_GRID)]
    values = [of(x) for x in grid]
    top = values.index(max(values))
    low, high = grid[max(0, top - 1)], grid[min(_GRID - 1, top + 1)]
    share = (math.sqrt(5) - 1) / 2
    for _ in range(_GOLDEN):
        one, two = high - share * (high - low), low + share * (high - low)
        low, high = (low, two) if of(one) > of(two) else (one, high)
    return (low + high) / 2


def bootstrap_scores(
    features: Float[Tensor, "N d"], scores: Float[Tensor, " N"], fitted: Fitted, key: Key, members: int
) -> tuple[Head, ...]:
    """Heads fitted to as many scores, drawn anew with replacement, at the same σ and τ.

    Raises:
        ConfigError: fewer than 2 members.
    """
    if members < 2:
        raise ConfigError(f"members={members}: an ensemble of at least 2 is needed.")
    n, out = len(scores), list[Head]()
    for m in range(members):
        drawn = torch.from_numpy(key.fold("member", m).generator().integers(0, n, n))
        weight = torch.bincount(drawn, minlength=n).double()
        out.append(conjugate(features, scores, fitted.head.scale, fitted.tau, fitted.noise, weight))
    return tuple(out)
