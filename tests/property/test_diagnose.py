"""Laws of the diagnostics over random weights: order, scale, bounds, never NaN."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.keys import Key
from credence.diagnose.bounds import log_z, log_z_lower, log_z_upper
from credence.diagnose.divergence import PointMass, kl_forward
from credence.diagnose.frontier import frontier
from credence.diagnose.intervals import Group, bootstrap_all
from credence.diagnose.weights import pareto_k, weight_findings

LAWS = settings(max_examples=60, deadline=None, derandomize=True)
NATS = st.one_of(st.floats(-800, 800), st.sampled_from([-math.inf, 0.0, 1.0]))
WEIGHTS = st.lists(NATS, min_size=1, max_size=80).map(lambda x: torch.tensor(x, dtype=torch.float64))


@LAWS
@given(WEIGHTS)
def test_no_weights_give_nan(log_w: torch.Tensor) -> None:
    numbers = [pareto_k(log_w), *log_z(log_w), *log_z_lower(log_w, len(log_w)), *log_z_upper(log_w, torch.zeros(2))]
    numbers += [f.value for f in weight_findings(log_w)]
    assert not any(math.isnan(x) for x in numbers)


@LAWS
@given(WEIGHTS, st.integers(1, 80))
def test_groups_only_lower_the_lower_bound(log_w: torch.Tensor, groups: int) -> None:
    groups = math.gcd(min(groups, len(log_w)), len(log_w))  # groups that leave no row out
    assert log_z_lower(log_w, groups)[0] <= log_z(log_w)[0] + 1e-9


@LAWS
@given(WEIGHTS, st.integers(0, 9))
def test_order_does_not_matter(log_w: torch.Tensor, seed: int) -> None:
    order = torch.from_numpy(Key(seed).generator().permutation(len(log_w)))
    a, b = weight_findings(log_w), weight_findings(log_w[order])
    for x, y in zip(a, b, strict=True):
        assert x.value == y.value or math.isclose(x.value, y.value, rel_tol=1e-9, abs_tol=1e-12)
        assert x.ok == y.ok


@LAWS
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40), st.floats(0.05, 5))
def test_the_frontier_rises_with_evidence(r: list[float], beta: float) -> None:
    """KL and E[r] grow as β falls; KL stays below log n and E[r] below the best draw."""
    rewards = [torch.tensor(r, dtype=torch.float64)]
    weak, strong = frontier(rewards, [2 * beta, beta])
    assert 0 <= weak.kl <= strong.kl + 1e-9
    assert strong.kl <= math.log(len(r)) + 1e-9
    assert weak.reward <= strong.reward + 1e-9 <= max(r) + 2e-9


@LAWS
@given(st.floats(-900, 0), st.floats(1e-6, 1))
def test_point_mass_numbers_keep_their_bounds(log_prob: float, epsilon: float) -> None:
    found = PointMass(log_prob)
    assert found.forward >= 0
    assert 0 <= found.tv <= 1
    assert -1e-12 <= found.js <= math.log(2) + 1e-12
    to, back = found.mixture(epsilon)
    assert -1e-9 <= to <= found.forward + 1e-9  # mixing p into δ brings it nearer to p
    assert -1e-9 <= back <= -math.log(epsilon) + 1e-9
    assert 0 <= found.bounded(2.0) <= 1


@LAWS
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=30))
def test_forward_kl_of_a_law_with_itself_is_zero(log_p: list[float]) -> None:
    x = torch.tensor(log_p, dtype=torch.float64)
    value, se = kl_forward(torch.zeros(len(x)), x, x)
    assert abs(value) < 1e-9
    assert se < 1e-9


@LAWS
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), min_size=1, max_size=5), st.integers(0, 99))
def test_an_interval_holds_its_value(values: list[list[float]], seed: int) -> None:
    groups: list[Group] = [{"x": torch.tensor(v, dtype=torch.float64)} for v in values]
    found = bootstrap_all(
        lambda g: {"": sum(float(x["x"].mean()) for x in g) / len(g)}, groups, Key(seed), resamples=20
    )
    value, low, high = found[""]
    assert low <= value <= high
