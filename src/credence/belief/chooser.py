"""Choosing for real: which arm next, with the probability that makes the log worth keeping."""

from dataclasses import dataclass, replace

import numpy as np

from credence.belief.bandit import Arms, arm_of, no_context
from credence.belief.strategies import DRAWS, Strategy, check_strategy, law
from credence.core.errors import ConfigError
from credence.core.keys import Key


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how likely that was: log both, with the reward that followed.

    Attributes:
        arm: its name.
        propensity: probability with which this arm was chosen here.
        law: probability of every arm.
    """

    arm: str
    propensity: float
    law: dict[str, float]


@dataclass(frozen=True, eq=False)
class Chooser:
    """A belief, a strategy and a key. Choosing changes nothing; `learn` returns the chooser that knows more.

    The same key and the same history give the same choices. Tests: tests/unit/test_strategies.py; docs/choose.md.

    Attributes:
        arms: the belief, of one learner.
        key: all randomness.
        strategy: thompson, greedy, ucb or uniform.
        explore: share of uniform choices mixed in, so that no propensity falls below explore/K and the log can judge
            every other policy.
        step: rewards learnt from.
    """

    arms: Arms
    key: Key
    strategy: Strategy = "thompson"
    explore: float = 0.0
    step: int = 0

    def __post_init__(self) -> None:
        check_strategy(self.strategy)
        if not 0 <= self.explore <= 1:
            raise ConfigError(f"explore={self.explore}: a share in [0, 1] is needed.")

    def choose(self, context: list[float] | None = None) -> Choice:
        """Draw the next arm from the strategy's law in this context."""
        here = no_context(1) if context is None else np.array([context], np.float64)
        key, k = self.key.fold("choose", self.step), len(self.arms.names)
        p = law(self.strategy, self.arms, key, self.step + 1, here, DRAWS)[0]
        p = (1 - self.explore) * p + self.explore / k
        at = min(int(np.searchsorted(np.cumsum(p), key.uniform(np.zeros(1, np.int64), 0)[0] * p.sum())), k - 1)
        return Choice(self.arms.names[at], float(p[at]), dict(zip(self.arms.names, p.tolist(), strict=True)))

    def learn(self, arm: str, reward: float, context: list[float] | None = None) -> "Chooser":
        """The chooser that has heard one more reward.

        Raises:
            ConfigError: an unknown arm, or a reward that the belief cannot take.
        """
        here = no_context(1) if context is None else np.array([context], np.float64)
        at = np.array([arm_of(self.arms.names, arm)])
        return replace(self, arms=self.arms.hear(at, np.array([float(reward)]), here), step=self.step + 1)
