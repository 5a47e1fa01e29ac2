"""The power of a likelihood: against a grid, against the truth, at its edges."""

import math

import pytest
import torch

from credence.belief.temper import fit_tau, fit_weights, log_loss
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import normalise

PRIOR = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64).log()


def cases(n: int, power: float) -> tuple[torch.Tensor, torch.Tensor]:
    """n cases whose truth follows p ∝ prior · L^power: an overconfident likelihood where power is below 1."""
    rng = Key(3).fold("cases").generator()
    nats = torch.from_numpy(rng.normal(0, 3, (n, 4)))
    law = torch.exp(normalise(PRIOR + power * nats))
    truth = torch.searchsorted(law.cumsum(1), torch.from_numpy(rng.random((n, 1)))).squeeze(1).clamp(max=3)
    return nats, truth


def loss(tau: float, nats: torch.Tensor, truth: torch.Tensor) -> float:
    return float(log_loss(normalise(PRIOR + tau * nats), truth).mean())


def test_the_fit_is_the_grids_minimum_and_near_the_true_power() -> None:
    nats, truth = cases(4000, 0.3)
    tau = fit_tau(nats, truth, PRIOR)
    grid = min((0.01 * i for i in range(1, 200)), key=lambda t: loss(t, nats, truth))
    assert tau == pytest.approx(grid, abs=0.006)
    assert tau == pytest.approx(0.3, abs=0.03)
    assert loss(tau, nats, truth) < loss(1.0, nats, truth) - 0.3


def test_several_weights_at_once() -> None:
    nats, truth = cases(4000, 0.3)
    noise = torch.from_numpy(Key(5).generator().normal(0, 1, nats.shape))
    w = fit_weights(torch.stack([nats, noise], 2), truth, PRIOR)
    assert w[0] == pytest.approx(0.3, abs=0.03)
    assert abs(float(w[1])) < 0.1


def test_separable_cases_and_useless_ones_stay_finite() -> None:
    nats = torch.tensor([[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]])
    assert 1 < fit_tau(nats, torch.tensor([0, 1, 2]), PRIOR) < 100
    assert fit_tau(nats, torch.tensor([1, 2, 0]), PRIOR) == 1e-6  # says the opposite of the truth
    assert fit_tau(torch.zeros(3, 4), torch.tensor([0, 1, 2]), PRIOR) == 1e-6


def test_what_it_refuses() -> None:
    with pytest.raises(ContractError, match="finite"):
        fit_tau(torch.tensor([[0.0, -math.inf, 0, 0]]), torch.tensor([0]), PRIOR)
    with pytest.raises(ShapeError, match="N of at least 1"):
        fit_tau(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), PRIOR)
    with pytest.raises(ConfigError, match="probability 0"):
        fit_tau(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([0.0, -math.inf]))
