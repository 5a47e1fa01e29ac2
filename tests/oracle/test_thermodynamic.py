"""log Z as an area, on exact means and variances along the path of TOY-A and of the second toy."""

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.posterior.exact import Exact, enumerate_posterior
from credence.sample.thermodynamic import Area, area, ladder
from tests.chain_kernels import tempered
from tests.toys import toy_a, toy_prompts


def exact_area(exact: Exact, rungs: int, power: float) -> Area:
    """The rule on exact moments."""
    at = ladder(rungs, power)
    laws = torch.stack([tempered(exact, lam) for lam in at])
    mean = laws @ exact.log_lik
    return area(at, mean, laws @ exact.log_lik**2 - mean**2)


def test_the_area_is_log_z_and_the_ends_of_intervals_bound_it() -> None:
    """Error O(Δ⁴): halving the intervals gains about 16; the plain trapezium would gain 4. The bounds always hold."""
    for beta in (0.5, 0.1):
        exact = enumerate_posterior(toy_a(beta), toy_prompts())
        errors = []
        for rungs in (9, 17, 33):
            found = exact_area(exact, rungs, 1.0)
            assert float(found.low) < exact.log_z < float(found.high)
            errors.append(abs(float(found.value) - exact.log_z))
        assert errors[2] < 1e-5
        assert 12 < errors[1] / errors[2] < 20
    few = exact_area(enumerate_posterior(toy_a(), toy_prompts()), 6, 2.0)  # the engine's default
    assert float(few.value) == pytest.approx(0.8520967561, abs=2e-3)


def test_ladders() -> None:
    assert ladder(2, 3.0) == (0.0, 1.0)
    assert ladder(5, 2.0) == (0.0, 1 / 16, 1 / 4, 9 / 16, 1.0)
    for rungs, power in ((1, 1.0), (4, 0.0), (4, float("inf"))):
        with pytest.raises(ConfigError, match="two ends"):
            ladder(rungs, power)
    with pytest.raises(ShapeError, match="3 positions"):
        area(ladder(3, 1.0), torch.zeros(2), torch.zeros(2))
