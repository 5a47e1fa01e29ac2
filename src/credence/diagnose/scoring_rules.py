"""How good stated probabilities of labels are: accuracy, log-loss, Brier score, calibration error, with intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import normalise
from credence.diagnose.intervals import tail_share

BINS = 10
"""Bins of equal mass of the calibration error."""
Z = 1.959963984540054
"""Normal quantile of a 95 % interval."""
LEVEL = 0.95

Interval = tuple[float, float, float]
"""A value, and the ends of its 95 % interval."""


@dataclass(frozen=True)
class LabelScores:
    """What a classifier's probabilities are worth on N texts; each a value with its 95 % interval over texts.

    Attributes:
        accuracy: share of texts whose likeliest label is the true one; Wilson's interval, honest at 0 and 1 too.
        log_loss: mean −log p(true label), nats.
        brier: mean Σ_k (p_k − 1[k true])², from 0 to 2.
        ece: expected calibration error of the likeliest label's probability, from 0 to 1; see `calibration_error`.
        against: mean log-loss minus that of the baseline on the same texts, nats: below 0 is better; None of the
            baseline itself.
    """

    accuracy: Interval
    log_loss: Interval
    brier: Interval
    ece: Interval
    against: Interval | None


@dataclass(frozen=True)
class Bin:
    """Texts of about the same stated probability: its mean, how often the label was right (Wilson's interval)."""

    stated: float
    right: Interval
    count: int


def wilson(hits: int, count: int) -> Interval:
    """A share and its 95 % score interval (Wilson 1927). Coverage: tests/statistical/test_scoring_rules.py."""
    if count < 1 or not 0 <= hits <= count:
        raise ShapeError(f"{hits} of {count}: a share of at least one case is needed.")
    share, square = hits / count, Z * Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def score_labels(
    log_p: Mapping[str, Float[Tensor, "N K"]],
    truth: Int[Tensor, " N"],
    key: Key,
    baseline: str,
    resamples: int = 2000,
    bins: int = BINS,
) -> dict[str, LabelScores]:
    """Score several classifiers on the same texts, by the same resamples of them.

    Args:
        log_p: by classifier, normalised nats of K labels.
        truth: index of each text's label.
        key: of the resampling.
        baseline: whose log-loss the others' is compared with, text by text.
        resamples: of the bootstrap over texts.
        bins: of the calibration error.

    Raises:
        ConfigError: an unknown baseline.
        ShapeError: no text, or axes that do not fit.
        ContractError: a NaN, or probabilities that do not sum to one.

    Cost: one matrix product a classifier, resamples × N × bins. Test: by hand in tests/unit/test_scoring_rules.py,
    bounds in tests/property/test_scoring_rules.py, coverage in tests/statistical/test_scoring_rules.py.
    """
    if baseline not in log_p:
        raise ConfigError(f"no classifier {baseline!r} to compare with among: {', '.join(log_p)}.")
    laws = {name: _checked(name, law, truth) for name, law in log_p.items()}
    n = len(truth)
    rng = key.generator()
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)
    uniform = rng.random((resamples, n))
    losses = {name: _losses(law, truth) for name, law in laws.items()}
    out: dict[str, LabelScores] = {}
    for name, law in laws.items():
        right = (law.argmax(1) == truth).numpy()
        given = law.exp().clone()
        given[torch.arange(n), truth] -= 1
        paired = None if name == baseline else _mean(losses[name] - losses[baseline], counts)
        out[name] = LabelScores(
            wilson(int(right.sum()), n),
            _mean(losses[name], counts),
            _mean(given.square().sum(1).numpy(), counts),
            _calibration(law, truth, counts, uniform, bins),
            paired,
        )
    return out


