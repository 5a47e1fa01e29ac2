"""Chains' kernels by enumeration: the posterior is invariant to 1e-10, at the rates of SCIENCE 5; no sampling here."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.posterior.exact import enumerate_posterior
from credence.prior.reshape import reshape
from credence.sample import suffix_mh
from credence.sample.independent_mh import walk
from credence.sample.regrow import lots, regrow
from credence.sample.suffix_mh import cuts
from tests import chain_kernels as kernels
from tests.toys import toy_a, toy_prompts, toy_two, two_prompts

HALF = 0.5001e-7  # half a unit in the seventh decimal, as printed


def test_suffix_mh_leaves_the_posterior_invariant() -> None:
    kernels.check_suffix_kernel()


def test_independent_mh_leaves_the_posterior_invariant() -> None:
    kernels.check_independent_kernel()


def test_block_mh_leaves_the_posterior_invariant() -> None:
    kernels.check_block_kernel()


def test_swaps_leave_the_product_of_rungs_invariant() -> None:
    kernels.check_swaps()


def test_rates_on_toy_a_are_those_of_the_science_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second eigenvalues .8199845 and 1 − Z/max w = .6758730, acceptance .4620114; no length ratio: TV .1051449."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    p = torch.exp(exact.log_p)
    suffix = kernels.suffix_kernel(toy_a(), toy_prompts(), exact)
    assert kernels.second_eigenvalue(suffix) == pytest.approx(0.8199845, abs=HALF)
    assert torch.allclose(kernels.stationary(suffix), p, atol=1e-9, rtol=0)
    whole = kernels.independent_kernel(toy_a(), toy_prompts(), exact)
    assert kernels.second_eigenvalue(whole) == pytest.approx(0.6758730, abs=HALF)
    weight = torch.exp(exact.log_lik - exact.log_z)
    assert 1 - 1 / float(weight.max()) == pytest.approx(0.6758730, abs=HALF)
    moves = torch.exp(exact.log_prior)[None] * torch.minimum(torch.ones(1), weight[None] / weight[:, None])
    assert float(p @ moves.sum(1)) == pytest.approx(0.4620114, abs=HALF)
    monkeypatch.setattr(suffix_mh, "suffix_log_alpha", kernels.without_length_ratio)
    wrong = kernels.stationary(kernels.suffix_kernel(toy_a(), toy_prompts(), exact))
    assert float((wrong - p).abs().sum()) / 2 == pytest.approx(0.1051449, abs=HALF)


def test_cuts_are_uniform_below_the_length_and_never_reach_it() -> None:
    lengths = torch.tensor([1, 2, 3, 4])
    share = kernels.shares(cuts, lengths)
    for row, length in enumerate(lengths.tolist()):
        assert share[row].tolist() == pytest.approx([1 / length] * length + [0.0] * (5 - length), abs=1e-12)
    last = torch.full((4,), 1 - 2.0**-53, dtype=torch.float64)
    assert cuts(last, lengths).tolist() == [0, 1, 2, 3]


def test_regrown_texts_keep_what_was_kept_and_log_q_is_the_score() -> None:
    """Suffixes and inner parts, both prompts; what stands behind a part drawn anew is scored after the new tokens."""
    posterior, prompts = toy_two(), two_prompts()
    prior = posterior.prior
    drawn, log_q = prior.sample(Key(1), prompts, 200)
    rows = torch.arange(400)
    first = cuts(torch.from_numpy(Key(2).uniform(rows.numpy(), 0)), drawn.lengths)
    for last in (torch.full_like(first, 3), first + 1):
        new = regrow(prior, lots(Key(3), rows), prompts, drawn, log_q, first, last)
        assert torch.allclose(new.log_q, prior.score(prompts, new.completions), atol=1e-12, rtol=0)
        place = torch.arange(3)[None]
        kept = new.completions.mask & ((place < first[:, None]) | (place >= last[:, None]))
        assert torch.equal(new.completions.ids[kept], drawn.ids[kept])
        assert bool((new.completions.lengths > first).all())
        assert new.tokens == int(new.completions.mask.sum())
        some = regrow(prior, lots(Key(3), rows[100:300]), prompts, drawn.rows(rows[100:300]), log_q[100:300],
                      first[100:300], last[100:300])  # fmt: skip
        assert torch.equal(some.completions.ids, new.completions.ids[100:300])  # whatever else is drawn


def test_a_walk_by_hand() -> None:
    """log W 0 → −1 at u = .3 (e⁻¹ = .37: yes), → −3 at u = .2 (e⁻² = .14: no), → impossible (no); and out of it."""
    start = torch.tensor([[0.0], [-math.inf]], dtype=torch.float64)
    proposed = torch.tensor([[[-1.0], [-3.0], [-math.inf]], [[-math.inf], [-50.0], [-math.inf]]], dtype=torch.float64)
    uniform = torch.tensor([0.3, 0.2, 1e-9, 0.9, 0.9, 1e-9], dtype=torch.float64)
    course, moves = walk(start, proposed, uniform)
    assert course[..., 0].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert moves[..., 0].tolist() == [[True, False, False], [True, True, False]]


def test_a_proposal_that_cannot_say_what_the_posterior_allows_is_refused() -> None:
    posterior, prompts = toy_a(), toy_prompts()
    exact = enumerate_posterior(posterior, prompts)
    for kernel in (kernels.suffix_kernel, kernels.independent_kernel):
        with pytest.raises(ConfigError, match="gives probability 0 to tokens"):
            kernel(posterior, prompts, exact, reshape(posterior.prior, top_k=2))
