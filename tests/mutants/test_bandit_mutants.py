"""Wrong bandits and wrong off-policy estimates; each must fail the very check that the right one passes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from credence.belief import off_policy, regret, strategies
from credence.belief.bandit import Arms, Floats, Ints
from credence.belief.beta_arms import BetaArms
from credence.belief.linear_arms import LinearArms
from credence.belief.off_policy import Logged
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import bandit_checks as checks

Patch = pytest.MonkeyPatch


def mean_for_draw(patch: Patch) -> None:
    """Thompson sampling takes the posterior mean."""
    patch.setattr(BetaArms, "draw", lambda self, rng, context: self.mean(context))


def no_log(patch: Patch) -> None:
    """UCB's width does not grow with t."""
    patch.setattr(strategies, "width", lambda step: math.sqrt(2))


def first_of_ties(patch: Patch) -> None:
    """Ties go to the first arm, which is the best one here."""
    patch.setattr(regret, "best", lambda values, rng: values.argmax(-1))


def heard_twice(patch: Patch) -> None:
    """Each reward counts twice."""
    right = BetaArms.update
    patch.setattr(BetaArms, "update", lambda self, *given: right(right(self, *given), *given))


def memory_of_fifty(patch: Patch) -> None:
    """Old rewards fade: the belief never hardens beyond fifty of them."""
    right = BetaArms.update

    def wrong(self: BetaArms, arm: Ints, reward: Floats, context: Floats) -> BetaArms:
        return right(replace(self, wins=0.98 * self.wins, tries=0.98 * self.tries), arm, reward, context)

    patch.setattr(BetaArms, "update", wrong)


def parameters(spread: Callable[[LinearArms, np.random.Generator], tuple[Floats, Floats]]) -> Any:
    """`LinearArms._parameters` with another spread: (σ, root of the covariance)."""

    def wrong(self: LinearArms, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        sigma, root = spread(self, rng)
        return self.centre + sigma[..., None] * np.einsum("rkpq,rkq->rkp", root, rng.standard_normal(shape))

    return wrong


def precision_for_covariance(patch: Patch) -> None:
    """θ is drawn with Λ where Λ⁻¹ belongs."""

    def spread(arms: LinearArms, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return np.sqrt(arms.rest / rng.chisquare(arms.degrees)), np.linalg.cholesky(arms.precision)

    patch.setattr(LinearArms, "_parameters", parameters(spread))


def noise_as_known(patch: Patch) -> None:
    """σ is put in by its estimate, as if it were known."""

    def spread(arms: LinearArms, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return np.sqrt(arms.rest / (arms.degrees + 2)), np.linalg.cholesky(np.linalg.inv(arms.precision))

    patch.setattr(LinearArms, "_parameters", parameters(spread))


def not_divided(patch: Patch) -> None:
    """IPS forgets the propensity."""
    patch.setattr(off_policy, "weights", lambda mine, propensity: mine)


def wrong_sign(patch: Patch) -> None:
    """DR takes the correction off."""
    right = off_policy.doubly_robust

    def wrong(logged: Logged, law: Floats, model: Floats, w: Floats) -> Floats:
        return 2 * (law * model).sum(1) - right(logged, law, model, w)

    patch.setattr(off_policy, "doubly_robust", wrong)


def model_of_the_logged_arm(patch: Patch) -> None:
    """DR's first term is the model's value of what was logged, not of the policy."""

    def wrong(logged: Logged, law: Floats, model: Floats, w: Floats) -> Floats:
        said = model[np.arange(len(logged)), logged.arm]
        return said + w * (logged.reward - said)

    patch.setattr(off_policy, "doubly_robust", wrong)


def too_narrow(patch: Patch) -> None:
    """Intervals take the half of the standard error."""
    right = off_policy.mean_interval

    def wrong(*given: Any) -> tuple[float, float, float]:
        value, low, high = right(*given)
        return value, (value + low) / 2, (value + high) / 2

    patch.setattr(off_policy, "mean_interval", wrong)


def judged_where_learnt(patch: Patch) -> None:
    """The policy is learnt from the very choices that it is judged on."""

    def wrong(logged: Logged, start: Arms, folds: Ints, read: Callable[[Arms, Floats], Floats]) -> Floats:
        return read(start.hear(logged.arm, logged.reward, logged.context), logged.context)

    patch.setattr(off_policy, "cross_fitted", wrong)


MUTANTS: Sequence[Mutant] = (
    Mutant("Thompson by the mean", checks.check_golden_regrets, mean_for_draw),
    Mutant("ties to the first arm", checks.check_golden_regrets, first_of_ties),
    Mutant("UCB without log t", checks.check_ucb, no_log),
    Mutant("reward heard twice", checks.check_beta_ranks, heard_twice),
    Mutant("rewards forgotten", checks.check_contraction, memory_of_fifty),
    Mutant("precision for covariance", checks.check_linear_ranks, precision_for_covariance),
    Mutant("noise taken as known", checks.check_linear_ranks, noise_as_known),
    Mutant("IPS without the propensity", checks.check_off_policy_unbiased, not_divided),
    Mutant("DR with the wrong sign", checks.check_off_policy_unbiased, wrong_sign),
    Mutant("DR with the logged arm's model", checks.check_off_policy_unbiased, model_of_the_logged_arm),
    Mutant("half the error of IPS", checks.check_off_policy_coverage, too_narrow),
    Mutant("policy judged where it was learnt", checks.check_learnt_policy, judged_where_learnt),
)
LONG = (
    "Thompson by the mean",
    "ties to the first arm",
    "rewards forgotten",
    "half the error of IPS",
    "policy judged where it was learnt",
)
"""Left to the slow part: each takes some seconds a seed."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(tuple(MUTANTS), LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