def calibration_error(log_p: Float[Tensor, "N K"], truth: Int[Tensor, " N"], bins: int = BINS) -> float:
    """ECE: Σ_b (n_b/N) |accuracy_b − mean stated probability_b| of the likeliest label, over bins of equal mass.

    Texts of one stated probability are never parted, so a classifier that always says the same has one bin. Biased
    upwards, by at most about √(bins / (2πN)): 0.07 of a calibrated one on 300 texts.
    """
    stated, right, place = _binned(log_p, truth, bins)
    gap = np.bincount(place, weights=right - stated, minlength=bins)
    return float(np.abs(gap).sum() / len(stated))


def reliability(log_p: Float[Tensor, "N K"], truth: Int[Tensor, " N"], bins: int = BINS) -> tuple[Bin, ...]:
    """The points of a reliability diagram, least sure first; empty bins are left out."""
    stated, right, place = _binned(log_p, truth, bins)
    out: list[Bin] = []
    for b in range(bins):
        here = place == b
        if here.any():
            out.append(
                Bin(float(stated[here].mean()), wilson(int(right[here].sum()), int(here.sum())), int(here.sum()))
            )
    return tuple(out)


def _checked(name: str, law: Tensor, truth: Tensor) -> Float[Tensor, "N K"]:
    if law.ndim != 2 or truth.shape != law.shape[:1] or not len(truth):
        raise ShapeError(
            f"{name}: log_p {tuple(law.shape)} and truth {tuple(truth.shape)}: (N, K) and (N,) with N of at least 1 "
            "are needed."
        )
    values = law.detach().to("cpu", torch.float64)
    if bool((torch.isnan(values) | torch.isposinf(values)).any()):
        raise ContractError(f"{name}: log_p holds a NaN or +inf.")
    if float(torch.logsumexp(values, 1).abs().max()) > 1e-5:
        raise ContractError(f"{name}: the probabilities of a text's labels do not sum to 1. Normalise them first.")
    return normalise(values)


def _losses(law: Tensor, truth: Tensor) -> NDArray[np.float64]:
    return -law[torch.arange(len(truth)), truth].numpy()


def _mean(values: NDArray[np.float64], counts: NDArray[np.float64]) -> Interval:
    """Mean over texts, with the percentile interval expanded for few texts (diagnose.intervals.tail_share)."""
    value = float(values.mean())
    if not np.isfinite(values).all():  # a label that was called impossible came true
        return value, value, value
    low, high = _ends(counts @ values / len(values), len(values))
    return value, min(value, low), max(value, high)


def _ends(found: NDArray[np.float64], texts: int) -> tuple[float, float]:
    share = tail_share(texts, LEVEL)
    low, high = np.quantile(found, (share, 1 - share))
    return float(low), float(high)


def _binned(
    log_p: Tensor, truth: Tensor, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Stated probability of the likeliest label, whether it was right, and the bin of each text."""
    top, label = log_p.double().max(1)
    stated, right = top.exp().numpy(), (label == truth).double().numpy()
    edges = np.quantile(stated, np.arange(1, bins) / bins)
    return stated, right, np.searchsorted(edges, stated, side="left").astype(np.int64)


def _calibration(
    law: Tensor, truth: Tensor, counts: NDArray[np.float64], uniform: NDArray[np.float64], bins: int
) -> Interval:
    """ECE with the basic bootstrap interval over texts, bins held fixed.

    A sum of absolute values grows with noise, in the resamples once more than in the data: so what the resamples
    exceed the value by is taken off (2·value − quantile) instead of read as it stands. Where a calibrated classifier
    that states the same probabilities would often (1 in 20) show as much, the interval begins at 0.
    """
    stated, right, place = _binned(law, truth, bins)
    n, inside = len(stated), np.eye(bins)[place]

    def errors(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(gaps @ inside).sum(-1) / n

    value = float(errors((right - stated)[None])[0])
    low, high = _ends(errors(counts * (right - stated)), n)
    noise = float(np.quantile(errors((uniform < stated) - stated), LEVEL))
    least = 0.0 if value <= noise else max(0.0, 2 * value - high)
    return value, min(value, least), max(value, min(1.0, 2 * value - low))
