"""Beliefs about arms: conjugate updates by hand and against the textbook, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from credence.belief.bandit import arm_of, check_names, no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.beta_law import quantiles
from credence.belief.linear_arms import LinearArms, with_intercept
from credence.belief.logistic_arms import LogisticArms
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.evidence.feedback import Opinions, fit_head

NAMES = ("plain", "worked")


def heard(arm: list[int], reward: list[float]) -> BetaArms:
    return BetaArms.start(NAMES, prior=(2.0, 1.0)).hear(
        np.array(arm), np.array(reward, np.float64), no_context(len(arm))
    )


def test_beta_update_is_exact() -> None:
    arms = heard([0, 0, 0, 1], [1, 1, 0, 0])
    a, b = arms.counts
    assert a.tolist() == [[4.0, 2.0]]
    assert b.tolist() == [[2.0, 2.0]]
    assert arms.mean(no_context(1)).tolist() == [[4 / 6, 2 / 4]]
    share = heard([0], [0.25]).counts  # a reward between 0 and 1 is that share of a success
    assert (share[0][0, 0], share[1][0, 0]) == (2.25, 1.75)


def test_ucb1_by_hand() -> None:
    # Rejects a width without log t, and an arm never tried that is not tried first.
    arms = heard([0, 0, 0, 1], [1, 1, 0, 0])
    w = math.sqrt(2 * math.log(4))
    assert arms.upper(no_context(1), w)[0] == pytest.approx([2 / 3 + w / math.sqrt(3), w])
    assert heard([0], [1]).upper(no_context(1), w)[0, 1] == math.inf


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 1.0), (0.5, 0.5), (2.0, 1.0), (0.5, 3.0), (30.0, 4.0), (1e6, 3e5), (1.0, 400.0)]
)
def test_beta_quantiles_are_those_of_scipy(a: float, b: float) -> None:
    law, shares = stats.beta(a, b), [0.001, 0.025, 0.5, 0.975, 0.999]
    assert quantiles(a, b, shares) == pytest.approx(law.ppf(shares), abs=5e-6 * law.std())


def test_linear_update_is_the_textbooks_one_by_one() -> None:
    """Normal–inverse-gamma by the recursion in (μ, Λ, a, b), which ours never forms."""
    rng = np.random.Generator(np.random.Philox(key=3))
    x, r = rng.normal(size=(7, 2)), rng.normal(size=7)
    mu, precision, a, b = np.zeros(3), 0.25 * np.eye(3), 1.5, 1.5 * 0.5**2
    for row, reward in zip(with_intercept(x), r, strict=True):
        new = precision + np.outer(row, row)
        centre = np.linalg.solve(new, precision @ mu + row * reward)
        b += 0.5 * (reward**2 + mu @ precision @ mu - centre @ new @ centre)
        mu, precision, a = centre, new, a + 0.5
    arms = LinearArms.start(NAMES, 2, scale=0.5).hear(np.ones(7, np.int64), r, x)
    assert arms.centre[0, 1] == pytest.approx(mu)
    assert arms.degrees[0, 1] == pytest.approx(2 * a)
    assert arms.rest[0, 1] == pytest.approx(2 * b)
    at = np.array([[0.3, -1.0]])
    row = with_intercept(at)[0]
    assert arms.scale(at)[0, 1] == pytest.approx(math.sqrt(b / a * row @ np.linalg.solve(precision, row)))
    assert arms.mean(at)[0, 0] == 0  # never tried
    drawn = arms.draws(rng, 20_000, at)[:, 0, 1]
    law = stats.t(2 * a, row @ mu, arms.scale(at)[0, 1])
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-6


def test_logistic_is_the_heads_posterior_and_shares_count() -> None:
    rng = np.random.Generator(np.random.Philox(key=4))
    x = rng.normal(size=(40, 2))
    r = (rng.random(40) < 0.7).astype(np.float64)
    arms = LogisticArms.start(NAMES, 2).hear(np.zeros(40, np.int64), r, x)
    opinions = Opinions(torch.from_numpy(x), torch.from_numpy(r > 0), torch.zeros(0, 2, dtype=torch.float64))
    head = fit_head(opinions, torch.ones(2, dtype=torch.float64))
    assert arms.centre[0, 0] == pytest.approx(head.mean.numpy())
    assert arms.root[0, 0] @ arms.root[0, 0].T == pytest.approx(head.cov.numpy())
    assert arms.mean(x[:3])[:, 0] == pytest.approx(head.approval(torch.from_numpy(x[:3])).numpy())
    assert arms.mean(x[:1])[0, 1] == 0.5
    half = LogisticArms.start(NAMES, 2).hear(np.zeros(40, np.int64), np.full(40, 0.5), x)
    assert half.mean(x[:3])[:, 0] == pytest.approx(0.5)


def test_a_logistic_belief_waits_for_its_refit() -> None:
    arms, one = LogisticArms.start(NAMES, 1, every=2), np.ones(1)
    for waiting in (1, 0):
        arms = arms.update(np.zeros(1, np.int64), one, one[:, None])
        assert arms.waiting == waiting
        assert (arms.mean(one[:, None])[0, 0] > 0.5) == (waiting == 0)


@pytest.mark.parametrize(
    ("names", "words"), [(("a",), "1 arm .a."), ((), "0 arms"), (("a", "b", "a"), "'a' stands twice")]
)
def test_arms_that_cannot_be(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_names(names)


def test_what_no_belief_can_hear() -> None:
    arms, none = BetaArms.start(NAMES), no_context(1)
    with pytest.raises(ConfigError, match=r"reward 1\.5: a Bernoulli belief .*--model linear"):
        arms.hear(np.zeros(1, np.int64), np.array([1.5]), none)
    with pytest.raises(ConfigError, match="arm number 2 of 2"):
        arms.hear(np.array([2]), np.ones(1), none)
    with pytest.raises(ContractError, match="NaN or infinite"):
        LinearArms.start(NAMES, 0).hear(np.zeros(1, np.int64), np.array([math.nan]), none)
    with pytest.raises(ShapeError, match=r"\(N, 2\) are needed"):
        LinearArms.start(NAMES, 2).hear(np.zeros(1, np.int64), np.ones(1), none)
    with pytest.raises(ConfigError, match="Did you mean 'worked'"):
        arm_of(NAMES, "workd")
    for wrong in (lambda: BetaArms.start(NAMES, prior=(0.0, 1.0)), lambda: LinearArms.start(NAMES, 1, ridge=0.0),
                  lambda: LogisticArms.start(NAMES, 1, tau=0.0), lambda: quantiles(0.1, 1.0, (0.5,)),
                  lambda: quantiles(1.0, 1.0, (1.0,))):  # fmt: skip
        with pytest.raises(ConfigError):
            wrong()
