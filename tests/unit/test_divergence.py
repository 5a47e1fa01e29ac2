"""Divergences from draws, by exact expectation over TOY-A, and the point-mass target."""

import math

import pytest
import torch

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.diagnose.divergence import PointMass, kl_beside, kl_forward, kl_forward_exact, kl_prior, support_check
from credence.posterior.exact import Exact, enumerate_posterior
from tests.toys import toy_a, toy_policy, toy_prompts

SURPRISE = -3.8933912134


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


@pytest.fixture(scope="module")
def log_pi(exact: Exact) -> torch.Tensor:
    return toy_policy().score(toy_prompts(), exact.completions).sum(-1)


def test_means_under_their_own_law_are_the_divergences(exact: Exact, log_pi: torch.Tensor) -> None:
    assert float(log_pi.exp() @ kl_prior(log_pi, exact.log_prior)) == pytest.approx(0.1958249745, abs=1e-10)
    forward = kl_forward_exact(exact.log_z, exact.log_prior + exact.log_lik, exact.log_prior)
    assert float(exact.log_p.exp() @ forward) == pytest.approx(0.5392896809, abs=1e-10)


def test_forward_from_weighted_draws(exact: Exact, log_pi: torch.Tensor) -> None:
    """KL(p*‖π) from 40,000 prior draws, z-test at 1e-6 (4.9 se); rejects KL(π‖p*) and a forgotten log Z.

    The reported error is held to the spread of 300 repetitions of 200 draws: ratio of variances in 1 ± .45.
    """
    truth = float(kl(exact.log_p, log_pi))
    p = exact.log_prior.exp().numpy()
    joint = exact.log_prior + exact.log_lik

    def once(n: int, seed: int) -> tuple[float, float]:
        rows = torch.from_numpy(Key(seed).generator().choice(31, n, p=p / p.sum()))
        return kl_forward(exact.log_lik[rows], joint[rows], log_pi[rows])

    value, se = once(40_000, 1)
    assert abs(value - truth) < 4.9 * se
    assert abs(value - float(kl(log_pi, exact.log_p))) > 4.9 * se
    assert abs(value + exact.log_z - truth) > 4.9 * se
    values, errors = torch.tensor([once(200, 100 + s) for s in range(300)], dtype=torch.float64).T
    assert 0.55 < float((errors**2).mean() / values.var()) < 1.45


def test_an_impossible_draw_is_inf_and_never_nan() -> None:
    """A Monte-Carlo KL is finite until a violating draw appears, and inf from then on."""
    zero, inf = torch.zeros(4, dtype=torch.float64), math.inf
    cut = torch.tensor([0.0, 0.0, 0.0, -inf], dtype=torch.float64)
    assert kl_forward(zero, zero, zero)[0] == 0
    assert kl_forward(zero, zero, cut) == (inf, inf)
    assert math.isfinite(kl_forward(cut, cut, cut)[0])  # the violating draw has weight zero: it is no draw of p*
    assert kl_prior(zero, cut).tolist() == [0, 0, 0, inf]
    assert kl_forward_exact(0.0, zero, cut).tolist() == [0, 0, 0, inf]


def test_draws_scored_under_the_wrong_law_are_refused() -> None:
    zero, cut = torch.zeros(2, dtype=torch.float64), torch.tensor([0.0, -math.inf], dtype=torch.float64)
    nan = torch.tensor([0.0, math.nan], dtype=torch.float64)
    for call in (
        lambda: kl_prior(cut, zero),
        lambda: kl_prior(zero, nan),
        lambda: kl_forward(torch.full((2,), -math.inf), zero, zero),
    ):
        with pytest.raises(ContractError):
            call()


def test_beside_a_known_reply_only_the_rest_is_estimated(exact: Exact, log_pi: torch.Tensor) -> None:
    """KL(π‖π0) from 4,000 draws, 40 times, z-test at 1e-6 in all (|z| < 5.6); rejects KL(π0‖π), a forgotten log-ratio.

    The errors are held to the spread: ratio of variances in 1 ± .9 over 40 repetitions.
    """
    at = exact.index()[(0, 1, 2)]
    law = log_pi.exp().numpy()

    def once(seed: int) -> tuple[float, float]:
        rows = torch.from_numpy(Key(seed).generator().choice(31, 4000, p=law / law.sum()))
        return kl_beside(
            log_pi[rows], exact.log_prior[rows], rows == at, (float(log_pi[at]), float(exact.log_prior[at]))
        )

    found = torch.tensor([once(seed) for seed in range(40)], dtype=torch.float64)
    assert bool(((found[:, 0] - 0.1958249745).abs() < 5.6 * found[:, 1]).all())
    assert bool(((found[:, 0] - 0.3283870420).abs() > 5.6 * found[:, 1]).all())
    assert 0.1 < float(found[:, 0].var() / (found[:, 1] ** 2).mean()) < 1.9


