"""The laws of engines that draw, over random small languages: distributions, bounds, what a proposal reaches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from credence.core.logspace import kl
from credence.diagnose.acceptance import acceptance_curve
from credence.diagnose.support import unreached
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.sample.best_of_n import best_of_n_law, kl_bound
from credence.sample.quasi_rejection import quasi_rejection_law
from credence.sample.soft_best_of_n import soft_best_of_n_law
from credence.testing import random_reward
from tests.property.test_small_languages import LAWS, SPECS, Spec, language


def enumerated(spec: Spec, seed: int) -> Exact:
    prior = language(spec)
    return enumerate_posterior(Posterior(prior, random_reward(seed)), prior.codec.prompts([()]))


@LAWS
@given(SPECS, st.integers(0, 999), st.integers(1, 9))
def test_soft_best_of_n_lies_between_prior_and_posterior(spec: Spec, seed: int, of: int) -> None:
    exact = enumerated(spec, seed)
    law = soft_best_of_n_law(exact, of)
    assert float(law.exp().sum()) == pytest.approx(1, abs=1e-12)
    moved = float(kl(law, exact.log_prior))
    assert moved <= kl_bound(of) + 1e-10
    possible = law > -math.inf
    mean = float(law.exp()[possible] @ exact.log_lik[possible])
    assert float(kl(law, exact.log_p)) == pytest.approx(exact.log_z - mean + moved, abs=1e-9)
    weight = torch.exp(exact.log_lik - exact.log_z)
    ceiling = float((exact.log_p.exp() * torch.log1p((weight - 1) / of)).sum())
    assert float(kl(exact.log_p, law)) <= ceiling + 1e-10


@LAWS
@given(SPECS, st.integers(0, 999), st.integers(2, 9))
def test_the_hard_choice_gains_more_than_the_soft_one(spec: Spec, seed: int, of: int) -> None:
    exact = enumerated(spec, seed)
    possible = exact.log_prior > -math.inf
    soft, hard = (law.exp()[possible] for law in (soft_best_of_n_law(exact, of), best_of_n_law(exact, of)))
    gain = exact.log_lik[possible]
    assert float(soft @ gain) <= float(hard @ gain) + 1e-10


@LAWS
@given(SPECS, st.integers(0, 999), st.floats(-3, 6))
def test_quasi_rejection_is_no_farther_than_its_bound(spec: Spec, seed: int, bound: float) -> None:
    exact = enumerated(spec, seed)
    (point,) = acceptance_curve(exact.log_lik, [bound], exact.log_prior)
    law = quasi_rejection_law(exact, bound)
    assert point.tv == pytest.approx(0.5 * float((law.exp() - exact.log_p.exp()).abs().sum()), abs=1e-12)
    assert point.tv <= point.tv_bound + 1e-12
    assert 0 < point.acceptance <= 1 + 1e-12


@LAWS
@given(SPECS, st.integers(0, 999), st.floats(0.1, 1.0))
def test_a_cut_proposal_misses_what_it_cut(spec: Spec, seed: int, top_p: float) -> None:
    prior = language(spec)
    prompts = prior.codec.prompts([()])
    posterior = Posterior(prior, random_reward(seed))
    exact = enumerate_posterior(posterior, prompts)
    cut = reshape(prior, 1.0, top_p=top_p)
    kept = cut.score(prompts, exact.completions).sum(-1) > -math.inf
    assert unreached(posterior, cut, prompts) == pytest.approx(1 - float(exact.log_p.exp()[kept].sum()), abs=1e-12)
