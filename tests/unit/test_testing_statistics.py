import math

import pytest
import torch
from scipy import stats

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.diagnose.calibration import chi_square_tail
from credence.posterior.exact import enumerate_posterior
from credence.sample.importance import Importance
from credence.testing import random_language, random_posterior, random_reward, toy_a, toy_prompts
from credence.testing.statistics import p_counts, p_law


@pytest.mark.parametrize(("value", "degrees"), [(0.0, 1), (3.2, 1), (40.0, 9), (75.0, 9), (12.0, 30), (300.0, 200)])
def test_the_tail_of_chi_square_is_scipy_s(value: float, degrees: int) -> None:
    assert chi_square_tail(value, degrees) == pytest.approx(float(stats.chi2.sf(value, degrees)), rel=1e-9)


def test_counts_are_pooled_below_twenty() -> None:
    observed, expected = torch.tensor([60.0, 25.0, 9.0, 6.0]), torch.tensor([50.0, 30.0, 15.0, 5.0])
    chi = 100 / 50 + 25 / 30 + 25 / 20
    assert p_counts(observed, expected) == pytest.approx(float(stats.chi2.sf(chi, 2)), rel=1e-6)
    small = torch.tensor([50.0, 41.0, 9.0])  # the rest expects 9: joined to the smallest cell that is kept
    assert p_counts(small, torch.tensor([50.0, 41.0, 9.0])) == 1
    assert p_counts(torch.tensor([99.0, 1.0]), torch.tensor([100.0, 0.0])) == 0  # an impossible cell was hit
    assert p_counts(torch.tensor([7.0]), torch.tensor([7.0])) == 1


def test_few_draws_are_refused() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    with pytest.raises(ConfigError, match="fewer than 500"):
        p_law(Importance().draw(Key(0), toy_a(), toy_prompts(), 499), exact, exact.log_prior)


def test_random_languages_are_their_seed_s() -> None:
    prompts = random_language().codec.prompts([()])
    first, again, other = (enumerate_posterior(random_posterior(s), prompts) for s in (1, 1, 2))
    assert torch.equal(first.log_p, again.log_p)
    assert not torch.equal(first.log_p, other.log_p)
    assert float(first.log_lik.max()) <= random_posterior(1).evidence.max_log_lik  # pyright: ignore
    holes = random_language(4, 3, 5, holes=True, ends=(3,))
    step = holes.logits(())
    assert math.isinf(float(step.min()))
    assert holes.ends == {3}
    assert random_reward(1, 0.5).beta == 0.5
