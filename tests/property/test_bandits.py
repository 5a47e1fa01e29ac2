"""Any rewards in any order: beliefs are sums; estimates keep their bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.belief.bandit import Arms, no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.linear_arms import LinearArms
from credence.belief.logistic_arms import LogisticArms
from credence.belief.off_policy import Logged, evaluate
from credence.core.keys import Key

NAMES = ("a", "b", "c")
STARTS = {
    "beta": lambda: BetaArms.start(NAMES),
    "linear": lambda: LinearArms.start(NAMES, 2),
    "logistic": lambda: LogisticArms.start(NAMES, 2),
}


@pytest.mark.parametrize("kind", STARTS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 12))
def test_order_does_not_matter_and_a_batch_equals_its_pieces(kind: str, seed: int, n: int) -> None:
    rng = Key(seed).generator()
    arm, reward, x = rng.integers(3, size=n), rng.random(n).round(), rng.normal(size=(n, 2))
    order = rng.permutation(n)
    start: Arms = STARTS[kind]()
    whole = start.hear(arm, reward, x)
    pieces = start
    for i in order.tolist():
        pieces = pieces.update(arm[i : i + 1], reward[i : i + 1], x[i : i + 1])
    cut = int(rng.integers(n + 1))
    halves = start.hear(arm[:cut], reward[:cut], x[:cut]).hear(arm[cut:], reward[cut:], x[cut:])
    at = rng.normal(size=(4, 2))
    for other in (pieces, halves):
        assert other.mean(at) == pytest.approx(whole.mean(at), abs=1e-7)
        finite = np.isfinite(whole.upper(at, 1.7))
        assert other.upper(at, 1.7)[finite] == pytest.approx(whole.upper(at, 1.7)[finite], abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 60))
def test_estimates_keep_their_bounds_and_are_linear_in_the_policy(seed: int, n: int) -> None:
    rng = Key(seed).generator()
    logged = Logged(NAMES, rng.integers(3, size=n), rng.normal(size=n), rng.uniform(0.05, 1, n), no_context(n))
    laws = rng.dirichlet(np.ones(3), (2, n))
    first, second, mixed = (evaluate(logged, "any", law) for law in (*laws, 0.3 * laws[0] + 0.7 * laws[1]))
    for found in (first, second, mixed):
        assert found.ips is not None
        assert found.snips is not None
        low, value, high = found.snips[1], found.snips[0], found.snips[2]
        assert logged.reward.min() - 1e-9 <= value <= logged.reward.max() + 1e-9
        assert low <= value <= high
        assert 1 - 1e-9 <= found.ess <= n + 1e-9
    assert first.ips is not None
    assert second.ips is not None
    assert mixed.ips is not None
    assert mixed.ips[0] == pytest.approx(0.3 * first.ips[0] + 0.7 * second.ips[0])
