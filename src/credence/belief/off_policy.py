"""What another policy would have earned, from a log that kept the probability of every choice.

    w_i = π(a_i|x_i)/p_i
    IPS   = (1/n) Σ w_i r_i                                              unbiased; noisy where π and the log differ
    SNIPS = Σ w_i r_i / Σ w_i                                            bias of order 1/n; within the rewards' range
    DR    = (1/n) Σ [ Σ_a π(a|x_i) q̂(x_i, a) + w_i (r_i − q̂(x_i, a_i)) ]  unbiased for any q̂ that did not see i

All three need p > 0 wherever π > 0, and the right p. What can be seen of that is checked: the weights' mean is 1 in
expectation, and their tail says whether the sample can carry the estimate (diagnose/weights.py). Sources: Horvitz &
Thompson 1952; Swaminathan & Joachims 2015; Dudík, Langford & Li 2011. Tests: by hand in tests/unit/test_off_policy.py;
unbiasedness, coverage and their mutants in tests/statistical/test_bandits.py.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from credence.belief.bandit import Arms, Floats, Ints, check_names, check_rewards
from credence.belief.regret import mean_interval
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.types import Finding
from credence.diagnose.weights import weight_findings

Interval = tuple[float, float, float]
"""Value and the ends of its interval."""

MOST_OFF = 4.0
"""Standard errors by which the weights' mean may miss 1 (false alarm 6e-5 under normality)."""


@dataclass(frozen=True, eq=False)
class Logged:
    """N choices as they were made.

    Attributes:
        names: K arms.
        arm: (N,) position of the arm chosen.
        reward: (N,).
        propensity: (N,) probability with which that arm was chosen there, in (0, 1].
        context: (N, d) features that the choice could see.

    Raises:
        ConfigError: fewer than two arms, no line, or a propensity outside (0, 1].
        ShapeError: axes that do not fit.
        ContractError: a reward or a feature that is not finite.
    """

    names: tuple[str, ...]
    arm: Ints
    reward: Floats
    propensity: Floats
    context: Floats

    def __post_init__(self) -> None:
        check_names(self.names)
        check_rewards(self.arm, self.reward, self.context, len(self.names), None, unit=False)
        if self.propensity.shape != self.arm.shape:
            raise ShapeError(f"{self.propensity.shape} propensities for {self.arm.shape} choices: one each is needed.")
        if not len(self.arm):
            raise ConfigError("the log is empty: there is nothing to estimate from.")
        wrong = ~((self.propensity > 0) & (self.propensity <= 1))
        if bool(wrong.any()):
            at = int(np.argmax(wrong))
            raise ConfigError(f"choice {at + 1}: propensity {self.propensity[at]:g}; {PROPENSITY}")

    def __len__(self) -> int:
        return len(self.arm)


PROPENSITY = (
    "a choice that was made had a probability in (0, 1]. Log the probability that the chosen arm had when it was "
    "chosen."
)


