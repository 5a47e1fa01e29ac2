"""On random small languages: the optimal twist and policy leave SMC, of any scheme and segments, no error at all."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.keys import Key
from credence.core.types import Completions
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.sample.conditional_smc import sweep
from credence.sample.resample import SCHEMES, Scheme
from credence.sample.segments import Segments
from credence.sample.smc import SMC
from credence.testing import random_reward
from tests.property.test_small_languages import SPECS, Spec, language
from tests.toys import OptimalTwist, soft_optimal_prior

LAWS = settings(max_examples=25, deadline=None, derandomize=True)


@LAWS
@given(SPECS, st.integers(0, 999), st.sampled_from(SCHEMES), st.integers(1, 3), st.integers(1, 4))
def test_log_z_has_no_error(spec: Spec, seed: int, scheme: Scheme, most: int, particles: int) -> None:
    prior = language(spec)
    posterior, prompts = Posterior(prior, random_reward(seed)), prior.codec.prompts([()])
    exact = enumerate_posterior(posterior, prompts)
    policy = soft_optimal_prior(exact, prior)
    smc = SMC(particles, 2, 1.0, policy, scheme, OptimalTwist(exact), Segments(most=most))
    draws = smc.draw(Key(seed), posterior, prompts, 3)
    assert float(draws.log_z[0]) == pytest.approx(exact.log_z, abs=1e-10)
    row = int(exact.log_p.argmax())
    one = exact.completions.rows(torch.tensor([row]))
    path = Completions(one.ids, one.mask, one.ended, torch.tensor([0]))
    found = sweep(Key(seed), posterior, prompts, path, smc.rules())
    assert float(found.log_z[0]) == pytest.approx(exact.log_z, abs=1e-10)


@LAWS
@given(SPECS, st.integers(0, 999), st.sampled_from(SCHEMES), st.integers(1, 3))
def test_what_a_sweep_gives_is_possible(spec: Spec, seed: int, scheme: Scheme, most: int) -> None:
    """From any possible completion: a completion of the language, with the prior's log q and a finite log Ẑ."""
    prior = language(spec)
    posterior, prompts = Posterior(prior, random_reward(seed)), prior.codec.prompts([()])
    exact = enumerate_posterior(posterior, prompts)
    one = exact.completions.rows(exact.log_p.argmax()[None])
    path = Completions(one.ids, one.mask, one.ended, torch.tensor([0]))
    smc = SMC(3, 1, 0.9, scheme=scheme, segments=Segments(most=most))
    found = sweep(Key(seed), posterior, prompts, path, smc.rules())
    place = exact.index()[tuple(found.completions.tokens()[0])]
    assert float(found.log_q.sum()) == pytest.approx(float(exact.log_prior[place]), abs=1e-10)
    assert math.isfinite(float(found.log_z[0]))
