import math

import pytest
import torch

from credence.core.errors import ContractError, ShapeError
from credence.core.keys import Key
from credence.diagnose.weights import pareto_k, pareto_threshold, weight_findings


def exponential(theta: float, seed: int, n: int = 10_000) -> torch.Tensor:
    """Log weights of Exp(θ) under draws from Exp(1): the true tail shape is 1 − θ."""
    x = torch.from_numpy(Key(seed).generator().exponential(size=n))
    return math.log(theta) + (1 - theta) * x


@pytest.mark.parametrize(("theta", "k"), [(0.9, 0.13), (0.7, 0.31), (0.5, 0.51), (0.3, 0.66), (0.1, 0.93)])
def test_pareto_k_in_closed_form(theta: float, k: float) -> None:
    """Mean of 20 fits of 10,000 draws, within the ±.08 of the science notes.

    One fit has a standard deviation near .06, so the mean's is near .014: ±.08 is over 5 of them, false alarm < 1e-6.
    Rejects: the sign of k flipped, the tail fitted without its cut subtracted, weights left as logarithms.
    """
    mean = sum(pareto_k(exponential(theta, seed)) for seed in range(20)) / 20
    assert mean == pytest.approx(k, abs=0.08)


def test_pareto_k_does_not_see_the_scale_or_the_order() -> None:
    log_w = exponential(0.5, 3)
    assert pareto_k(log_w + 500) == pytest.approx(pareto_k(log_w), abs=1e-9)
    assert pareto_k(log_w.flip(0)) == pareto_k(log_w)


def test_pareto_k_without_a_tail_to_fit() -> None:
    assert pareto_k(torch.full((100,), 3.0)) == -math.inf  # constant: bounded
    assert pareto_k(torch.full((100,), -math.inf)) == math.inf  # all zero
    assert pareto_k(torch.randn(15, generator=torch.Generator().manual_seed(1))) == math.inf  # 3 tail draws
    few = torch.zeros(1000)
    few[:4] = 20.0  # four draws hold all the weight: no tail can be judged, and surely none is trusted
    assert pareto_k(few) == math.inf
    few[:400] = 20.0
    assert pareto_k(few) == -math.inf


def test_pareto_k_of_ties_is_a_number() -> None:
    steps = torch.tensor([0.0] * 900 + [1.0] * 30 + [2.0] * 20)
    assert math.isfinite(pareto_k(steps))
    assert pareto_k(steps) < 0.7


def test_what_no_weight_can_be() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ContractError, match="NaN or"):
            pareto_k(torch.tensor([0.0, bad]))
    with pytest.raises(ShapeError, match="at least one draw"):
        pareto_k(torch.zeros(0))


def test_threshold() -> None:
    assert pareto_threshold(256) == pytest.approx(1 - 1 / math.log10(256))
    assert pareto_threshold(10_000) == 0.7
    assert pareto_threshold(1) == -math.inf


def test_findings_of_good_and_of_bad_weights() -> None:
    good = weight_findings(0.3 * torch.from_numpy(Key(1).generator().normal(size=1000)))
    assert [f.name for f in good] == ["ess", "pareto_k", "max_weight"]
    assert all(f.ok for f in good)
    bad = weight_findings(exponential(0.1, 1, 500))
    assert not any(f.ok for f in bad)
    none = weight_findings(torch.full((50,), -math.inf))
    assert not any(f.ok for f in none)
    assert all(not math.isnan(f.value) and f.meaning.endswith(".") for f in (*good, *bad, *none))
    assert "no draw carries weight" in none[0].meaning


def test_ess_alone_is_not_believed() -> None:
    """A missed mode found once: 499 equal weights and one that holds a third: ESS over 4, one draw decides."""
    log_w = torch.zeros(500)
    log_w[7] = math.log(250)
    by_name = {f.name: f for f in weight_findings(log_w)}
    assert by_name["max_weight"].value == pytest.approx(250 / 749)
    assert not by_name["max_weight"].ok
