"""Scores of stated probabilities, by hand."""

import math

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.diagnose.scoring_rules import calibration_error, reliability, score_labels, wilson


def law(*p: float) -> torch.Tensor:
    return torch.tensor([[1 - x, x] for x in p], dtype=torch.float64).log()


def test_four_texts_by_hand() -> None:
    truth = torch.tensor([1, 0, 1, 0])
    stated = law(0.9, 0.4, 0.3, 0.2)
    found = score_labels({"a": stated, "b": law(0.5, 0.5, 0.5, 0.5)}, truth, Key(0), "b")
    a = found["a"]
    assert a.accuracy[0] == 0.75
    assert a.log_loss[0] == pytest.approx(-(math.log(0.9) + math.log(0.6) + math.log(0.3) + math.log(0.8)) / 4)
    assert a.brier[0] == pytest.approx(2 * (0.01 + 0.16 + 0.49 + 0.04) / 4)
    assert a.against is not None
    assert a.against[0] == pytest.approx(a.log_loss[0] - math.log(2))
    assert found["b"].against is None
    for value, low, high in (a.accuracy, a.log_loss, a.brier, a.ece, a.against):
        assert low <= value <= high


def test_calibration_error_by_hand_and_equal_statements_stay_together() -> None:
    # Two bins: stated .6, .6 of which one is right, and .9, .9 of which both are: ½|.5 − .6| + ½|1 − .9|.
    stated, truth = law(0.6, 0.6, 0.9, 0.9), torch.tensor([1, 0, 1, 1])
    assert calibration_error(stated, truth, 2) == pytest.approx(0.1)
    always = law(*[0.7] * 10)
    one_in_two = torch.tensor([1, 0] * 5)
    assert calibration_error(always, one_in_two) == pytest.approx(0.2)  # bins by rank alone would say 0.5
    assert [b.count for b in reliability(always, one_in_two)] == [10]
    assert sum(b.count for b in reliability(stated, truth)) == 4


def test_the_difference_is_taken_text_by_text() -> None:
    # Losses that differ by a constant: its interval is a point, which independent resamples would not give.
    rng = Key(3).generator()
    p = torch.from_numpy(rng.uniform(0.2, 0.8, 100))
    truth = torch.ones(100, dtype=torch.long)
    better = torch.stack([1 - 1.2 * p, 1.2 * p], 1).log()
    found = score_labels({"a": torch.stack([1 - p, p], 1).log(), "b": better}, truth, Key(0), "a")["b"].against
    assert found is not None
    assert found == pytest.approx((-math.log(1.2),) * 3)


def test_wilson_is_open_at_the_ends() -> None:
    assert wilson(10, 10) == pytest.approx((1.0, 0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10)[2] == pytest.approx(0.2775, abs=1e-4)


def test_what_it_refuses() -> None:
    truth = torch.tensor([0, 1])
    with pytest.raises(ConfigError, match="compare with"):
        score_labels({"a": law(0.5, 0.5)}, truth, Key(0), "b")
    with pytest.raises(ContractError, match="do not sum to 1"):
        score_labels({"a": torch.zeros(2, 2)}, truth, Key(0), "a")
    with pytest.raises(ContractError, match="NaN"):
        score_labels({"a": torch.full((2, 2), math.nan)}, truth, Key(0), "a")
    with pytest.raises(ShapeError, match="at least 1"):
        score_labels({"a": torch.zeros(0, 2)}, torch.zeros(0, dtype=torch.long), Key(0), "a")


def test_an_impossible_label_that_came_true_costs_infinitely() -> None:
    found = score_labels({"a": law(1.0, 0.5)}, torch.tensor([0, 1]), Key(0), "a")["a"]
    assert found.log_loss == (math.inf, math.inf, math.inf)
    assert math.isfinite(found.brier[0])
