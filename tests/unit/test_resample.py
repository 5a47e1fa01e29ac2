"""Resampling schemes and the arithmetic of weights, on hand-made numbers."""

import math

import pytest
import torch

from credence.core.errors import DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.sample.importance import log_sum_exp_by, log_z_from
from credence.sample.resample import SCHEMES, Scheme, lots, resample, residual, stratified, systematic
from tests.statistical.resample_checks import SHARE

WEIGHTS = torch.tensor([0.05, 0.4, 0.0, 0.25, 0.3], dtype=torch.float64)


def test_each_particle_is_taken_its_share_on_average() -> None:
    """The mean count over a fine grid of u is n w̄; resampling the largest n times, or rounding, is not."""
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for n in (1, 3, 5, 8):
        index = systematic(torch.log(WEIGHTS).expand(len(grid), -1), grid, n)
        counts = torch.nn.functional.one_hot(index, len(WEIGHTS)).sum(1).double()
        assert torch.allclose(counts.mean(0), n * WEIGHTS, atol=1.01e-4 * n, rtol=0)
        assert bool((counts >= torch.floor(n * WEIGHTS - 1e-9)).all())
        assert bool((counts <= torch.ceil(n * WEIGHTS + 1e-9)).all())


def test_scale_of_the_weights_does_not_matter() -> None:
    u = torch.tensor([0.3], dtype=torch.float64)
    for shift in (-2000.0, 0.0, 2000.0):
        assert systematic(torch.log(WEIGHTS)[None] + shift, u).tolist() == [[1, 1, 3, 3, 4]]


@pytest.mark.parametrize("u", [1e-17, 0.5, 1 - 1e-16])
def test_impossible_particles_are_never_taken(u: float) -> None:
    log_w = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf], dtype=torch.float64)
    assert set(systematic(log_w, torch.tensor(u, dtype=torch.float64), 7).tolist()) == {1, 3}


def test_groups_do_not_mix() -> None:
    log_w = torch.log(torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    assert systematic(log_w, torch.tensor([0.2, 0.9], dtype=torch.float64)).tolist() == [[0, 0], [1, 1]]


def test_what_cannot_be_resampled_is_refused() -> None:
    dead = torch.full((1, 3), -math.inf, dtype=torch.float64)
    with pytest.raises(DegeneracyError, match="no possible member"):
        systematic(dead, torch.tensor([0.5], dtype=torch.float64))
    with pytest.raises(ShapeError, match="n=0"):
        systematic(torch.zeros(3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64), 0)


def test_log_z_its_error_and_ess_of_a_ragged_sample() -> None:
    """Against the plain mean, sd/(mean √n) and (Σw)²/Σw²; ddof 0 in the sd would be rejected."""
    first = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=torch.float64)
    log_w = torch.cat([torch.log(first[:2]), torch.tensor([-math.inf, 3.0]), torch.log(first[2:])]).double()
    group = torch.tensor([0, 0, 1, 2, 0, 0])
    log_z, se, ess = log_z_from(log_w, group, 4)
    assert float(log_z[0]) == pytest.approx(math.log(float(first.mean())), abs=1e-14)
    assert float(se[0]) == pytest.approx(float(first.std() / first.mean() / 2), abs=1e-14)
    assert float(ess[0]) == pytest.approx(float(first.sum() ** 2 / (first**2).sum()), abs=1e-13)
    assert log_z[1:3].tolist() == [-math.inf, 3.0]
    assert math.isnan(log_z[3])
    assert bool(torch.isnan(se[1:]).all())
    assert ess[1:].tolist() == [0.0, 1.0, 0.0]


def test_log_sum_exp_by_survives_large_numbers() -> None:
    out = log_sum_exp_by(torch.tensor([2000.0, 2000.0, -2000.0], dtype=torch.float64), torch.tensor([1, 1, 0]), 2)
    assert out.tolist() == pytest.approx([-2000.0, 2000.0 + math.log(2)], abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_scheme_takes_each_particle_its_share_on_average(scheme: Scheme, seed: int) -> None:
    """Exactly, by a grid of uniforms; what it rejects: tests/mutants/test_resample_mutants.py."""
    SHARE[scheme](seed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_group_s_lots_do_not_depend_on_the_batch(scheme: Scheme) -> None:
    whole = lots(scheme, Key(3), 5, 4, 7)
    assert whole.shape == (5, 1 if scheme == "systematic" else 4)
    assert torch.equal(torch.cat([lots(scheme, Key(3), 2, 4, 7), lots(scheme, Key(3), 3, 4, 7, first=2)]), whole)
    assert len(whole.unique()) == whole.numel()
    assert not torch.equal(lots(scheme, Key(3), 5, 4, 8), whole)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_leaves_out_what_is_impossible(scheme: Scheme) -> None:
    log_w = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0], [0.0, -math.inf, -math.inf, -math.inf]]).double()
    index = resample(scheme, log_w, lots(scheme, Key(1), 2, 4, 0))
    assert set(index[0].tolist()) <= {1, 3}
    assert index[1].tolist() == [0, 0, 0, 0]
    with pytest.raises(DegeneracyError, match="no possible member"):
        resample(scheme, torch.full((1, 3), -math.inf, dtype=torch.float64), lots(scheme, Key(1), 1, 3, 0))


def test_residual_copies_for_certain_what_is_due_for_certain() -> None:
    log_w = torch.log(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64))
    for u in (0.01, 0.5, 0.99):
        index = residual(log_w.expand(1, -1), torch.full((1, 5), u, dtype=torch.float64))
        assert index[0, :4].tolist() == [0, 0, 1, 2]
        assert int(index[0, 4]) in (0, 1)
    whole = residual(torch.zeros(1, 4, dtype=torch.float64), torch.full((1, 4), 0.7, dtype=torch.float64))
    assert whole.tolist() == [[0, 1, 2, 3]]


def test_too_few_uniforms_are_refused() -> None:
    with pytest.raises(ShapeError, match="one uniform a group"):
        resample("systematic", torch.zeros(2, 3, dtype=torch.float64), torch.full((2, 3), 0.5, dtype=torch.float64))
    with pytest.raises(ShapeError, match="n uniforms"):
        stratified(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.float64))
