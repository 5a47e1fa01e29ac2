"""Bandits whose truth is known, to measure strategies on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from credence.belief.bandit import Arms, Floats, Ints, check_names
from credence.belief.beta_arms import BetaArms
from credence.belief.linear_arms import LinearArms, with_intercept
from credence.belief.logistic_arms import LogisticArms, sigmoid
from credence.core.errors import ConfigError, ShapeError, nearest

Kind = Literal["bernoulli", "linear", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)

REFIT = 20
"""Choices between two refits of a logistic belief in a simulation: a refit reads all rewards."""


@dataclass(frozen=True, eq=False)
class World:
    """K arms; a reward's mean is w_k·(x, 1), through σ for a logistic world; x ~ N(0, I) of d features.

    Attributes:
        kind: "bernoulli" (no context, w_k is the mean itself), "linear" (plus normal noise) or "logistic".
        names: K arms.
        weights: (K, d + 1), the intercept last.
        noise: standard deviation of a linear world's rewards.
    """

    kind: Kind
    names: tuple[str, ...]
    weights: Floats
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_kind(self.kind)
        check_names(self.names)
        if self.weights.ndim != 2 or len(self.weights) != len(self.names) or self.weights.shape[1] < 1:
            raise ShapeError(f"weights {self.weights.shape} for {len(self.names)} arms: (K, d + 1) is needed.")
        if not np.isfinite(self.weights).all() or not (self.noise >= 0 and math.isfinite(self.noise)):
            raise ConfigError(f"weights and noise={self.noise} must be finite, the noise at least 0.")
        if self.kind == "bernoulli":
            if self.features:
                raise ConfigError("a bernoulli bandit has no context: one number an arm. Choose linear or logistic.")
            if bool(((self.weights < 0) | (self.weights > 1)).any()):
                wrong = self.weights[(self.weights < 0) | (self.weights > 1)][0]
                raise ConfigError(f"an arm of mean {wrong:g}: a Bernoulli reward's mean lies in [0, 1].")

    @property
    def features(self) -> int:
        """D."""
        return self.weights.shape[1] - 1

    def contexts(self, rng: np.random.Generator, runs: int) -> Floats:
        """(R, d) standard normal."""
        return rng.standard_normal((runs, self.features))

    def means(self, context: Floats) -> Floats:
        """(R, K) mean reward of each arm."""
        values = with_intercept(context) @ self.weights.T
        return sigmoid(values) if self.kind == "logistic" else values

    def rewards(self, means: Floats, uniform: Floats, normal: Floats) -> Floats:
        """(R,) rewards of mean (R,); the noise is given, so that strategies can be compared on the same."""
        if self.kind == "linear":
            return means + self.noise * normal
        return (uniform < means).astype(np.float64)

    def start(self, learners: int) -> Arms:
        """The belief that fits this world, before any reward."""
        match self.kind:
            case "bernoulli":
                return BetaArms.start(self.names, learners)
            case "linear":
                return LinearArms.start(self.names, self.features, learners)
            case "logistic":
                return LogisticArms.start(self.names, self.features, learners, every=REFIT)


def check_kind(kind: str) -> Kind:
    """The kind itself.

    Raises:
        ConfigError: no such kind of belief.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise ConfigError(f"no model {kind!r}.{nearest(kind, KINDS)} There are: {', '.join(KINDS)}.")


def bernoulli(means: Sequence[float], names: Sequence[str] | None = None) -> World:
    """A bandit without contexts; its arms are named by their means where no names are given."""
    known = tuple(names) if names is not None else tuple(f"{mean:g}" for mean in means)
    if names is None and len(set(known)) < len(known):
        known = tuple(f"{i}: {name}" for i, name in enumerate(known, 1))
    return World("bernoulli", known, np.array(means, np.float64).reshape(-1, 1))


def built_in(kind: str) -> World:
    """The worked examples: three arms, none of which is best in every context of the last two.

    "bernoulli" is SCIENCE 6.4's: means .9, .8, .7.
    """
    match check_kind(kind):
        case "bernoulli":
            return bernoulli((0.9, 0.8, 0.7))
        case "linear":
            weights = np.array([[0.6, 0.0, 0.2], [-0.3, 0.5, 0.3], [0.0, -0.6, 0.1]])
            return World("linear", ("a", "b", "c"), weights, 0.5)
        case "logistic":
            weights = np.array([[1.5, 0.0, 0.3], [-0.8, 1.2, 0.6], [0.0, -1.6, 0.0]])
            return World("logistic", ("a", "b", "c"), weights)


def regret_of(means: Floats, arm: Ints) -> Floats:
    """(R,) what was lost in expectation: the best arm's mean less the chosen one's."""
    return means.max(1) - means[np.arange(len(arm)), arm]
