"""Bisection: where on the path from prior to posterior a quantity that grows along it takes a given value."""

from collections.abc import Callable

from credence.core.errors import ConfigError


def solve_increasing(f: Callable[[float], float], goal: float, low: float, high: float, tolerance: float) -> float:
    """The x in [low, high] with f(x) = goal, by bisection; f must not decrease.

    Raises:
        ConfigError: the goal lies outside [f(low), f(high)].
    """
    if not f(low) <= goal <= f(high):
        raise ConfigError(f"{goal} lies outside what can be reached, {f(low):.4g} to {f(high):.4g}.")
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < goal else (low, middle)
    return (low + high) / 2
