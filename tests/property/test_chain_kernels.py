"""Chains' kernels over random small languages: impossible tokens, several end tokens, texts of one token."""

from hypothesis import given, settings
from hypothesis import strategies as st

from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.testing import random_reward
from tests import chain_kernels as kernels
from tests.property.test_small_languages import SPECS, Spec, language


@settings(max_examples=15, deadline=None, derandomize=True)
@given(SPECS, st.integers(0, 999))
def test_posteriors_are_invariant(spec: Spec, seed: int) -> None:
    """Impossible tokens, several end tokens, one-token texts; a hotter proposal."""
    prior = language((min(spec[0], 3), min(spec[1], 3), *spec[2:]))
    posterior, prompts = Posterior(prior, random_reward(seed)), prior.codec.prompts([()])
    exact = enumerate_posterior(posterior, prompts)
    hot = reshape(prior, 1.4)
    kernels.hold_invariant(kernels.suffix_kernel(posterior, prompts, exact), exact.log_p, "suffix")
    kernels.hold_invariant(kernels.suffix_kernel(posterior, prompts, exact, hot), exact.log_p, "suffix, hot")
    kernels.hold_invariant(kernels.independent_kernel(posterior, prompts, exact, hot), exact.log_p, "independent")
