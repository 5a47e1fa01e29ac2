import math
import time
from collections.abc import Callable, Sequence

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import log_mean_exp, normalise
from credence.diagnose.intervals import Group, bootstrap_all, student, tail_share


def bootstrap(
    statistic: Callable[[Sequence[Group]], float], groups: Sequence[Group], key: Key, resamples: int
) -> tuple[float, float, float]:
    return bootstrap_all(lambda found: {"": statistic(found)}, groups, key, resamples=resamples)[""]


def mean(groups: Sequence[Group]) -> float:
    """Mean over prompts of per-prompt means."""
    return sum(float(g["x"].mean()) for g in groups) / len(groups)


def pools(*rows: list[float]) -> list[Group]:
    return [{"x": torch.tensor(row, dtype=torch.float64)} for row in rows]


def test_coverage_with_eight_prompts() -> None:
    """1,000 data sets of 8 prompts × 12 draws: coverage of 95 % within the binomial 1e-6 band (4.9 sd: ±3.4 %).

    The data sets are columns of one pool, so that they share their 1,000 resamples. Rejects the plain percentile
    interval, which covers about 89 %.
    """
    rng, sets = Key(5).generator(), 1000
    values = rng.normal(size=(8, 1, sets)) + rng.normal(size=(8, 12, sets))
    groups: list[Group] = [{"x": torch.from_numpy(v)} for v in values]

    def means(found: Sequence[Group]) -> dict[str, float]:
        middle = torch.stack([g["x"].mean(0) for g in found]).mean(0)
        return {str(i): x for i, x in enumerate(middle.tolist())}

    hits = sum(low <= 0 <= high for _, low, high in bootstrap_all(means, groups, Key(1)).values())
    plain = 0
    for i in range(sets):
        middle = values[:, :, i].mean(1)[rng.integers(8, size=(200, 8))].mean(1)
        middle.sort()
        plain += middle[5] <= 0 <= middle[-6]
    assert abs(hits / sets - 0.95) < 4.9 * math.sqrt(0.95 * 0.05 / sets)
    assert plain / sets < 0.95 - 4.9 * math.sqrt(0.95 * 0.05 / sets)


def test_tail_share() -> None:
    """Student's quantile with 7 degrees is 2.364624: Φ(−√(8/7) · 2.364624) = .005737."""
    assert tail_share(8, 0.95) == pytest.approx(0.5 * math.erfc(math.sqrt(8 / 7) * 2.364624 / math.sqrt(2)), abs=1e-6)
    assert tail_share(1, 0.95) == pytest.approx(0.025)
    assert tail_share(100_000, 0.95) == pytest.approx(0.025, abs=1e-4)
    with pytest.raises(ConfigError):
        tail_share(8, 95.0)


def test_interval_of_constants_and_of_infinities() -> None:
    assert bootstrap(mean, pools([1.0] * 5, [1.0] * 3), Key(1), 400) == (1, 1, 1)
    value, low, high = bootstrap(mean, pools([1.0, math.inf], [1.0, 2.0]), Key(1), 400)
    assert (value, high) == (math.inf, math.inf)
    assert not math.isnan(low)
    with pytest.raises(ShapeError, match="empty"):
        bootstrap(lambda _: 0.0, pools([]), Key(1), 10)


def test_same_key_same_interval() -> None:
    rows = pools(*(Key(b).generator().normal(size=20).tolist() for b in range(4)))
    assert bootstrap(mean, rows, Key(3), 100) == bootstrap(mean, rows, Key(3), 100)
    assert bootstrap(mean, rows, Key(3), 100) != bootstrap(mean, rows, Key(4), 100)


def gap_closed(groups: list[Group]) -> float:
    """1 − mean KL(π‖p*)/mean KL(π0‖p*) from prior draws (log_lik) and policy draws (log_lik, log π/π0)."""
    reverse = base = 0.0
    for group in groups:
        lik = group["prior"][:, 0]
        log_z = log_mean_exp(lik)
        base += float(log_z - lik.mean())
        reverse += float(log_z - group["policy"][:, 0].mean() + group["policy"][:, 1].mean())
    return 1 - reverse / base


def gaussian_groups(seed: int, prompts: int = 8, n: int = 512) -> list[Group]:
    """Prior N(0, 1), log_lik = x, so the posterior is N(1, 1); the policy N(.7, 1) has closed 1 − .045/.5 = .91."""
    rng, out = Key(seed).generator(), []
    for _ in range(prompts):
        x = torch.from_numpy(rng.normal(size=n))
        y = torch.from_numpy(rng.normal(size=n)) + 0.7
        out.append({"prior": x[:, None], "policy": torch.stack([y, 0.7 * y - 0.245], 1)})
    return out


def test_bootstrap_of_a_ratio_is_fast_and_covers() -> None:
    """40 repetitions of 8 prompts × 64 draws: at least 29 intervals cover (false alarm 4e-7 at 95 %).

    Rejects the KL to the wrong end: 1 − KL(π‖π0)/KL(π0‖p*) = .51 is never inside.
    """
    start = time.process_time()
    value, low, high = bootstrap(gap_closed, gaussian_groups(1), Key(2), resamples=400)
    assert time.process_time() - start < 3
    assert low < 0.91 < high
    assert low < value < high
    hits = 0
    for seed in range(40):
        _, low, high = bootstrap(gap_closed, gaussian_groups(10 + seed, n=64), Key(seed), resamples=30)
        hits += low <= 0.91 <= high
    assert hits >= 29
    assert low > 0.51


def test_log_z_s_own_error_enters() -> None:
    """With the prior pool held fixed the interval of log Z is a point; resampled, it has the width of its error."""
    rows = torch.from_numpy(Key(1).generator().normal(size=400))

    def value(groups: list[Group]) -> float:
        return float(log_mean_exp(groups[0]["prior"]))

    _, low, high = bootstrap(value, [{"prior": rows}], Key(2), resamples=400)
    w = torch.exp(normalise(rows))
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(float((w**2).sum()) - 1 / 400), rel=0.25)


def test_a_resample_without_an_answer_widens() -> None:
    groups: list[Group] = [{"x": torch.tensor([0.0, 1.0])}]
    _, low, high = bootstrap(lambda g: float(g[0]["x"].mean() / g[0]["x"].mean()), groups, Key(1), resamples=100)
    assert (low, high) == (-math.inf, math.inf)
    with pytest.raises(ContractError, match="NaN"):
        bootstrap(lambda _: math.nan, groups, Key(1), 10)
    with pytest.raises(ShapeError):
        bootstrap(gap_closed, [], Key(1), 10)


def test_student() -> None:
    assert student(19, 0.95) == pytest.approx(2.093024, abs=1e-4)  # tables of Student's law
    assert student(1, 0.95) == pytest.approx(12.7062, abs=5e-3)
