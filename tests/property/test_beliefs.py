"""Laws of belief on random numbers: the order of evidence, splits of batches, the martingale."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from credence.belief.belief import Belief

NATS = st.floats(-30, 3)


def made(prior: list[float]) -> Belief:
    return Belief(tuple(f"h{i}" for i in range(len(prior))), torch.log_softmax(torch.tensor(prior).double(), 0))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 6))
def test_order_and_splits_do_not_matter(data: st.DataObject, k: int, n: int) -> None:
    start = made(data.draw(st.lists(NATS, min_size=k, max_size=k)))
    heard = torch.from_numpy(data.draw(hnp.arrays(float, (n, k), elements=NATS)))
    order = data.draw(st.permutations(range(n)))
    cut = data.draw(st.integers(0, n))
    tau = data.draw(st.floats(0.1, 2))
    whole, shuffled = start.update(heard, tau), start.update(heard[order], tau)
    pieces = start.update(heard[:cut], tau).update(heard[cut:], tau)
    for other in (shuffled, pieces):
        assert torch.allclose(whole.log_p, other.log_p, atol=1e-9)
        assert math.isclose(whole.log_evidence, other.log_evidence, abs_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(2, 5))
def test_the_belief_is_a_martingale(data: st.DataObject, k: int, outcomes: int) -> None:
    """E over what the belief itself predicts of p(h | outcome) = p(h)."""
    start = made(data.draw(st.lists(NATS, min_size=k, max_size=k)))
    raw = torch.from_numpy(data.draw(hnp.arrays(float, (k, outcomes), elements=st.floats(-8, 8))))
    lik = torch.log_softmax(raw, 1)  # p(outcome | h)
    after = [start.update(lik[:, o]) for o in range(outcomes)]
    average = sum(math.exp(b.log_evidence) * b.log_p.exp() for b in after)
    assert torch.allclose(average, start.log_p.exp(), atol=1e-12)
