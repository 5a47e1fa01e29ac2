"""Laws of every Prior: what is scored is what was sampled, draws depend on their key alone, outcomes sum to one."""

import math

import pytest
import torch

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.protocols import Prior, StepPrior
from credence.core.types import Completions, Prompts
from credence.diagnose.drift import drift
from credence.posterior.exact import as_completions, tree
from credence.prior.reshape import reshape
from credence.prior.steps import score_by_steps
from credence.prior.table import TablePrior
from tests.tiny import gpt2, llama
from tests.toys import policy_logits, toy_prior

PRIORS = {
    "table": toy_prior,
    "table, two ends": lambda: TablePrior(policy_logits, 3, frozenset({1, 2}), 3),
    "table, hot": lambda: reshape(toy_prior(), 1.7),
    "table, top-k": lambda: reshape(toy_prior(), top_k=2),
    "table, top-p": lambda: reshape(toy_prior(), 0.7, top_p=0.8),
    "llama": llama,
    "llama, cold": lambda: reshape(llama(), 0.6),
    "llama, top-k and top-p": lambda: reshape(llama(), 0.8, 6, 0.9),
    "gpt2": gpt2,
    "gpt2, top-k": lambda: reshape(gpt2(), 1.2, 3),
}


@pytest.fixture(scope="module", params=PRIORS.values(), ids=PRIORS)
def prior(request: pytest.FixtureRequest) -> StepPrior:
    return request.param()


@pytest.fixture(scope="module")
def prompts(prior: StepPrior) -> Prompts:
    """Different lengths, a repeated one, and end tokens inside: one that is all end tokens."""
    end = max(prior.ends)
    return prior.codec.prompts([(0, 1), (1,), (end, 0, end), (0, 1), (end, end)])


@pytest.fixture(scope="module")
def drawn(prior: StepPrior, prompts: Prompts) -> tuple[Completions, torch.Tensor]:
    return prior.sample(Key(11), prompts, 9)


def same(a: Completions, b: Completions) -> None:
    assert a.tokens() == b.tokens()
    assert a.ended.tolist() == b.ended.tolist()


def test_it_keeps_the_protocol(prior: StepPrior) -> None:
    assert isinstance(prior, Prior)
    assert isinstance(prior, StepPrior)


