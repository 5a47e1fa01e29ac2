"""Soft best-of-n's law and its bounds against enumeration (SCIENCE 5, and F11 of 9)."""

import itertools
import math

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.status import Status
from credence.evidence.constraint import Constraint
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.best_of_n import kl_bound
from credence.sample.importance import Importance
from credence.sample.soft_best_of_n import SoftBestOfN, pick_softly, soft_best_of_n_kl_bound, soft_best_of_n_law
from tests.toys import prior_weights, toy_a, toy_prompts


def atoms() -> Exact:
    """π0 = (.6, .3, .1), r = (0, 1, 2), β = 0.5, one token each."""
    prior = TablePrior(lambda _: [math.log(0.6), math.log(0.3), math.log(0.1)], 3, frozenset({0, 1, 2}), 1)
    posterior = Posterior(prior, Reward(lambda _, replies: [float(reply[0]) for reply in replies], 0.5))
    return enumerate_posterior(posterior, prior.codec.prompts())


def by_listing(exact: Exact, of: int) -> torch.Tensor:
    """The law by all tuples of candidates."""
    law = torch.zeros(len(exact.sequences), dtype=torch.float64)
    prior, w = exact.log_prior.exp().tolist(), exact.log_lik.exp().tolist()
    for several in itertools.product(range(len(prior)), repeat=of):
        chance, total = math.prod(prior[i] for i in several), sum(w[i] for i in several)
        for i in several:
            law[i] += chance * w[i] / total
    return law


@pytest.mark.parametrize(("of", "divergence"), [(1, 0.5392897), (2, 0.2344971), (3, 0.1247049)])
def test_distance_from_the_posterior_on_toy_a(of: int, divergence: float) -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    law = soft_best_of_n_law(exact, of)
    assert float(kl(exact.log_p, law)) == pytest.approx(divergence, abs=0.5001e-7)
    assert float(kl(law, exact.log_prior)) <= kl_bound(of) + 1e-12


def test_the_integral_is_the_sum_over_all_candidates() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    assert torch.allclose(soft_best_of_n_law(exact, 2).exp(), by_listing(exact, 2), atol=1e-12)
    small = atoms()
    for of in (1, 4, 6):
        assert torch.allclose(soft_best_of_n_law(small, of).exp(), by_listing(small, of), atol=1e-12)


def test_the_published_rate() -> None:
    """F11: n · KL falls, and the bound by Jensen, which is O(1/n), holds."""
    exact, found = atoms(), []
    share = exact.log_p.exp()
    for of, divergence in ((1, 1.06094), (2, 0.61273), (4, 0.28813), (8, 0.10112), (16, 0.02513), (32, 0.00518)):
        found.append(float(kl(exact.log_p, soft_best_of_n_law(exact, of))))
        assert found[-1] == pytest.approx(divergence, abs=0.51e-5)
        ceiling = float((share * torch.log1p((torch.exp(exact.log_lik - exact.log_z) - 1) / of)).sum())
        assert found[-1] <= ceiling + 1e-12
    scaled = [n * value for n, value in zip((2, 4, 8, 16, 32), found[1:], strict=True)]
    assert scaled == sorted(scaled, reverse=True)


def test_extreme_evidence_keeps_the_law_a_law() -> None:
    """Nats 400 apart: all but certain where the better one is drawn at all."""
    prior = TablePrior(lambda _: [0.0, 0.0, -math.inf], 3, frozenset({0, 1, 2}), 1)
    posterior = Posterior(prior, Reward(lambda _, replies: [400.0 * reply[0] for reply in replies], 1.0))
    law = soft_best_of_n_law(enumerate_posterior(posterior, prior.codec.prompts()), 3).exp()
    assert law.tolist() == pytest.approx([0.125, 0.875, 0])


def test_impossible_candidates_are_passed_over() -> None:
    """Given that one of two is possible: 2 p (1 − p) + p² over 1 − (1 − p)², all of it on the possible ones."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    starts = Constraint(lambda tokens: tokens[0] == 0, "starts with a")
    hard = Posterior(toy_a().prior, starts)
    law = soft_best_of_n_law(enumerate_posterior(hard, toy_prompts()), 2).exp()
    possible = torch.tensor([s[0] == 0 for s in exact.sequences])
    prior = exact.log_prior.exp()
    assert torch.allclose(law, torch.where(possible, prior, 0.0) / prior[possible].sum(), atol=1e-12)
    draws = SoftBestOfN(2).draw(Key(1), hard, toy_prompts(), 200)
    lost = torch.tensor([reply[0] != 0 for reply in draws.texts()])
    assert 0 < int(lost.sum()) < 200
    assert torch.equal(torch.isneginf(draws.log_w), lost)
    assert draws.status == (Status.OK,)


def test_the_bound_from_draws() -> None:
    """At one candidate it is KL(p*‖π0) itself, 0.5393; 20,000 draws come within 0.03 of it (five standard errors)."""
    log_w = prior_weights(enumerate_posterior(toy_a(), toy_prompts()), Key(5), 20_000)
    assert soft_best_of_n_kl_bound(log_w, 1) == pytest.approx(0.5392897, abs=0.03)
    assert soft_best_of_n_kl_bound(log_w, 4) < soft_best_of_n_kl_bound(log_w, 2) < 0.5
    assert soft_best_of_n_kl_bound(torch.tensor([0.0, -math.inf]), 1) == pytest.approx(math.log(2))
    assert math.isnan(soft_best_of_n_kl_bound(torch.tensor([-math.inf, -math.inf]), 2))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="of=0"):
        SoftBestOfN(0)
    with pytest.raises(ShapeError, match="of=0"):
        soft_best_of_n_law(atoms(), 0)
    with pytest.raises(ShapeError, match="at least 9"):
        pick_softly(Importance().draw(Key(1), toy_a(), toy_prompts(), 8), 9, Key(1))
