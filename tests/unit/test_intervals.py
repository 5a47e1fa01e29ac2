import math
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
        bootstrap(lambda _: 0.0, [], Key(1), 10)


def test_student() -> None:
    assert student(19, 0.95) == pytest.approx(2.093024, abs=1e-4)  # tables of Student's law
    assert student(1, 0.95) == pytest.approx(12.7062, abs=5e-3)
