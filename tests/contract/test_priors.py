"""Every prior against the laws of `credence.testing`, and what no law of one prior can see."""

import math

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.core.types import Prompts
from credence.diagnose.drift import drift
from credence.posterior.exact import as_completions, tree
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.testing import check_step_prior
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


def test_it_keeps_the_laws(prior: StepPrior, prompts: Prompts) -> None:
    check_step_prior(prior, prompts).require()


def test_drift_sees_another_temperature(prior: StepPrior, prompts: Prompts) -> None:
    completions, log_q = prior.sample(Key(11), prompts, 9)
    found = drift(prior, prompts, completions, log_q)
    assert found.finding().ok
    assert (found.rows, found.tokens) == (len(completions), int(completions.mask.sum()))
    other = drift(reshape(prior, 1.5), prompts, completions, log_q)
    assert other.token_max > 0.01
    assert other.sequence_max >= other.sequence_mean > 0
    assert not other.finding().ok


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
    assert many.rows(index).tokens() == few.tokens()
    assert torch.equal(log_q[index, : few_q.shape[1]], few_q)
    assert many.prompt.tolist() == [0] * 600 + [1] * 600
