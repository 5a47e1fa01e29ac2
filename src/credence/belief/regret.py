"""Regret of a strategy on a bandit whose truth is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from credence.belief.bandit import Floats, Ints
from credence.belief.strategies import Strategy, best, index
from credence.belief.worlds import World, regret_of
from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.diagnose.intervals import student

_POINTS = 200
"""Steps at which a curve is kept."""


@dataclass(frozen=True, eq=False)
class Regret:
    """Cumulative regret of R runs.

    Attributes:
        strategy: who chose.
        steps: (P,) after how many choices.
        regret: (R, P) Σ of best mean − chosen mean, in the reward's unit.
        best: (P,) share of runs that chose the best arm at that step.
    """

    strategy: Strategy
    steps: Ints
    regret: Floats
    best: Floats

    def interval(self, point: int = -1, level: float = 0.95) -> tuple[float, float, float]:
        """Mean over runs at one point, with Student's interval."""
        return mean_interval(self.regret[:, point], level)


def mean_interval(values: Floats, level: float = 0.95, degrees: int | None = None) -> tuple[float, float, float]:
    """Mean, low, high of independent values, by Student's t (n − 1 degrees unless fewer are given); one value: ±∞."""
    middle, n = float(values.mean()), len(values)
    if n < 2:
        return middle, -math.inf, math.inf
    half = student(max(1, n - 1 if degrees is None else degrees), level) * float(values.std(ddof=1)) / math.sqrt(n)
    return middle, middle - half, middle + half


def simulate(
    world: World, strategy: Strategy, key: Key, steps: int, runs: int, tick: Callable[[], None] = no_tick
) -> Regret:
    """Let R learners choose side by side, each in its own copy of the world.

    Contexts and the rewards' noise come from the key alone, the choices' chance from the key and the strategy: so
    strategies meet the same world, and differences between them are less noisy than each. The rows of a run depend on
    how many runs there are.

    Args:
        world: the truth.
        strategy: who chooses.
        key: all randomness.
        steps: T choices.
        runs: R.
        tick: called after every hundredth of the steps.

    Raises:
        ConfigError: no step, or no run.

    Cost: T updates of R beliefs. Test: SCIENCE 6.4's regrets in tests/statistical/test_bandits.py.
    """
    if steps < 1 or runs < 1:
        raise ConfigError(f"{steps} steps and {runs} runs: at least one of each is needed.")
    nature, chance = key.fold("world").generator(), key.fold("strategy", strategy).generator()
    kept = np.unique(np.linspace(1, steps, min(steps, _POINTS)).round().astype(np.int64))
    ticks = set(np.unique(np.linspace(1, steps, min(steps, 100)).round().astype(np.int64)).tolist())
    arms, lost, right = world.start(runs), np.zeros(runs), np.zeros(runs)
    curve, hits = np.zeros((runs, len(kept))), np.zeros(len(kept))
    for step in range(1, steps + 1):
        context = world.contexts(nature, runs)
        uniform, normal = nature.random(runs), nature.standard_normal(runs)
        means = world.means(context)
        chosen = best(index(strategy, arms, chance, step, context), chance)
        reward = world.rewards(means[np.arange(runs), chosen], uniform, normal)
        loss = regret_of(means, chosen)
        lost, right = lost + loss, loss == 0
        if strategy != "uniform":  # which learns nothing from what it sees
            arms = arms.update(chosen, reward, context)
        at = int(np.searchsorted(kept, step))
        if at < len(kept) and kept[at] == step:
            curve[:, at], hits[at] = lost, right.mean()
        if step in ticks:
            tick()
    return Regret(strategy, kept, curve, hits)
