"""Pieces on several threads give the draws and scores of one thread."""

from collections.abc import Iterator

import pytest
import torch

from credence.core.keys import Key
from credence.core.parallel import spread
from credence.prior.reshape import reshape
from tests.tiny import llama


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_spread_keeps_the_order_and_the_setting(threads: None) -> None:
    assert spread([lambda i=i: i * i for i in range(7)]) == [i * i for i in range(7)]
    assert torch.get_num_threads() == 2


def test_spread_runs_without_gradient_and_passes_errors_on(threads: None) -> None:
    assert spread([torch.is_grad_enabled, torch.is_grad_enabled]) == [False, False]

    def fail() -> int:
        raise ValueError("from a thread")

    with pytest.raises(ValueError, match="from a thread"):
        spread([fail, fail])
    assert torch.get_num_threads() == 2


def test_two_threads_draw_and_score_what_one_does(threads: None) -> None:
    """60 rows in two pieces against one: the same tokens, log q and scores to rounding (float64)."""
    prior = reshape(llama(), 0.8)
    prompts = prior.codec.prompts([(1, 2), (3,), (2, 2, 5)])
    two, log_q = prior.sample(Key(4), prompts, 20)
    scored = prior.score(prompts, two)
    torch.set_num_threads(1)
    one, log_q_one = prior.sample(Key(4), prompts, 20)
    assert prior.concurrent
    assert torch.equal(one.ids, two.ids)
    torch.testing.assert_close(log_q, log_q_one, atol=1e-12, rtol=0)
    torch.testing.assert_close(scored, log_q, atol=1e-12, rtol=0)
