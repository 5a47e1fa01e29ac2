"""Quantiles of Beta laws, by integration: no special function is needed."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from credence.core.errors import ConfigError

_GRID = 20_001
_SPREADS = 14.0
"""Standard deviations on each side of the mean that the grid covers."""


def quantiles(a: float, b: float, shares: Sequence[float]) -> list[float]:
    """The x with P(X < x) = share for X ~ Beta(a, b), to about six digits.

    With x = sin²φ the density is sin^(2a−1)φ cos^(2b−1)φ, which has no pole from a, b = ½ on, and a standard deviation
    of about 1/(2√(a + b)) anywhere; the grid lies around its mean. Test: against scipy in tests/unit/test_bandits.py.

    Raises:
        ConfigError: a or b below ½, or a share outside (0, 1).
    """
    if not (a >= 0.5 and b >= 0.5 and math.isfinite(a + b)):
        raise ConfigError(f"Beta({a:g}, {b:g}): both counts must be finite and at least 1/2.")
    if not all(0 < share < 1 for share in shares):
        raise ConfigError(f"shares {list(shares)}: each must lie in (0, 1).")
    middle, spread = math.asin(math.sqrt(a / (a + b))), 0.5 / math.sqrt(a + b)
    low, high = max(0.0, middle - _SPREADS * spread), min(math.pi / 2, middle + _SPREADS * spread)
    angle = np.linspace(low, high, _GRID)
    inside = angle[1:-1]
    log_density = np.full(_GRID, -np.inf)
    log_density[1:-1] = (2 * a - 1) * np.log(np.sin(inside)) + (2 * b - 1) * np.log(np.cos(inside))
    log_density[0] = 0.0 if a == 0.5 and low == 0 else log_density[1] if low > 0 else -np.inf
    log_density[-1] = 0.0 if b == 0.5 and high == math.pi / 2 else log_density[-2] if high < math.pi / 2 else -np.inf
    density: NDArray[np.float64] = np.exp(log_density - log_density.max())
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return [math.sin(float(np.interp(share, mass / mass[-1], angle))) ** 2 for share in shares]
