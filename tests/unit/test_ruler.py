"""The ruler on draws made by hand; against enumeration it is held in tests/statistical/test_ruler.py."""

import math

import pytest
import torch

from credence.core.keys import Key
from credence.study.ruler import Drawn, Ruler


def constant(log_lik: float, n: int = 4) -> Drawn:
    zeros = torch.zeros(1, n, dtype=torch.float64)
    return Drawn(zeros - 1, zeros - 1, zeros + log_lik, zeros.clone(), zeros + 1)


def test_no_gap_means_no_share_of_it() -> None:
    """Evidence that says nothing: the prior is the posterior, and 0/0 is left out, not invented."""
    found = Ruler(constant(0.5), 2).read(Key(0), resamples=10)
    assert found["prior/kl_reverse"].value == pytest.approx(0)
    assert "best_of_n/gap_closed" not in found


def test_impossible_draws_weigh_nothing() -> None:
    some = constant(0.0)
    some.log_lik[0, 0] = some.reward[0, 0] = -math.inf
    found = Ruler(some, 2).statistics(Ruler(some, 2).groups())
    assert found["log_z"] == pytest.approx(math.log(3 / 4))
    assert found["posterior/reward"] == 0
    assert found["posterior/kl_prior"] == pytest.approx(-math.log(3 / 4))
    assert found["prior/kl_reverse"] == math.inf