def test_where_every_draw_hits_the_known_part_is_a_lower_bound() -> None:
    """π* = .9 against q* = .2: .9 log 4.5 + .1 log .125; the plain mean, log 4.5, would be above some true values."""
    hits = torch.ones(5, dtype=torch.bool)
    log_pi, log_q = (torch.full((5,), math.log(p), dtype=torch.float64) for p in (0.9, 0.2))
    value, se = kl_beside(log_pi, log_q, hits, (math.log(0.9), math.log(0.2)))
    assert value == pytest.approx(0.9 * math.log(4.5) + 0.1 * math.log(0.125), abs=1e-12)
    assert se == math.inf
    certain, possible = torch.zeros(5, dtype=torch.float64), torch.full((5,), -2.0, dtype=torch.float64)
    assert kl_beside(certain, possible, hits, (0.0, -2.0)) == (2, 0)  # π is δ: its surprisal under q, exactly
    assert kl_beside(possible, certain, ~hits, (-2.0, 0.0)) == (math.inf, math.inf)  # q is δ
    assert kl_beside(possible, possible, ~hits, (-math.inf, -2.0)) == pytest.approx((0, 0), abs=1e-12)


def test_support_check_says_no_more_than_it_knows() -> None:
    clean = support_check(torch.zeros(300))
    assert clean.ok
    assert clean.threshold == pytest.approx(0.01)
    assert "< 0.01 (95 %)" in clean.meaning
    bad = support_check(torch.tensor([0.0, -math.inf]))
    assert not bad.ok
    assert "+inf" in bad.meaning
    with pytest.raises(ContractError):
        support_check(torch.zeros(0))


def test_point_mass_on_the_toy_prior() -> None:
    found, p = PointMass(SURPRISE), math.exp(SURPRISE)
    assert found.forward == -SURPRISE
    assert found.backward == math.inf
    assert found.tv == pytest.approx(1 - p, abs=1e-15)
    assert found.first_hit == pytest.approx(49.1, abs=0.05)
    assert found.half_mass == pytest.approx(math.log((1 - p) / p), abs=1e-12)
    assert found.bounded(found.half_mass) == pytest.approx(0.5, abs=1e-12)
    assert found.bounded(0.0) == pytest.approx(p, abs=1e-15)


def test_point_mass_against_itself_and_another() -> None:
    same, other = PointMass(0.0), PointMass(-math.inf)
    assert (same.forward, same.backward, same.tv, same.js) == (0, 0, 0, 0)
    assert (other.forward, other.backward, other.tv) == (math.inf, math.inf, 1)
    assert other.js == pytest.approx(math.log(2))
    for mass in (same, other, PointMass(-1e-18), PointMass(-5000.0)):
        numbers = [mass.js, mass.tv, mass.first_hit, mass.half_mass, mass.bounded(3.0), *mass.mixture(0.1)]
        assert not any(math.isnan(x) for x in numbers)
        assert mass.remedies()


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 1.0])
def test_point_mass_formulas_by_enumeration(exact: Exact, epsilon: float) -> None:
    at = exact.index()[(0, 1, 0, 2)]
    delta = torch.zeros(31, dtype=torch.float64)
    delta[at] = 1
    p0 = exact.log_prior.exp()
    mix = (1 - epsilon) * delta + epsilon * p0
    found = PointMass(float(exact.log_prior[at]))
    to, back = found.mixture(epsilon)
    assert to == pytest.approx(float(kl(mix.log(), exact.log_prior)), abs=1e-12)
    assert back == pytest.approx(float(kl(exact.log_prior, mix.log())), abs=1e-12)
    half = ((delta + p0) / 2).log()
    js = 0.5 * float(kl(delta.log(), half)) + 0.5 * float(kl(exact.log_prior, half))
    assert found.js == pytest.approx(js, abs=1e-12)
    assert found.tv == pytest.approx(0.5 * float((delta - p0).abs().sum()), abs=1e-12)


def test_point_mass_refuses_what_is_no_probability() -> None:
    for bad in (0.1, math.nan):
        with pytest.raises(ConfigError, match="log-probability"):
            PointMass(bad)
    for bad in (0.0, 1.5, math.nan):
        with pytest.raises(ConfigError, match="epsilon"):
            PointMass(-1.0).mixture(bad)
