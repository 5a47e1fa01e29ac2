"""Gumbels passed down a tree, inclusion probabilities, and what a beam of all leaves gives: hand-made and exact."""

import math

import pytest
import torch
from scipy.stats import gumbel_r

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.evidence.constraint import Constraint
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.sample.stochastic_beam import StochasticBeam, conditioned, log_inclusion, total
from tests.toys import toy_a, toy_prior, toy_prompts, toy_two, two_prompts


def test_children_keep_their_order_and_the_largest_is_the_parent() -> None:
    """Against −log(e^{−G} − e^{−max} + e^{−G̃}) where it can be computed, and finite where it cannot."""
    free = torch.tensor([[0.3, -1.2, 2.0, -math.inf], [-700.0, -705.0, -900.0, -701.0]], dtype=torch.float64)
    largest = torch.tensor([-0.4, -3.0], dtype=torch.float64)
    found = conditioned(free, largest)
    assert found.max(-1).values.tolist() == pytest.approx(largest.tolist(), abs=1e-12)
    assert torch.equal(found.argsort(-1), free.argsort(-1))
    plain = -torch.log(torch.exp(-largest[0]) - torch.exp(-free[0].max()) + torch.exp(-free[0]))
    assert torch.allclose(found[0], plain, atol=1e-12, rtol=0)
    assert not bool(torch.isnan(found).any())


def test_conditioned_noise_has_the_truncated_law() -> None:
    """Given the largest is G, another child is below g ≤ G with probability F(g)/F(G): uniforms map to it exactly."""
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    top, loc, largest = 1.3, -0.7, 0.2
    free = torch.stack([torch.full_like(u, top), loc - torch.log(-torch.log(u * gumbel_r.cdf(top, loc)))], 1)
    found = conditioned(free, torch.full_like(u, largest))[:, 1]
    assert gumbel_r.cdf(found, loc).tolist() == pytest.approx((u * gumbel_r.cdf(largest, loc)).tolist(), abs=1e-12)


def test_inclusion_is_the_gumbel_s_tail() -> None:
    log_p = torch.tensor([-0.1, -3.0, -40.0, -300.0], dtype=torch.float64)
    kappa = torch.tensor([-1.0, 2.0, -5.0, -4.0], dtype=torch.float64)
    assert log_inclusion(log_p, kappa).tolist() == pytest.approx(gumbel_r.logsf(kappa, log_p).tolist(), rel=1e-9)
    assert log_inclusion(log_p, torch.full_like(kappa, -math.inf)).tolist() == [0, 0, 0, 0]


def test_a_beam_of_all_leaves_is_enumeration() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = StochasticBeam().draw(Key(3), toy_a(), toy_prompts(), 40)
    assert sorted(draws.texts()) == sorted(exact.sequences)
    assert float(draws.log_z[0]) == pytest.approx(exact.log_z, abs=1e-12)
    assert float(draws.log_z_se[0]) == 0
    assert float(draws.info["mass"][0]) == pytest.approx(1, abs=1e-12)
    order = torch.tensor([exact.index()[text] for text in draws.texts()])
    assert torch.allclose(draws.log_q.sum(-1), exact.log_prior[order], atol=1e-12, rtol=0)
    assert float(draws.expect(draws.readings["toy_reward"])[0]) == pytest.approx(
        0.5 * float(torch.exp(exact.log_p) @ exact.log_lik), abs=1e-12
    )
    assert float(total(draws, torch.ones(31))[0]) == pytest.approx(math.exp(exact.log_z), abs=1e-12)


def test_draws_are_distinct_and_do_not_depend_on_other_prompts() -> None:
    posterior, prompts = toy_two(), two_prompts()
    draws = StochasticBeam().draw(Key(3), posterior, prompts, 9)
    for b in range(2):
        texts = [draws.texts()[r] for r in draws.of(b).tolist()]
        assert len(set(texts)) == 9
    alone = StochasticBeam().draw(Key(3), posterior, prompts.take([0]), 9)
    assert alone.texts() == draws.texts()[:9]
    assert torch.allclose(posterior.prior.score(prompts, draws.completions), draws.log_q, atol=1e-12, rtol=0)
    many = StochasticBeam().draw(Key(3), posterior, prompts.take([0, 1] * 20), 9)  # more beams than one piece holds
    assert many.texts()[:18] == draws.texts()
    assert many.completions.prompt.tolist() == [b for b in range(40) for _ in range(9)]


def test_what_is_impossible_weighs_nothing() -> None:
    never = Posterior(toy_prior(), Constraint(lambda tokens: False, "never"))
    draws = StochasticBeam().draw(Key(1), never, toy_prompts(), 3)
    assert draws.status == (Status.DEGENERATE,)
    assert total(draws, draws.log_w).tolist() == [0]
    with pytest.raises(ShapeError, match="n=0"):
        StochasticBeam().draw(Key(1), toy_a(), toy_prompts(), 0)
    assert math.isnan(float(StochasticBeam().draw(Key(1), toy_a(), toy_prompts(), 1).log_z_se[0]))
