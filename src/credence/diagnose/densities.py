"""How good stated densities of numbers are: log-loss, error, calibration and coverage of intervals, with intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.diagnose.intervals import tail_share
from credence.diagnose.scoring_rules import LEVEL, Interval, wilson

LEVELS = (0.5, 0.8, 0.95)
"""Of the central intervals whose coverage is counted."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normals:
    """One law a number: an equal mixture of M normal laws.

    Attributes:
        mean: (N, M).
        sd: (N, M), above 0.
    """

    mean: Float[Tensor, "N M"]
    sd: Float[Tensor, "N M"]

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape != self.sd.shape or not self.mean.numel():
            raise ShapeError(f"mean {tuple(self.mean.shape)} and sd {tuple(self.sd.shape)}: both (N, M) are needed.")
        if not bool((self.sd > 0).all() and torch.isfinite(self.mean).all() and torch.isfinite(self.sd).all()):
            raise ContractError("a stated density has a mean or sd that is not finite, or an sd that is not above 0.")

    def log_density(self, value: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """log p(value), nats."""
        z = (value.double()[:, None] - self.mean) / self.sd
        each = -0.5 * z.square() - self.sd.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each, 1) - math.log(self.mean.shape[1])

    def below(self, value: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """P(number ≤ value): uniform on [0, 1] where the law is right (probability integral transform)."""
        return torch.special.ndtr((value.double()[:, None] - self.mean) / self.sd).mean(1)


@dataclass(frozen=True)
class DensityScores:
    """What stated laws of N numbers are worth; each a value with its 95 % interval over numbers.

    Attributes:
        log_loss: mean −log p(number), nats.
        error: root of the mean squared distance from the law's mean, units of the number.
        calibration: mean |P(number ≤ its value) − what it would be if calibrated|, 0 to ½; see `pit_error`.
        against: mean log-loss minus that of the baseline on the same numbers, nats; None of the baseline itself.
        covered: share of central intervals of each level that hold the number; Wilson's interval.
    """

    log_loss: Interval
    error: Interval
    calibration: Interval
    against: Interval | None
    covered: Mapping[float, Interval]


def pit_error(below: Floats) -> float:
    """Mean distance of the sorted P(number ≤ value) from the evenly spaced ones: about 0.31/√N where calibrated."""
    n = len(below)
    return float(np.abs(np.sort(below) - (np.arange(n) + 0.5) / n).mean())


def score_densities(
    laws: Mapping[str, Normals],
    truth: Float[Tensor, " N"],
    key: Key,
    baseline: str,
    levels: Sequence[float] = LEVELS,
    resamples: int = 2000,
) -> dict[str, DensityScores]:
    """Score several stated laws on the same numbers, by the same resamples of them.

    Args:
        laws: by name.
        truth: the numbers.
        key: of the resampling.
        baseline: whose log-loss the others' is compared with, number by number.
        levels: of the intervals that are counted.
        resamples: of the bootstrap over numbers.

    Raises:
        ConfigError: an unknown baseline.
        ShapeError: no number, or axes that do not fit.

    Test: by hand and in coverage in tests/unit/test_densities.py.
    """
    if baseline not in laws:
        raise ConfigError(f"no law {baseline!r} to compare with among: {', '.join(laws)}.")
    n = len(truth)
    if not n or any(len(law.mean) != n for law in laws.values()):
        raise ShapeError(f"{n} numbers, laws of {[len(law.mean) for law in laws.values()]}: as many, and at least one.")
    rng = key.generator()
    drawn = rng.integers(n, size=(resamples, n))
    even = rng.random((resamples, n))
    losses = {name: -law.log_density(truth).numpy() for name, law in laws.items()}
    out: dict[str, DensityScores] = {}
    for name, law in laws.items():
        square = (truth.double() - law.mean.mean(1)).square().numpy()
        below = law.below(truth).numpy()
        inside = {level: int((np.abs(below - 0.5) <= level / 2).sum()) for level in levels}
        out[name] = DensityScores(
            _resampled(losses[name], drawn, np.mean),
            _resampled(square, drawn, lambda x: float(np.sqrt(np.mean(x)))),
            _calibration(below, drawn, even),
            None if name == baseline else _resampled(losses[name] - losses[baseline], drawn, np.mean),
            {level: wilson(hits, n) for level, hits in inside.items()},
        )
    return out


def _resampled(values: Floats, drawn: NDArray[np.int64], of: Callable[[Floats], float]) -> Interval:
    """A statistic of the numbers, with the percentile interval expanded for few of them (intervals.tail_share)."""
    value, share = float(of(values)), tail_share(len(values), LEVEL)
    low, high = np.quantile([float(of(values[index])) for index in drawn], (share, 1 - share))
    return value, min(value, float(low)), max(value, float(high))


def _calibration(below: Floats, drawn: NDArray[np.int64], even: Floats) -> Interval:
    """`pit_error` with the basic bootstrap interval.

    A mean of absolute values grows with noise, in the resamples once more than in the data: what they exceed the value
    by is taken off. Where calibrated laws would often (1 in 20) show as much, the interval begins at 0.
    """
    value, share = pit_error(below), tail_share(len(below), LEVEL)
    low, high = np.quantile([pit_error(below[index]) for index in drawn], (share, 1 - share))
    noise = float(np.quantile([pit_error(row) for row in even], LEVEL))
    least = 0.0 if value <= noise else max(0.0, 2 * value - float(high))
    return value, min(value, least), max(value, min(0.5, 2 * value - float(low)))
