"""Scores of stated densities by hand, and how often their intervals hold what they are about."""

import math

import pytest
import torch

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.diagnose.densities import Normals, pit_error, score_densities


def normal(mean: list[float], sd: float) -> Normals:
    column = torch.tensor(mean, dtype=torch.float64)[:, None]
    return Normals(column, torch.full_like(column, sd))


def test_by_hand() -> None:
    truth = torch.tensor([0.0, 2.0]).double()
    one, base = normal([0.0, 0.0], 1.0), normal([1.0, 1.0], 2.0)
    found = score_densities({"one": one, "base": base}, truth, Key(0), "base", resamples=50)
    half = 0.5 * math.log(2 * math.pi)
    assert found["one"].log_loss[0] == pytest.approx(half + (0 + 2.0) / 2)
    assert found["base"].log_loss[0] == pytest.approx(half + math.log(2) + 0.125)
    against = found["one"].against
    assert against is not None
    assert against[0] == pytest.approx(1.0 - math.log(2) - 0.125)
    assert found["base"].against is None
    assert found["one"].error[0] == pytest.approx(math.sqrt(2))
    assert found["one"].covered[0.5][0] == 0.5
    assert found["one"].covered[0.95][0] == 0.5  # 2 lies outside ±1.96
    assert pit_error(torch.tensor([0.25, 0.75]).double().numpy()) == 0.0
    assert pit_error(torch.tensor([1.0, 1.0]).double().numpy()) == 0.5


def test_a_mixture_is_the_mean_of_its_parts() -> None:
    both = Normals(torch.tensor([[0.0, 3.0]]).double(), torch.tensor([[1.0, 0.5]]).double())
    at = torch.tensor([1.0]).double()
    parts = [normal([m], s) for m, s in ((0.0, 1.0), (3.0, 0.5))]
    wanted = sum(float(p.log_density(at).exp()) for p in parts) / 2
    assert float(both.log_density(at).exp()) == pytest.approx(wanted)
    assert float(both.below(at)) == pytest.approx(sum(float(p.below(at)) for p in parts) / 2)


def test_the_right_law_is_calibrated_and_wrong_ones_are_not() -> None:
    # 400 numbers: Wilson's intervals of the right law hold their levels; an sd of half or of twice is off by 0.15 and
    # more at 50 %, six standard errors, and its calibration interval does not begin at 0.
    truth = torch.from_numpy(Key(3).generator().normal(size=400))
    laws = {name: normal([0.0] * 400, sd) for name, sd in (("right", 1.0), ("narrow", 0.5), ("wide", 2.0))}
    found = score_densities(laws, truth, Key(1), "right", resamples=200)
    for level, (value, low, high) in found["right"].covered.items():
        assert low <= level <= high, level
        assert found["narrow"].covered[level][0] < value < found["wide"].covered[level][0]
    assert abs(found["narrow"].covered[0.5][0] - 0.5) > 0.15
    assert found["right"].calibration[1] == 0.0
    assert min(found[name].calibration[1] for name in ("narrow", "wide")) > 0.03
    against = found["narrow"].against
    assert against is not None
    assert against[1] > 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="no law 'x'"):
        score_densities({"one": normal([0.0], 1.0)}, torch.zeros(1).double(), Key(0), "x")
    for mean, sd in ((math.nan, 1.0), (0.0, 0.0), (0.0, math.inf)):
        with pytest.raises(ContractError, match="not finite"):
            normal([mean], sd)
