import math

import pytest
import torch

from credence.core.logspace import entropy, ess, kl, log_mean_exp, normalise

INF = math.inf


def double(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def test_log_mean_exp() -> None:
    assert float(log_mean_exp(double(0, math.log(3)))) == pytest.approx(math.log(2))
    assert float(log_mean_exp(double(1000, 1000))) == 1000
    assert float(log_mean_exp(double(-INF, -INF))) == -INF
    assert log_mean_exp(torch.zeros(2, 5), 0).shape == (5,)


def test_normalise_keeps_the_impossible_impossible() -> None:
    assert torch.exp(normalise(double(-INF, 5, 5))).tolist() == pytest.approx([0, 0.5, 0.5])
    assert normalise(double(-INF, -INF)).tolist() == [-INF, -INF]


def test_ess() -> None:
    assert float(ess(double(2, 2, 2, 2))) == pytest.approx(4)
    assert float(ess(double(0, -INF, -INF))) == pytest.approx(1)
    assert float(ess(double(math.log(3), 0))) == pytest.approx(16 / 10)
    assert float(ess(double(-INF, -INF))) == 0
    assert ess(torch.zeros(3, 5)).tolist() == pytest.approx([5, 5, 5])


def test_kl_by_hand_and_in_formula_order() -> None:
    q, p = double(0.5, 0.5).log(), double(0.25, 0.75).log()
    assert float(kl(q, p)) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert float(kl(p, q)) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


@pytest.mark.parametrize(
    ("q", "p", "wanted"),
    [
        ((0, -INF), (0, -INF), 0),
        ((0, -INF), (-INF, 0), INF),
        ((math.log(0.5), math.log(0.5)), (0, -INF), INF),
        ((0, -INF), (math.log(0.5), math.log(0.5)), math.log(2)),
        ((0, -800.0), (0, -INF), INF),  # underflows to 0 · inf
        ((0, -800.0), (0, -900.0), 0),
    ],
)
def test_kl_at_the_edges_is_never_nan(q: tuple, p: tuple, wanted: float) -> None:
    assert float(kl(double(*q), double(*p))) == pytest.approx(wanted)


def test_entropy() -> None:
    assert float(entropy(double(0, -INF))) == 0
    assert float(entropy(double(0.25, 0.25, 0.25, 0.25).log())) == pytest.approx(math.log(4))
