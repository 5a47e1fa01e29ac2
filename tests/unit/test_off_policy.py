"""Off-policy estimates by hand, what is refused, and what is warned of."""

import math

import numpy as np
import pytest

from credence.belief.bandit import no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.off_policy import Logged, cross_fitted, evaluate, folds_of
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key

NAMES = ("a", "b")


def four(propensity: list[float] | None = None) -> Logged:
    p = [0.5, 0.25, 0.5, 0.8] if propensity is None else propensity
    return Logged(NAMES, np.array([0, 0, 1, 1]), np.array([1.0, 0.0, 1.0, 1.0]), np.array(p), no_context(4))


def long_log(n: int, share: float, key: int = 0, logged: float | None = None) -> Logged:
    """Arm b with probability `share`, logged as `logged`."""
    rng = Key(key).generator()
    arm = (rng.random(n) < share).astype(np.int64)
    p = np.where(arm == 1, share if logged is None else logged, 1 - (share if logged is None else logged))
    return Logged(NAMES, arm, (rng.random(n) < 0.6).astype(np.float64), p, no_context(n))


def always(k: int, n: int) -> np.ndarray:
    return np.tile(np.eye(2)[k], (n, 1))


def test_three_estimates_by_hand() -> None:
    law = np.tile([0.2, 0.8], (4, 1))
    model = np.tile([0.5, 0.75], (4, 1))
    found = evaluate(four(), "mixed", law, model)
    w = np.array([0.4, 0.8, 1.6, 1.0])
    assert found.ips is not None
    assert found.snips is not None
    assert found.dr is not None
    assert found.ips[0] == pytest.approx((0.4 + 1.6 + 1.0) / 4)
    assert found.snips[0] == pytest.approx(3.0 / 3.8)
    assert found.dr[0] == pytest.approx(0.7 + np.mean(w * np.array([0.5, -0.5, 0.25, 0.25])))
    assert found.ess == pytest.approx(3.8**2 / (w**2).sum())
    assert found.weight_mean == pytest.approx(0.95)
    assert found.matched == 1


def test_the_logging_policy_earns_the_mean() -> None:
    logged = long_log(300, 0.3)
    found = evaluate(logged, "as logged", logged.propensity)
    assert found.ips is not None
    assert found.snips is not None
    assert found.ips == pytest.approx(found.snips)
    assert found.ips[0] == pytest.approx(logged.reward.mean())
    assert found.dr is None
    assert found.trusted
    assert found.ess == pytest.approx(300)


def test_a_policy_that_the_log_never_follows_has_no_value() -> None:
    logged = Logged(("a", "b", "c"), *(getattr(four(), name) for name in ("arm", "reward", "propensity", "context")))
    found = evaluate(logged, "always c", np.tile(np.eye(3)[2], (4, 1)), np.zeros((4, 3)))
    assert (found.ips, found.snips, found.dr, found.ess) == (None, None, None, 0.0)
    assert "nothing is known" in found.warnings[0]


def test_warnings_say_what_is_wrong() -> None:
    assert evaluate(long_log(2000, 0.3), "always b", always(1, 2000)).trusted
    off = evaluate(long_log(2000, 0.3, logged=0.6), "always b", always(1, 2000)).warnings
    assert "The weights average 0.5" in off[0]
    assert "never makes choices" in off[0]
    above = evaluate(long_log(2000, 0.3, logged=0.1), "always b", always(1, 2000)).warnings
    assert "The weights average 3" in above[0]
    assert "never makes choices" not in above[0]
    few = evaluate(long_log(300, 0.02, key=1), "always b", always(1, 300)).warnings
    assert any("are worth" in line for line in few)
    same = Logged(NAMES, np.array([0] * 50 + [1] * 50), np.array([1.0] * 50 + [0.0, 1.0] * 25), np.full(100, 0.5),
                  no_context(100))  # fmt: skip
    assert any("without width" in line for line in evaluate(same, "always a", always(0, 100)).warnings)


def test_one_match_has_no_snips_interval() -> None:
    logged = Logged(NAMES, np.array([0, 1, 1]), np.array([1.0, 0.0, 1.0]), np.full(3, 0.5), no_context(3))
    found = evaluate(logged, "always a", always(0, 3))
    assert found.snips is None
    assert found.ips is not None
    assert not found.trusted


@pytest.mark.parametrize("p", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_a_propensity_that_cannot_be(p: float) -> None:
    with pytest.raises(ConfigError, match=r"choice 2: propensity .* in \(0, 1\]"):
        four([0.5, p, 0.5, 0.5])


def test_other_refusals() -> None:
    with pytest.raises(ConfigError, match="log is empty"):
        Logged(NAMES, np.zeros(0, np.int64), np.zeros(0), np.zeros(0), no_context(0))
    with pytest.raises(ShapeError, match="propensities"):
        Logged(NAMES, np.array([0, 1]), np.ones(2), np.ones(3), no_context(2))
    with pytest.raises(ShapeError, match="law"):
        evaluate(four(), "short", np.ones((3, 2)))
    for wrong in (np.full((4, 2), 0.6), np.full((4, 2), -0.5), np.full(4, 1.5)):
        with pytest.raises(ContractError, match="probabilities"):
            evaluate(four(), "none", wrong)
    with pytest.raises(ConfigError, match="Log more choices"):
        folds_of(1, 5, Key(0))


def test_folds_are_even_and_no_choice_is_judged_by_itself() -> None:
    folds = folds_of(23, 5, Key(1))
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 5, 5, 5]
    # one success of each arm: without it the arm's mean is that of its failures alone
    logged = Logged(NAMES, np.array([0, 0, 1, 1]), np.array([1.0, 0.0, 0.0, 1.0]), np.full(4, 0.5), no_context(4))
    read = cross_fitted(logged, BetaArms.start(NAMES), np.arange(4), lambda arms, x: arms.mean(x))
    assert read[0].tolist() == pytest.approx([1 / 3, 2 / 4])
    assert read[3].tolist() == pytest.approx([2 / 4, 1 / 3])
