import math

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.diagnose.frontier import beta_for_kl, frontier
from credence.posterior.exact import Exact, enumerate_posterior
from tests.toys import toy_a, toy_prompts, toy_reward


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


@pytest.fixture(scope="module")
def reward(exact: Exact) -> torch.Tensor:
    return torch.tensor(toy_reward([], list(exact.sequences)), dtype=torch.float64)


def test_gaussian_rewards_follow_the_square_root_law() -> None:
    """E r = σ√(2 KL) on a grid of 4,001 points, where the trapezoid rule is exact to rounding."""
    sigma = 0.7
    r = torch.linspace(-12 * sigma, 16 * sigma, 4001, dtype=torch.float64)
    for point in frontier([r], [5.0, 1.0, 0.4, 0.2], measure=[-(r**2) / (2 * sigma**2)], exact=True):
        assert point.kl == pytest.approx(sigma**2 / (2 * point.beta**2), abs=1e-9)
        assert point.reward == pytest.approx(sigma * math.sqrt(2 * point.kl), abs=1e-9)


def test_the_slope_is_beta_and_no_law_lies_above(exact: Exact, reward: torch.Tensor) -> None:
    """dE/dKL = β to 1e-4; the frontier is concave, so its tangent at β bounds every law: E − β KL ≤ β log Z."""
    for beta in (2.0, 0.5, 0.2):
        left, right = frontier([reward], [beta * 1.001, beta / 1.001], measure=[exact.log_prior], exact=True)
        assert (right.reward - left.reward) / (right.kl - left.kl) == pytest.approx(beta, rel=1e-4)
    (here,) = frontier([reward], [0.5], measure=[exact.log_prior], exact=True)
    assert here.reward == pytest.approx(0.6956932185, abs=1e-10)
    assert here.kl == pytest.approx(0.5392896809, abs=1e-10)
    law = torch.tensor(0.1958249745), torch.tensor(0.3131321051)  # the toy's test policy: KL(π‖π0), J + β KL
    assert here.reward - 0.5 * (here.kl - float(law[0])) > 0.1382196179 + 0.5 * 0.1958249745


@pytest.mark.parametrize(("kl", "beta"), [(0.1, 1.268683), (0.5, 0.525010), (1.0, 0.304827)])
def test_beta_for_a_budget(exact: Exact, reward: torch.Tensor, kl: float, beta: float) -> None:
    assert beta_for_kl([reward], kl, measure=[exact.log_prior], exact=True) == pytest.approx(beta, abs=5.001e-7)
    twice = [reward, reward + 3], [exact.log_prior, exact.log_prior]  # a prompt's constant changes nothing
    assert beta_for_kl(twice[0], kl, measure=twice[1], exact=True) == pytest.approx(beta, abs=5.001e-7)


def test_other_evidence_is_held_fixed(exact: Exact, reward: torch.Tensor) -> None:
    cut = torch.where(exact.completions.ended, 0.0, -3.0).double()
    (point,) = frontier([reward], [0.5], other=[cut], measure=[exact.log_prior], exact=True)
    joint = exact.log_prior + cut + reward / 0.5
    p = torch.softmax(joint, 0)
    assert point.reward == pytest.approx(float(p @ reward), abs=1e-12)
    assert point.kl == pytest.approx(float(p @ (torch.log_softmax(joint, 0) - exact.log_prior)), abs=1e-12)


def test_trust_ends_before_log_n() -> None:
    """On 512 Gaussian rewards the optimum at KL > log n − 2 = 4.24 is shaded, though a number comes out."""
    draws = [torch.from_numpy(Key(b).generator().normal(size=512)) for b in range(3)]
    points = frontier(draws, [2.0, 1.0, 0.05])
    assert [p.trusted for p in points] == [True, True, False]
    assert points[0].kl == pytest.approx(0.125, abs=0.04)
    assert points[-1].kl < math.log(512) + 1e-9  # n draws cannot express more
    one_bad = [*draws, torch.tensor([0.0] * 511 + [9.0])]
    assert not frontier(one_bad, [1.0])[0].trusted  # one prompt that cannot be trusted spoils the mean


def test_impossible_draws_carry_no_weight() -> None:
    r = torch.tensor([0.0, 1.0, -math.inf], dtype=torch.float64)
    (point,) = frontier([r], [1.0])
    weights = torch.tensor([1.0, math.e])
    assert point.reward == pytest.approx(float(weights[1] / weights.sum()), abs=1e-6)
    assert point.kl > math.log(1.5) - 1e-9  # the event alone costs log 3/2
    with pytest.raises(DegeneracyError, match="impossible"):
        frontier([torch.full((3,), -math.inf)], [1.0])


def test_what_cannot_be_reached_is_said() -> None:
    draws = [torch.from_numpy(Key(1).generator().normal(size=100))]
    with pytest.raises(ConfigError, match=r"from 0 to 2\.605"):
        beta_for_kl(draws, 3.0)
    with pytest.raises(ConfigError, match="cannot be had"):
        beta_for_kl([torch.ones(100)], 0.1)  # a constant reward moves nothing
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="budget"):
            beta_for_kl(draws, bad)
        with pytest.raises(ConfigError, match="betas"):
            frontier(draws, [bad])
    with pytest.raises(ContractError, match="prompt 0"):
        frontier([torch.tensor([math.nan])], [1.0])
    with pytest.raises(ShapeError):
        frontier([], [1.0])
    with pytest.raises(ShapeError):
        frontier(draws, [1.0], other=[torch.zeros(3)])


def test_the_reach_of_enumerated_rows_is_the_surprise_of_their_best(exact: Exact, reward: torch.Tensor) -> None:
    """KL(p*_β‖π0) → −log π0(argmax r) as β → 0; λ·r ~ 1e12 must not lose it, and the message names it."""
    most = -float(exact.log_prior[reward.argmax()])
    (point,) = frontier([reward + 7.0], [1e-12], measure=[exact.log_prior], exact=True)
    assert point.kl == pytest.approx(most, abs=1e-9)
    with pytest.raises(ConfigError, match=f"reach from 0 to {most:.4g}"):
        beta_for_kl([reward], most + 0.1, measure=[exact.log_prior], exact=True)
