"""Bounds on log Z against exact expectations over TOY-A's 31 sequences."""

import itertools
import math

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.diagnose.bounds import LogZ, balance, bracket, log_z, log_z_lower, log_z_upper
from credence.posterior.exact import Exact, enumerate_posterior
from tests.toys import toy_a, toy_policy, toy_prompts

EXACT_BOUNDS = {1: (0.2340166, 1.3913864), 2: (0.4936215, 1.1580046), 3: (0.6046615, 1.0635627)}


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


def draws(exact: Exact, log_p: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """Log weights at n draws from a law on the toy's sequences."""
    p = log_p.exp().numpy()
    return exact.log_lik[torch.from_numpy(Key(seed).generator().choice(len(p), n, p=p / p.sum()))]


@pytest.mark.parametrize(("k", "wanted"), EXACT_BOUNDS.items())
def test_bounds_by_exact_expectation(exact: Exact, k: int, wanted: tuple[float, float]) -> None:
    """Every K-tuple of sequences, weighted by its probability: the golden numbers of the science notes, 5.2."""
    p0, ps, w = exact.log_prior.exp(), exact.log_p.exp(), exact.log_lik
    low = high = 0.0
    if k == 3:  # 29,791 tuples: the functions' own formula on a grid, checked against the functions below
        mean = torch.logsumexp(torch.stack(torch.broadcast_tensors(w[:, None, None], w[None, :, None], w)), 0)
        mean = mean - math.log(3)
        low = float(torch.einsum("i,j,k,ijk->", p0, p0, p0, mean))
        high = float(torch.einsum("i,j,k,ijk->", ps, p0, p0, mean))
    else:
        for rows in itertools.product(range(31), repeat=k):
            index = list(rows)
            chance = float(p0[index[1:]].prod())
            low += chance * float(p0[index[0]]) * log_z_lower(w[index])[0]
            others = w[index[1:]] if k > 1 else w[index]
            high += chance * float(ps[index[0]]) * log_z_upper(others, w[index[:1]], k)[0]
    assert (low, high) == (pytest.approx(wanted[0], abs=5.001e-8), pytest.approx(wanted[1], abs=5.001e-8))
    assert low < exact.log_z < high


@pytest.mark.parametrize("k", [1, 2, 3])
def test_estimated_bounds_and_their_errors(exact: Exact, k: int) -> None:
    """z-test at 1e-6 two-sided (4.9 standard errors); rejects the bound of another K and the prior in w*'s place."""
    n = 30_000
    prior, posterior = draws(exact, exact.log_prior, n, 10 + k), draws(exact, exact.log_p, 500, 20 + k)
    low, low_se = log_z_lower(prior, n // k)
    assert abs(low - EXACT_BOUNDS[k][0]) < 4.9 * low_se < 0.05
    high, high_se = log_z_upper(prior[:6000], posterior, k)
    assert abs(high - EXACT_BOUNDS[k][1]) < 4.9 * high_se < 0.2
    wrong, wrong_se = log_z_upper(prior[:6000], prior[6000:6500], k)
    assert abs(wrong - EXACT_BOUNDS[k][1]) > 4.9 * wrong_se


def test_the_reported_error_is_the_spread(exact: Exact) -> None:
    """Mean reported variance over the variance among 300 repetitions lies in 1 ± 0.45 (5.5 sd of a χ²_299/299).

    Covers the delta method, the groups, the crossing of both samples, and the single group. Rejects: an error that
    forgets either of the two samples (the ratio falls below a half).
    """
    ways = {
        "log_z": lambda w, e: log_z(w),
        "lower": lambda w, e: log_z_lower(w, 10),
        "upper": lambda w, e: log_z_upper(w, e, 5),
        "upper, one group": lambda w, e: log_z_upper(w, e),
    }
    got = {name: [] for name in ways}
    for seed in range(300):
        w, e = draws(exact, exact.log_prior, 200, 1000 + seed), draws(exact, exact.log_p, 20, 5000 + seed)
        for name, way in ways.items():
            got[name].append(way(w, e))
    for name, pairs in got.items():
        values, errors = torch.tensor(pairs, dtype=torch.float64).T
        ratio = float((errors**2).mean() / values.var())
        assert 0.55 < ratio < 1.45, name


def test_tightest_upper_bound_stays_above_when_accepted_draws_are_in_the_pool() -> None:
    """Exact draws taken by rejection from the same prior draws: the bound holds in expectation, by enumeration."""
    weights, p0 = torch.tensor([1.0, 3.0, 9.0]).double(), [0.6, 0.3, 0.1]
    z = sum(p * float(w) for p, w in zip(p0, weights, strict=True))
    total = 0.0
    for i, j, k in itertools.product(range(3), repeat=3):
        pool = torch.log(weights[[i, j, k]])
        for at in (i, j, k):  # each row is accepted with probability w/9, whatever the others do
            chance = p0[i] * p0[j] * p0[k] * float(weights[at]) / 9 / (3 * z / 9)
            total += chance * log_z_upper(pool, torch.log(weights[[at]]))[0]
    assert total > math.log(z)
    assert total < math.log(z) + 0.5


def test_nothing_and_one_draw() -> None:
    none = torch.full((8,), -math.inf)
    assert log_z(none) == (-math.inf, math.inf)
    assert log_z_lower(none, 4) == (-math.inf, math.inf)
    assert log_z(torch.tensor([2.0])) == (2.0, math.inf)
    value, se = log_z_upper(none, torch.zeros(3))
    assert value == pytest.approx(-math.log(9))
    assert not math.isnan(se)
    with pytest.raises(ContractError, match="not a draw from this posterior"):
        log_z_upper(torch.zeros(3), torch.tensor([-math.inf]))
    for groups in (0, 9):
        with pytest.raises(ConfigError, match="groups"):
            log_z_lower(none, groups)
    with pytest.raises(ConfigError, match="k=10"):
        log_z_upper(none, torch.zeros(2), 10)


def test_bracket_and_its_verdict(exact: Exact) -> None:
    prior, posterior = draws(exact, exact.log_prior, 4000, 1), draws(exact, exact.log_p, 100, 2)
    found = bracket(prior, posterior)
    assert found.high is not None
    assert found.low <= found.value
    assert found.high == pytest.approx(exact.log_z, abs=0.1)
    assert found.finding().ok
    assert bracket(prior).high is None
    assert not LogZ(1.0, 0.1, 0.5, 1.6).finding().ok
    assert not bracket(torch.full((5,), -math.inf)).finding().ok


@pytest.mark.parametrize("counts", [(3, 1), (1, 3), (2, 2)])
def test_balance_is_unbiased_and_bounded(exact: Exact, counts: tuple[int, int]) -> None:
    """E[mean w] = Z by enumeration: each pool's expectation is a sum over its 31 outcomes.

    Rejects the plain weight joint/q of each draw's own proposal when the bound is tested, and a pool without shares.
    """
    laws = torch.stack([exact.log_prior, toy_policy().score(toy_prompts(), exact.completions).sum(-1)], 1)
    joint = exact.log_prior + exact.log_lik
    n = sum(counts)
    index = [0] * counts[0] + [1] * counts[1]  # the weight depends on a draw's own place only through its outcome
    total = 0.0
    for source in index:
        for x in range(31):
            rows = torch.full((n,), x)
            log_w = balance(joint[rows], laws[rows], torch.tensor(counts))
            total += float(laws[x, source].exp() * log_w[0].exp()) / n
            assert float(log_w[0]) <= float(exact.log_lik[x]) + math.log(n / counts[0]) + 1e-12
    assert math.log(total) == pytest.approx(exact.log_z, abs=1e-12)


def test_balance_refuses_what_does_not_fit() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="sum to the 3"):
        balance(zeros, torch.zeros(3, 2), torch.tensor([1, 1]))
    with pytest.raises(ContractError, match="probability 0"):
        balance(zeros, torch.full((3, 1), -math.inf), torch.tensor([3]))
    impossible = balance(torch.tensor([0.0, 0.0, -math.inf]), torch.zeros(3, 1), torch.tensor([3]))
    assert impossible.tolist() == [0.0, 0.0, -math.inf]
