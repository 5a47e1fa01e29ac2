"""With the optimal twist and the soft-optimal policy every weight is Z: SMC and its conditional form make no error."""

import pytest
import torch

from credence.core.keys import Key
from credence.core.types import Completions
from credence.diagnose.two_sided import two_sided
from credence.posterior.exact import Exact, as_completions, enumerate_posterior
from credence.sample.conditional_smc import sweep
from credence.sample.rejection import Rejection
from credence.sample.resample import SCHEMES, Scheme
from credence.sample.segments import EVERY_TOKEN, Segments
from credence.sample.smc import SMC
from credence.testing.statistics import copies
from tests.toys import OptimalTwist, soft_optimal_prior, toy_a, toy_prompts

SEGMENTS = [EVERY_TOKEN, Segments(most=2), Segments(frozenset({1}), 3)]


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


@pytest.mark.parametrize("segments", SEGMENTS, ids=["token", "two", "ones"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_log_z_has_no_error(exact: Exact, scheme: Scheme, segments: Segments) -> None:
    """Rejects a twist that reaches the end weight, an increment that is off by a factor, a twist of a stale prefix."""
    proposal = soft_optimal_prior(exact, toy_a().prior)
    smc = SMC(5, 3, 0.9, proposal, scheme, OptimalTwist(exact), segments)
    draws = smc.draw(Key(1), toy_a(), toy_prompts(), 4)
    assert float(draws.log_z[0]) == pytest.approx(exact.log_z, abs=1e-12)
    assert float(draws.info["log_z_island_sd"][0]) == pytest.approx(0, abs=1e-12)
    assert float(draws.info["resamplings"][0]) == 0
    # The paths need not be exact draws here: every path has the same weight.
    rows = as_completions([(2,), (0, 2)], frozenset({2}))
    path = Completions(rows.ids, rows.mask, rows.ended, torch.arange(2))
    found = sweep(Key(1), toy_a(), copies(toy_prompts(), 2), path, smc.rules())
    assert found.log_z.tolist() == pytest.approx([exact.log_z] * 2, abs=1e-12)


def test_both_bounds_meet(exact: Exact) -> None:
    smc = SMC(4, 2, 0.9, soft_optimal_prior(exact, toy_a().prior), twist=OptimalTwist(exact))
    draws = Rejection().draw(Key(1), toy_a(), toy_prompts(), 5)
    (found,) = two_sided(Key(2), toy_a(), toy_prompts(), draws, smc)
    assert found.high is not None
    assert [found.value, found.low, found.high] == pytest.approx([exact.log_z] * 3, abs=1e-12)
    assert found.finding().ok
