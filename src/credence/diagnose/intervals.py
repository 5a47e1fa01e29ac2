"""Intervals over prompts and draws: a two-level bootstrap, corrected for few prompts."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key

Group = Mapping[str, Tensor]
"""One prompt's independent pools of draws by name; a pool's first axis is its draws, resampled as whole rows."""


def tail_share(prompts: int, level: float) -> float:
    """Share of resamples to cut at each end so that few prompts do not make the interval too short.

    The percentile interval of B units is narrow by √((B − 1)/B) and uses normal where Student's quantiles belong;
    the share Φ(−√(B/(B − 1)) t_{B−1}) mends both and keeps invariance (Hesterberg 2015, "expanded percentile").
    One prompt leaves only its draws: the plain share. Test: coverage in tests/unit/test_intervals.py.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level={level}: a share in (0, 1) is needed, such as 0.95.")
    if prompts < 2:
        return (1 - level) / 2
    degrees = prompts - 1
    t = student(degrees, level)
    return 0.5 * math.erfc(math.sqrt(prompts / degrees) * t / math.sqrt(2))


@cache
def student(degrees: int, level: float) -> float:
    """The t with P(|T| < t) = level for Student's law, to about four digits. Test: tests/unit/test_intervals.py."""
    angle = np.linspace(0, math.pi / 2, 20_001)  # t = √ν tan(angle) has density ∝ cos^(ν−1)
    density = np.cos(angle) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(degrees) * math.tan(float(np.interp(level, mass / mass[-1], angle)))


def _limits(value: float, found: NDArray[np.float64], share: float) -> tuple[float, float, float]:
    """Order statistics, so that infinities stay themselves; a resample without an answer widens both ends."""
    low = np.sort(np.where(np.isnan(found), -np.inf, found))
    high = np.sort(np.where(np.isnan(found), np.inf, found))
    cut = min(int(share * len(found)), len(found) - 1)
    return value, min(value, float(low[cut])), max(value, float(high[len(found) - 1 - cut]))


def _checked(value: float, prompts: int, resamples: int) -> float:
    if prompts == 0 or resamples < 1:
        raise ShapeError(f"{prompts} prompts and {resamples} resamples: at least one of each is needed.")
    if math.isnan(value):
        raise ContractError("the statistic is NaN on the data themselves: there is nothing to put an interval around.")
    return value


def bootstrap_all(
    statistics: Callable[[Sequence[Group]], Mapping[str, float]],
    groups: Sequence[Group],
    key: Key,
    level: float = 0.95,
    resamples: int = 1000,
) -> dict[str, tuple[float, float, float]]:
    """Several statistics of the same pools of draws, each with its interval over prompts and draws.

    Each resample draws prompts with replacement, then rows within each pool of each. So the uncertainty of log Z,
    computed inside `statistics` from the resampled prior draws, enters ratios such as
    gap closed = 1 − mean_b KL(π‖p*)_b / mean_b KL(π0‖p*)_b.

    Args:
        statistics: maps a list of groups, as given or resampled, to named floats, always the same names.
        groups: one mapping a prompt, pool name -> (draws, ...) tensor. Columns that belong to one draw
            (weight, reward, …) stand in one tensor; pools are resampled independently.
        key: of the resampling.
        level: nominal coverage.
        resamples: bootstrap repetitions.

    Returns:
        value, low, high by name. A resample where a statistic is NaN widens both ends; on the data it is an error.

    Cost: resamples × prompts × pools row selections, and as many calls of the statistics as resamples
    (400 × 8 prompts × 512 draws: under a second).
    """
    whole = statistics(groups) if groups else {"": 0.0}
    values = {name: _checked(float(value), len(groups), resamples) for name, value in whole.items()}
    if any(pool.shape[0] == 0 for group in groups for pool in group.values()):
        raise ShapeError("a pool of draws is empty: leave its prompt out by name.")
    rng = key.generator()

    def again(group: Group) -> Group:
        return {
            name: pool[torch.from_numpy(rng.integers(pool.shape[0], size=pool.shape[0]))]
            for name, pool in group.items()
        }

    found = {name: np.empty(resamples) for name in values}
    for i in range(resamples):
        for name, value in statistics([again(groups[b]) for b in rng.integers(len(groups), size=len(groups))]).items():
            found[name][i] = value
    share = tail_share(len(groups), level)
    return {name: _limits(value, found[name], share) for name, value in values.items()}
