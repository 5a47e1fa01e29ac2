"""Laws over random small languages: sums, scores, order of rows, split of batches, the ELBO identity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.types import Completions, Prompts
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior

LAWS = settings(max_examples=40, deadline=None, derandomize=True)


def number(seed: int, *at: int) -> float:
    """A pure function to (−3, 3): the language's logits and rewards."""
    return 6 * float(Key(seed).fold(*at).uniform(torch.zeros(1, dtype=torch.long).numpy(), 0)[0]) - 3


SPECS = st.tuples(
    st.integers(2, 4), st.integers(1, 4), st.integers(0, 2**32), st.booleans(), st.sets(st.integers(0, 3), min_size=1)
)
"""Vocabulary, horizon, seed, whether some tokens are impossible, end tokens."""

Spec = tuple[int, int, int, bool, set[int]]


def language(spec: Spec) -> TablePrior:
    """Built inside the test: the run-time type checker uses `random`, which hypothesis forbids in strategies."""
    vocab, horizon, seed, holes, ends = spec

    def logits(tokens: tuple[int, ...]) -> list[float]:
        row = [number(seed, *tokens, 100 + k) for k in range(vocab)]
        top = max(row)  # stays possible
        return [-math.inf if holes and x < 0 and x != top else x for x in row]

    return TablePrior(logits, vocab, frozenset(e % vocab for e in ends), horizon)


def reward(seed: int) -> Reward:
    return Reward(lambda prompts, completions: [number(seed, *c) for c in completions], 0.7)


def batch(prior: TablePrior, n: int) -> tuple[Prompts, Completions, torch.Tensor]:
    prompts = prior.codec.prompts([(), (0,), (max(prior.ends), 0)])
    completions, log_q = prior.sample(Key(1), prompts, n)
    return prompts, completions, log_q


@LAWS
@given(SPECS, st.integers(0, 999))
def test_prior_and_posterior_sum_to_one_and_the_elbo_identity_holds(spec: Spec, seed: int) -> None:
    prior = language(spec)
    exact = enumerate_posterior(Posterior(prior, reward(seed)), prior.codec.prompts([()]))
    assert float(exact.log_prior.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(exact.log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert exact.log_value[()] == pytest.approx(exact.log_z, abs=1e-12)
    log_pi = reshape(prior, 1.6).score(prior.codec.prompts([()]), exact.completions).sum(-1)
    p, possible = log_pi.exp(), torch.isfinite(exact.log_prior)
    elbo = float(p[possible] @ exact.log_lik[possible]) - float(kl(log_pi, exact.log_prior))
    assert elbo == pytest.approx(exact.log_z - float(kl(log_pi, exact.log_p)), abs=1e-10)


@LAWS
@given(SPECS, st.integers(1, 12))
def test_log_q_is_the_score_whatever_the_order_of_rows(spec: Spec, n: int) -> None:
    prior = language(spec)
    prompts, completions, log_q = batch(prior, n)
    assert torch.allclose(prior.score(prompts, completions), log_q, atol=1e-12, rtol=0)
    order = torch.from_numpy(Key(n).generator().permutation(len(completions)))
    assert torch.allclose(prior.score(prompts, completions.rows(order)), log_q[order], atol=1e-12, rtol=0)


@LAWS
@given(SPECS, st.integers(2, 12), st.integers(1, 11))
def test_more_draws_do_not_change_the_first_ones(spec: Spec, n: int, fewer: int) -> None:
    prior = language(spec)
    fewer = min(fewer, n)
    _, many, _ = batch(prior, n)
    _, few, _ = batch(prior, fewer)
    index = torch.tensor([b * n + d for b in range(3) for d in range(fewer)])
    assert many.rows(index).tokens() == few.tokens()


@LAWS
@given(SPECS, st.integers(1, 5))
def test_padding_on_the_right_changes_nothing(spec: Spec, extra: int) -> None:
    prior = language(spec)
    prompts, completions, log_q = batch(prior, 6)
    wide = Completions(
        torch.nn.functional.pad(completions.ids, (0, extra), value=prior.vocab - 1),
        torch.nn.functional.pad(completions.mask, (0, extra)),
        completions.ended,
        completions.prompt,
    )
    found = prior.score(prompts, wide)
    assert torch.allclose(found[:, : log_q.shape[1]], log_q, atol=1e-12, rtol=0)
    assert (found[:, log_q.shape[1] :] == 0).all()


@LAWS
@given(SPECS, st.integers(1, 3), st.integers(0, 999))
def test_a_batch_split_by_prompts_gives_the_same_evidence(spec: Spec, size: int, seed: int) -> None:
    prior = language(spec)
    prompts, completions, _ = batch(prior, 4)
    evidence = reward(seed)
    whole = evidence.log_lik(prompts, completions)
    first = 0
    for part in prompts.split(size):
        here = (completions.prompt >= first) & (completions.prompt < first + len(part))
        rows = completions.rows(here)
        shifted = Completions(rows.ids, rows.mask, rows.ended, rows.prompt - first)
        assert torch.equal(evidence.log_lik(part, shifted), whole[here])
        first += len(part)


@LAWS
@given(SPECS, st.floats(0.3, 3.0), st.floats(0.05, 1.0))
def test_reshaped_languages_are_languages(spec: Spec, temperature: float, top_p: float) -> None:
    prior = language(spec)
    shaped = reshape(prior, temperature, top_p=top_p)
    prompts = prior.codec.prompts([()])
    exact = enumerate_posterior(Posterior(shaped, reward(1)), prompts)
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