@dataclass(frozen=True)
class Value:
    """What a policy is worth by three estimators; None where one cannot be had.

    Attributes:
        policy: its name.
        ips: value and interval.
        snips: value and interval.
        dr: value and interval; None also where only the logged arm's probability under the policy is known.
        ess: (Σ w)²/Σ w²: how many choices of this policy itself the log is worth.
        matched: share of choices that the policy could have made.
        weight_mean: mean of w, 1 in expectation.
        trusted: no warning.
        warnings: why not, in sentences.
    """

    policy: str
    ips: Interval | None
    snips: Interval | None
    dr: Interval | None
    ess: float
    matched: float
    weight_mean: float
    warnings: tuple[str, ...] = field(default=())

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the figures."""
        return not self.warnings


def evaluate(logged: Logged, policy: str, law: Floats, model: Floats | None = None, level: float = 0.95) -> Value:
    """The value of a policy.

    Args:
        logged: the choices.
        policy: what to call it.
        law: (N, K) probability of every arm in each logged context; or (N,) of the logged arm alone.
        model: (N, K) q̂, expected rewards from a model that did not see choice i; DR needs it and the whole law.
        level: of the intervals.

    Intervals are Student's over the choices (SNIPS: of its linearisation w(r − V)/w̄) with ESS − 1 degrees of freedom,
    since so few choices carry the estimate. They hold for independent choices and a policy fixed beforehand, or learnt
    on other choices (`cross_fitted`). SNIPS needs two choices that match.

    Raises:
        ShapeError: axes that do not fit.
        ContractError: a law that is none.
    """
    law, n, k = np.asarray(law, np.float64), len(logged), len(logged.names)
    if law.shape not in ((n, k), (n,)) or (model is not None and model.shape != (n, k)):
        raise ShapeError(f"law {law.shape} for {n} choices of {k} arms: ({n}, {k}), or ({n},), is needed; q̂ alike.")
    whole = law.ndim == 2
    if not ((law >= 0).all() and (law <= 1 + 1e-9).all() and (not whole or np.allclose(law.sum(1), 1, atol=1e-6))):
        raise ContractError(f"policy {policy!r}: probabilities in [0, 1] that sum to 1 over the arms are needed.")
    mine = law[np.arange(n), logged.arm] if whole else law
    w = weights(mine, logged.propensity)
    mean = float(w.mean())
    if mean == 0:
        nothing = (
            "No choice in the log is one that this policy would make: nothing is known of its value. Let the logging "
            "policy try its arms."
        )
        return Value(policy, None, None, None, 0.0, 0.0, 0.0, (nothing,))
    ess = float(w.sum() ** 2 / (w**2).sum())
    degrees = max(1, int(ess) - 1)
    snips = float((w * logged.reward).sum() / w.sum())
    residual = w * (logged.reward - snips) / mean
    doubly = None
    if model is not None and whole:
        doubly = mean_interval(doubly_robust(logged, law, model, w), level, degrees)
    return Value(
        policy,
        mean_interval(w * logged.reward, level, degrees),
        mean_interval(snips + residual, level, degrees) if int((w > 0).sum()) > 1 else None,
        doubly,
        ess,
        float((w > 0).mean()),
        mean,
        tuple(_warnings(w, logged.reward)),
    )


def weights(mine: Floats, propensity: Floats) -> Floats:
    """(N,) w = π(a|x)/p of the logged arms."""
    return mine / propensity


def doubly_robust(logged: Logged, law: Floats, model: Floats, w: Floats) -> Floats:
    """(N,) what DR averages: the model's value of the policy, and the weighted error of the model where it shows."""
    said = model[np.arange(len(logged)), logged.arm]
    return (law * model).sum(1) + w * (logged.reward - said)


def _warnings(w: Floats, reward: Floats) -> list[str]:
    """What speaks against the weights: their mean, their effective number, their tail, their largest; equal rewards."""
    with np.errstate(divide="ignore"):
        findings: Sequence[Finding] = weight_findings(torch.from_numpy(np.log(w)))
    out = [found.meaning for found in findings if not found.ok]
    if len(np.unique(reward[w > 0])) == 1 < len(np.unique(reward)):
        out.append("All choices that match earned the same: an interval without width is not certainty here.")
    mean, error = float(w.mean()), float(w.std(ddof=1)) / math.sqrt(len(w)) if len(w) > 1 else math.inf
    if abs(mean - 1) > max(MOST_OFF * error, 1e-9):
        missing = " the log never makes choices that this policy would make, or" if mean < 1 else ""
        out.insert(
            0,
            f"The weights average {mean:.3f} ± {error:.3f}, not 1:{missing} the logged propensities are not those of "
            "the choices.",
        )
    return out


def folds_of(n: int, folds: int, key: Key) -> Ints:
    """(N,) which fold each choice is in; folds differ by at most one in size.

    Raises:
        ConfigError: fewer than two folds, or more than choices.
    """
    if not 2 <= folds <= n:
        raise ConfigError(f"{folds} folds of {n} choices: from 2 folds to one a choice can be had. Log more choices.")
    return key.fold("folds").generator().permutation(n) % folds


def cross_fitted(logged: Logged, start: Arms, folds: Ints, read: Callable[[Arms, Floats], Floats]) -> Floats:
    """(N, K) what beliefs say of each choice's context, each learnt from the other folds only.

    A policy judged on the choices that it was learnt from is judged too well; so is DR with such a q̂.

    Args:
        logged: the choices.
        start: the belief before any reward, of one learner.
        folds: (N,) from `folds_of`.
        read: (belief, contexts (M, d)) -> (M, K): `Arms.mean` for q̂, a strategy's law for a policy.
    """
    out = np.zeros((len(logged), len(logged.names)))
    for fold in range(int(folds.max()) + 1):
        inside, rest = folds == fold, folds != fold
        learnt = start.hear(logged.arm[rest], logged.reward[rest], logged.context[rest])
        out[inside] = read(learnt, logged.context[inside])
    return out
