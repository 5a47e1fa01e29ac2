"""Ranks, bands and coverage on hand-made numbers; what cannot be calibrated is refused."""

import math

import pytest
import torch
from scipy import stats

from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.diagnose.calibration import binomial_band, calibration, coverage, log_z_coverage, ranks, sbc
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from tests.toys import toy_a, toy_prior, toy_prompts, toy_two, two_prompts


def test_ranks_count_what_lies_below_and_break_ties_at_random() -> None:
    draws = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    assert int(ranks(torch.tensor([1.5, 9.0]), draws, Key(0))[0]) == 2
    assert int(ranks(torch.tensor([1.5, 9.0]), draws, Key(0))[1]) == 3
    tied = ranks(torch.zeros(4000), torch.zeros(4000, 3), Key(1))
    assert calibration(tied, 3).p > 1e-6  # uniform on 0..3
    with pytest.raises(ShapeError, match="are needed"):
        ranks(torch.zeros(3), torch.zeros(4, 2), Key(0))


def test_chi_square_of_ranks() -> None:
    found = calibration(torch.tensor([0] * 30 + [1] * 50 + [2] * 40), 2)
    assert found.counts == (30, 50, 40)
    assert found.chi_square == pytest.approx(5)
    assert found.p == pytest.approx(math.exp(-2.5))
    assert found.finding().ok
    narrow = calibration(torch.tensor([0] * 200 + [1] * 20 + [2] * 200), 2).finding()
    assert not narrow.ok
    assert "not uniform" in narrow.meaning
    with pytest.raises(ShapeError, match="at least 50"):
        calibration(torch.zeros(49, dtype=torch.long), 9)


@pytest.mark.parametrize(("runs", "level"), [(1, 0.95), (40, 0.95), (500, 0.8), (2000, 0.5)])
def test_the_band_is_scipy_s(runs: int, level: float) -> None:
    least, most = binomial_band(runs, level)
    assert least == int(stats.binom.ppf(0.005, runs, level))
    assert most == int(stats.binom.isf(0.005, runs, level))


def test_coverage_says_on_which_side_it_fails() -> None:
    truth, ones = torch.zeros(200), torch.ones(200)
    assert not coverage(-ones, ones, truth, 0.95).ok  # 200 of 200 are too many
    assert "wider" in coverage(-ones, ones, truth, 0.95).meaning
    low = torch.where(torch.arange(200) < 190, -1.0, 0.5)
    found = coverage(low, ones, truth, 0.95)
    assert (found.value, found.ok) == (0.95, True)
    assert "too rarely" in coverage(torch.where(torch.arange(200) < 170, -1.0, 0.5), ones, truth, 0.95).meaning
    with pytest.raises(ContractError, match="NaN"):
        coverage(-ones * math.nan, ones, truth, 0.95)
    with pytest.raises(ShapeError, match="same axis"):
        coverage(ones[:3], ones, truth, 0.95)
    with pytest.raises(ConfigError, match="level=1"):
        binomial_band(10, 1.0)


def test_what_cannot_be_calibrated_is_refused() -> None:
    def half(text: tuple[int, ...]) -> list[float]:
        return [math.log(0.5), math.log(0.4)]

    def sure(text: tuple[int, ...]) -> list[float]:
        return [math.log(0.5), math.log(0.5)]

    prior, rest = toy_prior(), (Rejection(most=1), len, Key(0))
    with pytest.raises(ContractError, match="must be a law"):
        sbc(prior, toy_prompts(), half, *rest, runs=60)
    with pytest.raises(DegeneracyError, match="of 9 draws in some run"):
        sbc(prior, toy_prompts(), sure, *rest, runs=60)
    with pytest.raises(ShapeError, match="2 prompts"):
        sbc(toy_two().prior, two_prompts(), sure, *rest)
    with pytest.raises(ContractError, match="gave no standard error"):
        log_z_coverage(SMC(8, 1), toy_a(), toy_prompts(), Key(0), 10)
