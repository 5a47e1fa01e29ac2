"""Laws of speculative sampling and of products over random small languages, holes and several ends included."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.errors import DegeneracyError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.evidence.experts import Expert
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.experts import product_of_experts, token_law
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.speculative import log_acceptance, log_residual, speculate
from credence.sample.stochastic_beam import StochasticBeam
from credence.testing.languages import number
from tests.property.test_small_languages import SPECS, Spec, language

LAWS = settings(max_examples=25, deadline=None, derandomize=True)


def other(spec: Spec, seed: int, holes: bool = False) -> TablePrior:
    """Another language of the same tokens, ends and horizon."""
    vocab, horizon, _, _, ends = spec
    return language((vocab, horizon, seed, holes, ends))


@LAWS
@given(SPECS, st.integers(0, 999), st.booleans())
def test_kept_or_replaced_a_token_comes_from_the_target(spec: Spec, seed: int, holes: bool) -> None:
    target, draft = language(spec), other(spec, seed, holes)
    p, q = (torch.log_softmax(prior.logits(()), -1) for prior in (target, draft))
    kept = torch.where(torch.isneginf(q), 0.0, torch.exp(q + log_acceptance(p, q)))
    emitted = kept + (1 - kept.sum()) * torch.exp(log_residual(p, q))
    assert torch.allclose(emitted, torch.exp(p), atol=1e-12, rtol=0)
    variation = 0.5 * float((torch.exp(p) - torch.exp(q)).abs().sum())
    assert float(kept.sum()) == pytest.approx(1 - variation, abs=1e-12)


@LAWS
@given(SPECS, st.integers(0, 999), st.booleans(), st.integers(1, 5))
def test_speculative_draws_are_scored_by_the_target(spec: Spec, seed: int, holes: bool, ahead: int) -> None:
    target, draft = language(spec), other(spec, seed, holes)
    prompts = target.codec.prompts([(), (0,)])
    found = speculate(target, draft, Key(seed), prompts, 5, ahead)
    assert torch.allclose(target.score(prompts, found.completions), found.log_q, atol=1e-12, rtol=0)
    assert bool(torch.isfinite(found.log_q).all())
    assert bool((found.accepted + found.passes >= found.completions.lengths).all())
    assert bool((found.completions.ended | (found.completions.lengths == target.horizon)).all())


@LAWS
@given(SPECS, st.integers(0, 999), st.booleans(), st.floats(-2, 3))
def test_masses_make_the_token_law_the_sequence_law(spec: Spec, seed: int, holes: bool, weight: float) -> None:
    base, expert, anti = language(spec), other(spec, seed, holes), other(spec, seed + 1)
    prompts = base.codec.prompts([()])
    posterior = product_of_experts(base, Expert(expert, anti, weight))
    law = token_law(posterior)
    try:
        exact = enumerate_posterior(posterior, prompts)
    except DegeneracyError:  # nothing is possible, or a hole of the expert at a negative weight
        return
    log_q = law.score(prompts, exact.completions).sum(-1)
    assert float(torch.exp(log_q).sum()) == pytest.approx(1, abs=1e-12)
    for sequence, q, p in zip(exact.sequences, log_q.tolist(), exact.log_p.tolist(), strict=True):
        state, mass = law.start(prompts, 1), 0.0
        for token in sequence:
            mass += float(law.next_product(state)[1][0])
            state = law.extend(state, torch.tensor([token]))
        assert (q + mass - exact.log_z == pytest.approx(p, abs=1e-9)) or (math.isinf(q + mass) and math.isinf(p))
    assert float(kl(log_q, exact.log_p)) >= -1e-12


@LAWS
@given(SPECS, st.integers(0, 999), st.integers(1, 7))
def test_a_beam_holds_distinct_possible_replies_and_all_of_them_where_it_can(spec: Spec, seed: int, n: int) -> None:
    prior = language(spec)
    posterior = Posterior(prior, Reward(lambda _, replies: [number(seed, *reply) for reply in replies], 0.7))
    exact = enumerate_posterior(posterior, prior.codec.prompts([()]))
    possible = int(torch.isfinite(exact.log_prior).sum())
    draws = StochasticBeam().draw(Key(seed), posterior, prior.codec.prompts([()]), n)
    assert len(set(draws.texts())) == len(draws.texts()) == min(n, possible)
    assert bool(torch.isfinite(draws.log_q).all())
    if n >= possible:
        assert float(draws.log_z[0]) == pytest.approx(exact.log_z, abs=1e-12)
