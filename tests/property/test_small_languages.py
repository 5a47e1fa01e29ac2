"""Laws over random small languages: sums, scores, order of rows, split of batches, the ELBO identity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.testing import check_prefix_evidence, check_step_prior, random_language, random_reward

LAWS = settings(max_examples=40, deadline=None, derandomize=True)


SPECS = st.tuples(
    st.integers(2, 4), st.integers(1, 4), st.integers(0, 2**32), st.booleans(), st.sets(st.integers(0, 3), min_size=1)
)
"""Vocabulary, horizon, seed, whether some tokens are impossible, end tokens."""

Spec = tuple[int, int, int, bool, set[int]]


def language(spec: Spec) -> TablePrior:
    """Built inside the test: the run-time type checker uses `random`, which hypothesis forbids in strategies."""
    vocab, horizon, seed, holes, ends = spec
    return random_language(vocab, horizon, seed, holes, ends)


@LAWS
@given(SPECS, st.integers(0, 999))
def test_prior_and_posterior_sum_to_one_and_the_elbo_identity_holds(spec: Spec, seed: int) -> None:
    prior = language(spec)
    exact = enumerate_posterior(Posterior(prior, random_reward(seed)), prior.codec.prompts([()]))
    assert float(exact.log_prior.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(exact.log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert exact.log_value[()] == pytest.approx(exact.log_z, abs=1e-12)
    log_pi = reshape(prior, 1.6).score(prior.codec.prompts([()]), exact.completions).sum(-1)
    p, possible = log_pi.exp(), torch.isfinite(exact.log_prior)
    elbo = float(p[possible] @ exact.log_lik[possible]) - float(kl(log_pi, exact.log_prior))
    assert elbo == pytest.approx(exact.log_z - float(kl(log_pi, exact.log_p)), abs=1e-10)


@LAWS
@given(SPECS, st.integers(2, 12), st.integers(0, 999))
def test_languages_and_rewards_keep_the_laws(spec: Spec, n: int, seed: int) -> None:
    prior = language(spec)
    prompts = prior.codec.prompts([(), (0,), (max(prior.ends), 0)])
    check_step_prior(prior, prompts, n, tolerance=1e-12, tokens=0).require()
    check_prefix_evidence(random_reward(seed), prior, prompts, n).require()


@LAWS
@given(SPECS, st.floats(0.3, 3.0), st.floats(0.05, 1.0))
def test_reshaped_languages_are_languages(spec: Spec, temperature: float, top_p: float) -> None:
    prior = language(spec)
    shaped = reshape(prior, temperature, top_p=top_p)
    prompts = prior.codec.prompts([()])
    exact = enumerate_posterior(Posterior(shaped, random_reward(1)), prompts)
    assert float(exact.log_prior.exp().sum()) == pytest.approx(1, abs=1e-12)
    scored = shaped.score(prompts, exact.completions).sum(-1)
    possible = torch.isfinite(exact.log_prior)
    assert torch.equal(possible, torch.isfinite(scored))
    assert torch.allclose(scored[possible], exact.log_prior[possible], atol=1e-12, rtol=0)


@LAWS
@given(st.integers(0, 2**63), st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["a", "b"])), max_size=3))
def test_key_algebra(seed: int, parts: list[int | str]) -> None:
    key = Key(seed)
    assert key.fold(*parts) == Key(seed).fold(*parts)
    assert key.fold(*parts) != key
    assert key.fold(*parts, "c") != key.fold(*parts)
    assert key.fold("c", *parts) != key.fold(*parts)
