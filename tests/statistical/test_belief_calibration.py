"""Beliefs are calibrated: simulation-based calibration and coverage, and the double counting that both must reject."""

import math

import pytest
import torch
from scipy import stats

from credence.belief.belief import Belief
from credence.core.keys import Key
from credence.diagnose.calibration import ALARM, Calibration, calibration, ranks

COINS = (0.05, 0.2, 0.35, 0.45, 0.6, 0.7, 0.85, 0.95)
PRIOR = torch.tensor([0.05, 0.2, 0.1, 0.25, 0.05, 0.15, 0.15, 0.05], dtype=torch.float64)
FLIPS, RUNS, DRAWS = 6, 5000, 9


def beliefs(count_twice: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """RUNS true coins drawn from the prior, and the beliefs (RUNS, K) after their flips."""
    rng = Key(11).fold("sbc").generator()
    truth = rng.choice(len(COINS), RUNS, p=PRIOR.numpy())
    heads = rng.binomial(FLIPS, torch.tensor(COINS).numpy()[truth])
    start = Belief(tuple(map(str, COINS)), PRIOR.log())
    memo: dict[int, torch.Tensor] = {}
    for h in range(FLIPS + 1):
        flips = [1] * h + [0] * (FLIPS - h)
        belief = start.update(torch.tensor([[math.log(c if up else 1 - c) for c in COINS] for up in flips]))
        if count_twice:
            belief = belief.update(torch.tensor([[math.log(c if up else 1 - c) for c in COINS] for up in flips]))
        memo[h] = belief.log_p.exp()
    return torch.from_numpy(truth), torch.stack([memo[int(h)] for h in heads])


def ranked(count_twice: bool) -> Calibration:
    """The rank of the true coin among DRAWS posterior draws, ties broken at random."""
    truth, p = beliefs(count_twice)
    rng = Key(12).fold("ranks").generator()
    coins = torch.tensor(COINS, dtype=torch.float64)
    cumulative = p.cumsum(1)
    drawn = torch.searchsorted(cumulative, torch.from_numpy(rng.random((RUNS, DRAWS))) * cumulative[:, -1:])
    values = coins[drawn.clamp(max=len(COINS) - 1)]
    return calibration(ranks(coins[truth], values, Key(12).fold("ties")), DRAWS)


def coverage(count_twice: bool) -> tuple[float, float]:
    """How often the smallest set of at least 80 % belief holds the truth; and the mean of its stated probability."""
    truth, p = beliefs(count_twice)
    order = torch.sort(p, dim=1, descending=True, stable=True).indices
    mass = p.gather(1, order).cumsum(1)
    size = (mass < 0.8 - 1e-12).sum(1)  # the last one taken
    place = (order == truth[:, None]).int().argmax(1)
    return float((place <= size).double().mean()), float(mass.gather(1, size[:, None]).mean())


# 5,000 runs, 10 ranks, chi-square with 9 degrees of freedom, false-alarm rate 1e-6 (critical value 44.8), seed fixed.
# Power: rejects the likelihood counted twice at chi-square of about 300, the next test.


def test_ranks_of_the_truth_are_uniform() -> None:
    assert ranked(count_twice=False).p > ALARM


@pytest.mark.parametrize("kind", ["ranks", "coverage"])
def test_the_likelihood_counted_twice_is_rejected(kind: str) -> None:
    """The mutant: evidence used again, as when a reference moves while the old evidence stays (SCIENCE 1.2, 6.3)."""
    if kind == "ranks":
        assert ranked(count_twice=True).p < ALARM
    else:
        hit, stated = coverage(count_twice=True)
        assert abs(hit - stated) > limit(stated)


def limit(stated: float) -> float:
    """Largest |hits − stated| at a false-alarm rate of 1e-6, normal approximation of 5,000 hits."""
    return float(stats.norm.isf(ALARM / 2)) * math.sqrt(stated * (1 - stated) / RUNS)


def test_credible_sets_hold_the_truth_as_often_as_they_say() -> None:
    # 5,000 sets, |hits − stated| < 4.9 standard errors: false-alarm rate 1e-6. The mutant above misses by 28 of them.
    hit, stated = coverage(count_twice=False)
    assert abs(hit - stated) < limit(stated)
