"""Beta–Bernoulli: arms whose reward is a success or none, without a context. The conjugate update is exact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from credence.belief.bandit import Floats, Ints, check_names, check_rewards
from credence.core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class BetaArms:
    """θ_k ~ Beta(a, b), reward ~ Bernoulli(θ_k)  ⇒  θ_k | data ~ Beta(a + s, b + f), s successes and f failures.

    A reward inside (0, 1) counts as that share of a success: its spread is at most a Bernoulli's, so the intervals are
    then wider than they need be. Source: SCIENCE 6.4; Russo et al. 2018. Tests: tests/unit/test_bandits.py (exact
    update), tests/statistical/test_bandits.py (coverage, contraction at n^−½, golden regrets).

    Attributes:
        names: K arms.
        wins: (R, K) sum of the rewards.
        tries: (R, K) how many.
        prior: (a, b), each at least ½; (1, 1) is uniform.
    """

    names: tuple[str, ...]
    wins: Floats
    tries: Floats
    prior: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def start(cls, names: Sequence[str], learners: int = 1, prior: tuple[float, float] = (1.0, 1.0)) -> "BetaArms":
        """Before any reward.

        Raises:
            ConfigError: fewer than two arms, one twice, or a prior count below ½.
        """
        if not all(count >= 0.5 and math.isfinite(count) for count in prior):
            raise ConfigError(f"prior {prior}: Beta's counts must be finite and at least 1/2; (1, 1) is uniform.")
        known = check_names(names)
        return cls(known, np.zeros((learners, len(known))), np.zeros((learners, len(known))), prior)

    @property
    def counts(self) -> tuple[Floats, Floats]:
        """The posterior's a and b, (R, K) each."""
        return self.prior[0] + self.wins, self.prior[1] + self.tries - self.wins

    def update(self, arm: Ints, reward: Floats, context: Floats) -> "BetaArms":
        """One more reward of each learner; the context is not looked at."""
        check_rewards(arm, reward, context, len(self.names), None, unit=True)
        wins, tries, row = self.wins.copy(), self.tries.copy(), np.arange(len(self.wins))
        wins[row, arm] += reward
        tries[row, arm] += 1
        return replace(self, wins=wins, tries=tries)

    def hear(self, arm: Ints, reward: Floats, context: Floats) -> "BetaArms":
        """N rewards, heard by all learners."""
        check_rewards(arm, reward, context, len(self.names), None, unit=True)
        k = len(self.names)
        wins, tries = np.bincount(arm, reward, k), np.bincount(arm, minlength=k).astype(np.float64)
        return replace(self, wins=self.wins + wins, tries=self.tries + tries)

    def mean(self, context: Floats) -> Floats:
        """(a + s)/(a + b + s + f)."""
        a, b = self.counts
        return np.broadcast_to(a / (a + b), (max(len(context), len(a)), len(self.names)))

    def upper(self, context: Floats, width: float) -> Floats:
        """UCB1: s/n + width/√n, ∞ for an arm that was never tried (Auer, Cesa-Bianchi & Fischer 2002)."""
        tried = np.maximum(self.tries, 1)
        index = np.where(self.tries > 0, self.wins / tried + width / np.sqrt(tried), np.inf)
        return np.broadcast_to(index, (max(len(context), len(index)), len(self.names)))

    def draw(self, rng: np.random.Generator, context: Floats) -> Floats:
        """θ of each learner's arms."""
        return rng.beta(*self.counts)

    def draws(self, rng: np.random.Generator, n: int, context: Floats) -> Floats:
        """θ drawn n times, the same at every context."""
        a, b = (counts[0] for counts in self.counts)
        return np.broadcast_to(rng.beta(a, b, (n, 1, len(a))), (n, len(context), len(a)))
