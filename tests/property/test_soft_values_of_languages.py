"""Soft values on random small languages: a fixed point of every learner of the posterior, and the posterior's law."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.posterior.posterior import Posterior
from credence.testing import random_reward
from tests import valuing
from tests.learning import every_sequence, exacts
from tests.property.test_small_languages import LAWS, SPECS, Spec, language
from tests.valuing import BY_STATE, TO_POSTERIOR, at_soft_values, gradients


@settings(LAWS, max_examples=12)
@given(SPECS, st.integers(0, 999))
def test_soft_values_are_the_posterior_and_a_fixed_point(spec: Spec, seed: int) -> None:
    """Without impossible tokens: the rows of a uniform law would hold them. Gradients relative to e^(largest nats)."""
    prior = language((*spec[:3], False, spec[4]))
    posterior, prompts = Posterior(prior, random_reward(seed)), prior.codec.prompts([()])
    guide, batch = at_soft_values(posterior, prompts), every_sequence(posterior, prompts)
    assert valuing.mean_kl(guide, posterior, prompts) < 1e-10
    assert float(valuing.roots(guide, prompts)) == pytest.approx(exacts(posterior, prompts)[0].log_z, abs=1e-10)
    for name, learner in [*TO_POSTERIOR.items(), *BY_STATE.items()]:
        if "paths" in name and len(batch.completions) < 2:
            continue
        found = torch.cat([g.flatten() for g in gradients(guide, learner, batch)])
        assert float(found.abs().max()) < 1e-9, name
