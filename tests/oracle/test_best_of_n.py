"""Best-of-n's law, and what is estimated of it from stored draws, against enumeration (SCIENCE 5.1)."""

import itertools
import math

import pytest
import torch

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.best_of_n import (
    BestOfN,
    best_of_n_kl,
    best_of_n_law,
    best_of_n_weights,
    kl_bound,
    pick,
)
from credence.sample.importance import Importance
from tests.toys import BETA, toy_a, toy_prior, toy_prompts, toy_reward

HALF = 0.5001e-7  # half a unit in the seventh decimal, as printed


@pytest.mark.parametrize(
    ("of", "divergence", "reward"),
    [(2, 0.1798768, 0.4245216), (4, 0.5740813, 0.6914633), (16, 1.4363130, 0.9782441)],
)
def test_law_on_toy_a(of: int, divergence: float, reward: float) -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    law = best_of_n_law(exact, of)
    assert float(torch.exp(law).sum()) == pytest.approx(1, abs=1e-12)
    assert float(kl(law, exact.log_prior)) == pytest.approx(divergence, abs=HALF)
    assert float(kl(law, exact.log_prior)) < kl_bound(of)
    assert BETA * float((torch.exp(law) * exact.log_lik).sum()) == pytest.approx(reward, abs=HALF)


@pytest.mark.parametrize(("of", "divergence"), [(2, 0.1308), (4, 0.4594), (8, 0.6676)])
def test_law_where_values_tie(of: int, divergence: float) -> None:
    """A fair coin: .1308, .4594, .6676 (SCIENCE 5.1), far under the bound that a continuous reward reaches."""
    coin = TablePrior(lambda _: [0.0, 0.0], 2, frozenset({0, 1}), 1)
    posterior = Posterior(coin, Reward(lambda _, replies: [float(x == (1,)) for x in replies], 1.0))
    exact = enumerate_posterior(posterior, coin.codec.prompts())
    assert float(kl(best_of_n_law(exact, of), exact.log_prior)) == pytest.approx(divergence, abs=5.1e-5)
    half = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(50)
    assert best_of_n_kl(half, of) == pytest.approx(divergence, abs=5.1e-5)


def test_equal_values_share_in_proportion_to_the_prior() -> None:
    posterior = Posterior(toy_prior(), Reward(lambda _, replies: [0.3] * len(replies), 1.0))
    exact = enumerate_posterior(posterior, toy_prompts())
    assert torch.allclose(best_of_n_law(exact, 5), exact.log_prior, atol=1e-12, rtol=0)


@pytest.mark.parametrize("of", [1, 2, 4, 7])
def test_weights_are_those_of_all_subsets(of: int) -> None:
    """Ties shared equally; the with-replacement weights F^n − F⁻^n would be rejected."""
    values = torch.tensor([0.3, -1.0, 0.3, 2.0, -math.inf, 2.0, 0.1], dtype=torch.float64)
    wanted = torch.zeros(7, dtype=torch.float64)
    subsets = list(itertools.combinations(range(7), of))
    for subset in subsets:
        best = max(float(values[i]) for i in subset)
        winners = [i for i in subset if float(values[i]) == best]
        wanted[winners] += 1 / len(winners) / len(subsets)
    assert torch.allclose(best_of_n_weights(values, of), wanted, atol=1e-12, rtol=0)


def test_estimates_from_stored_draws_come_near_the_truth() -> None:
    draws = Importance().draw(Key(5), toy_a(), toy_prompts(), 4000)
    # The widest standard error here is 0.01: 0.05 leaves five of them.
    assert float(best_of_n_weights(draws.log_w, 4) @ (BETA * draws.log_w)) == pytest.approx(0.6914633, abs=0.05)
    assert best_of_n_kl(draws.log_w, 4) == pytest.approx(0.5740813, abs=0.05)


def test_kl_of_distinct_values_meets_the_bound_from_below() -> None:
    for of in (2, 16, 64):
        assert kl_bound(of) - 0.01 < best_of_n_kl(torch.arange(1024.0, dtype=torch.float64), of) < kl_bound(of)
    assert kl_bound(16) == pytest.approx(1.8351, abs=5.1e-5)


def test_stored_draws_are_used_once_each() -> None:
    """Every group gives its own best; the leftover draw is in no group."""
    stored = Importance().draw(Key(3), toy_a(), toy_prior().codec.prompts([(), (0,)]), 11)
    picked = pick(stored, 5, Key(4))
    best = stored.log_w.view(2, 11)[:, :10].reshape(2, 2, 5).max(-1).values.flatten()
    assert torch.equal(picked.readings["toy_reward"], BETA * best)
    assert torch.equal(picked.log_z, stored.log_z)
    with pytest.raises(ShapeError, match="best of 12 from 11"):
        pick(stored, 12, Key(4))


def test_draw_is_pick_of_importance() -> None:
    drawn = BestOfN(3).draw(Key(8), toy_a(), toy_prompts(), 4)
    stored = Importance().draw(Key(8).fold("candidates"), toy_a(), toy_prompts(), 12)
    assert drawn.texts() == pick(stored, 3, Key(8)).texts()
    assert drawn.readings["toy_reward"].tolist() == toy_reward([], drawn.texts())