def test_rows_are_prompt_major_and_well_formed(
    prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    completions, log_q = drawn
    assert completions.prompt.tolist() == [b for b in range(len(prompts)) for _ in range(9)]
    assert log_q.dtype == torch.float64
    assert completions.ids.shape == log_q.shape
    assert int(completions.lengths.min()) >= 1
    assert (log_q[~completions.mask] == 0).all()
    assert (log_q[completions.mask] <= 0).all()
    for tokens, ended in zip(completions.tokens(), completions.ended.tolist(), strict=True):
        assert not prior.ends & set(tokens[:-1])
        assert ended == (tokens[-1] in prior.ends)
        assert ended or len(tokens) == prior.horizon


def test_what_is_scored_is_what_was_sampled(
    prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """The end token is scored too. Rejects scores at another temperature, and an end token left out."""
    completions, log_q = drawn
    scored = prior.score(prompts, completions)
    assert torch.allclose(scored, log_q, atol=1e-10, rtol=0)
    assert torch.allclose(score_by_steps(prior, prompts, completions), log_q, atol=1e-10, rtol=0)
    last = completions.lengths[completions.ended] - 1
    assert (scored[completions.ended].gather(1, last[:, None]) < 0).any()
    found = drift(prior, prompts, completions, log_q)
    assert found.finding().ok
    assert (found.rows, found.tokens) == (len(completions), int(completions.mask.sum()))
    other = drift(reshape(prior, 1.5), prompts, completions, log_q)
    assert other.token_max > 0.01
    assert other.sequence_max >= other.sequence_mean > 0
    assert not other.finding().ok


def test_same_key_same_draws(prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]) -> None:
    again, log_q = prior.sample(Key(11), prompts, 9)
    same(again, drawn[0])
    assert torch.equal(log_q, drawn[1])
    assert prior.sample(Key(12), prompts, 9)[0].tokens() != drawn[0].tokens()


def test_draws_do_not_depend_on_the_batch(
    prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """Draw d of prompt b is the same with 4 draws as with 9, alone in its place, and before other prompts."""
    completions, _ = drawn
    fewer, _ = prior.sample(Key(11), prompts, 4)
    same(fewer, completions.rows(torch.tensor([b * 9 + d for b in range(len(prompts)) for d in range(4)])))
    alone, _ = prior.sample(Key(11), prompts.take([0]), 9)
    same(alone, completions.rows(torch.arange(9)))
    others, _ = prior.sample(Key(11), prompts.take([4, 1, 0]), 9)
    same(others.rows(torch.arange(9, 18)), completions.rows(torch.arange(9, 18)))


def test_equal_prompts_in_other_places_have_other_draws(
    prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    assert prompts.ids[0] == prompts.ids[3]
    tokens = drawn[0].tokens()
    assert tokens[:9] != tokens[27:36]


def test_score_is_one_row_at_a_time(
    prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    completions, log_q = drawn
    index = torch.tensor([30, 2, 2, 44, 17, 0])
    assert torch.allclose(prior.score(prompts, completions.rows(index)), log_q[index], atol=1e-10, rtol=0)
    one = completions.rows(torch.tensor([40]))
    assert torch.allclose(prior.score(prompts, one), log_q[40:41], atol=1e-10, rtol=0)


def test_what_stands_behind_the_mask_is_not_read(
    prior: StepPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    completions, log_q = drawn
    junk = Completions(
        torch.where(completions.mask, completions.ids, 1),
        completions.mask,
        completions.ended,
        completions.prompt,
    )
    assert torch.allclose(prior.score(prompts, junk), log_q, atol=1e-10, rtol=0)


def test_all_leaves_sum_to_one(prior: StepPrior, prompts: Prompts) -> None:
    """To 1e-12, the cut ones too. The tree is walked by steps and its leaves are scored by the fast door."""
    one = prompts.take([2])
    leaves, _, _ = tree(prior, one)
    completions = as_completions(leaves, prior.ends)
    log_p = prior.score(one, completions).sum(-1)
    assert not bool(torch.isnan(log_p).any())
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_impossible_tokens_score_minus_infinity() -> None:
    prior = reshape(toy_prior(), top_k=1)
    prompts = prior.codec.prompts([()])
    every = as_completions(tree(toy_prior(), prompts)[0], prior.ends)
    log_p = prior.score(prompts, every).sum(-1)
    assert int(torch.isfinite(log_p).sum()) == 1
    assert float(log_p.max()) == 0
    completions, log_q = toy_prior().sample(Key(1), prompts, 20)
    found = drift(prior, prompts, completions, log_q)
    assert (found.token_max, found.sequence_max) == (math.inf, math.inf)
    assert not found.finding().ok


def test_no_draws_are_refused(prior: StepPrior, prompts: Prompts) -> None:
    with pytest.raises(ShapeError, match="n=0"):
        prior.sample(Key(1), prompts, 0)


def test_a_table_is_asked_about_its_tree_only() -> None:
    """A table given as a dictionary of prefixes: nothing is looked up behind an end token, in sampling or scoring."""
    rows = {(): [0.0, 1.0, 2.0], (0,): [1.0, 0.0, 0.0], (1,): [0.0, 0.0, 0.5]}
    prior = TablePrior(rows.__getitem__, 3, 2, 2)
    prompts = prior.codec.prompts([()])
    completions, log_q = prior.sample(Key(1), prompts, 300)
    assert torch.allclose(prior.score(prompts, completions), log_q, atol=1e-12)


def test_more_rows_than_one_walk_holds() -> None:
    """600 draws of two prompts are walked in pieces of 256 rows; the pieces do not show."""
    prior = toy_prior()
    prompts = prior.codec.prompts([(0,), (1,)])
    many, log_q = prior.sample(Key(2), prompts, 600)
    few, few_q = prior.sample(Key(2), prompts, 5)
    index = torch.tensor([*range(5), *range(600, 605)])
    same(many.rows(index), few)
    assert torch.equal(log_q[index, : few_q.shape[1]], few_q)
    assert many.prompt.tolist() == [0] * 600 + [1] * 600
