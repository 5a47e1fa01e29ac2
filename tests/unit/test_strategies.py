"""Strategies by hand, their laws, and choosing for real."""

import math

import numpy as np
import pytest

from credence.belief.bandit import no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.chooser import Chooser
from credence.belief.linear_arms import LinearArms
from credence.belief.regret import mean_interval, simulate
from credence.belief.strategies import best, check_strategy, law, width
from credence.belief.worlds import World, bernoulli, built_in
from credence.core.errors import ConfigError
from credence.core.keys import Key


def belief() -> BetaArms:
    arms = np.array([0] * 4 + [1] * 3 + [2] * 2)
    return BetaArms.start(("a", "b", "c")).hear(arms, np.array([1.0, 1, 1, 0, 1, 0, 0, 1, 0]), no_context(9))


def test_width_grows_with_log_t() -> None:
    assert width(100) == pytest.approx(math.sqrt(2 * math.log(100)))
    assert width(10_000) == pytest.approx(math.sqrt(2) * width(100))


def test_ties_are_shared_and_broken_by_lot() -> None:
    fresh = BetaArms.start(("a", "b", "c"))
    for strategy in ("greedy", "ucb", "uniform"):
        assert law(check_strategy(strategy), fresh, Key(0), 1, no_context(2)) == pytest.approx(np.full((2, 3), 1 / 3))
    assert law("greedy", belief(), Key(0), 9, no_context(1)).tolist() == [[1, 0, 0]]
    rng = Key(1).generator()
    counts = np.bincount(best(np.zeros((3000, 3)), rng), minlength=3)
    assert counts.min() > 870  # 1,000 each, sd 26: five of them


def test_thompsons_law_is_the_probability_to_be_best() -> None:
    # P(θ_a > θ_b) for Beta(3, 1) and Beta(1, 1) is E[θ_a] = 3/4; 20,000 draws, 5 standard errors.
    arms = BetaArms.start(("a", "b")).hear(np.zeros(2, np.int64), np.ones(2), no_context(2))
    found = law("thompson", arms, Key(2), 1, no_context(1), draws=20_000)[0]
    assert found[0] == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / 20_000))
    assert found.sum() == pytest.approx(1)


def test_a_law_does_not_depend_on_how_contexts_are_batched() -> None:
    x = Key(3).generator().normal(size=(30, 1))
    arms = LinearArms.start(("a", "b"), 1).hear(np.zeros(30, np.int64), x[:, 0], x)
    together = law("thompson", arms, Key(4), 1, x, draws=200)
    assert np.concatenate([law("thompson", arms, Key(4), 1, x[i : i + 1], draws=200) for i in range(30)]) == (
        pytest.approx(together)
    )


def test_a_chooser_logs_the_probability_that_it_used() -> None:
    chooser = Chooser(belief(), Key(5), explore=0.3)
    choice = chooser.choose()
    assert chooser.choose() == choice  # choosing changes nothing
    assert sum(choice.law.values()) == pytest.approx(1)
    assert choice.propensity == choice.law[choice.arm]
    assert min(choice.law.values()) >= 0.1 - 1e-12
    picked = [Chooser(belief(), Key(i), "uniform").choose().arm for i in range(300)]
    assert {picked.count(name) > 60 for name in ("a", "b", "c")} == {True}  # 100 each, sd 8.2
    assert {Chooser(belief(), Key(i), "greedy").choose().arm for i in range(20)} == {"a"}


def test_a_chooser_learns() -> None:
    chooser = Chooser(BetaArms.start(("good", "bad")), Key(6))
    for _ in range(60):
        arm = chooser.choose().arm
        chooser = chooser.learn(arm, float(arm == "good"))
    assert chooser.step == 60
    assert chooser.choose().law["good"] > 0.9
    with pytest.raises(ConfigError, match="Did you mean 'good'"):
        chooser.learn("god", 1.0)
    with pytest.raises(ConfigError, match=r"explore=1\.5"):
        Chooser(belief(), Key(0), explore=1.5)
    with pytest.raises(ConfigError, match="Did you mean 'thompson'"):
        check_strategy("tompson")


def test_intervals_and_regret_by_hand() -> None:
    value, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (value, low, high) == pytest.approx((2, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-3)
    assert mean_interval(np.array([1.0]))[1:] == (-math.inf, math.inf)
    found = simulate(bernoulli((1.0, 0.0)), "greedy", Key(7), 50, 40)
    assert set(found.regret[:, -1].tolist()) <= {0.0, 1.0}  # one failure is enough to leave an arm that never pays
    assert found.best[-1] == 1
    again = simulate(bernoulli((1.0, 0.0)), "greedy", Key(7), 50, 40)
    assert (again.regret == found.regret).all()


def test_strategies_meet_the_same_world() -> None:
    """Greedy and UCB on one arm that is certain and one that is worthless differ only by their own choices."""
    linear = built_in("linear")
    assert linear.features == 2
    curves = [simulate(linear, name, Key(8), 1, 5).regret for name in ("uniform", "thompson")]
    assert curves[0].shape == curves[1].shape == (5, 1)


def test_worlds_that_cannot_be() -> None:
    for wrong, words in (
        (lambda: bernoulli((0.5,)), "1 arm"),
        (lambda: bernoulli((0.5, 1.2)), r"mean 1\.2"),
        (lambda: built_in("liner"), "Did you mean 'linear'"),
        (lambda: World("bernoulli", ("a", "b"), np.zeros((2, 2))), "no context"),
        (lambda: World("linear", ("a", "b"), np.zeros((2, 2)), math.nan), "finite"),
        (lambda: simulate(bernoulli((0.1, 0.2)), "ucb", Key(0), 0, 5), "0 steps"),
    ):
        with pytest.raises(ConfigError, match=words):
            wrong()
    assert bernoulli((0.5, 0.5)).names == ("1: 0.5", "2: 0.5")
