"""A bandit's belief: what each of K arms (replies, prompts, engines) is worth, learnt from the rewards of those tried.

The three beliefs keep one shape, so that one strategy and one simulation serve them all:

    belief/beta_arms.py       rewards in [0, 1], no context: Beta–Bernoulli, exact
    belief/linear_arms.py     rewards of any unit, linear in the context: normal–inverse-gamma, exact
    belief/logistic_arms.py   rewards in [0, 1], logistic in the context: Laplace, refitted from all rewards

R learners go side by side: a simulation has many, a log has one. Every belief is a sum over rewards, so their order
does not matter and a batch equals its pieces (tests/property/test_bandits.py).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from credence.core.errors import ConfigError, ContractError, ShapeError, nearest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@runtime_checkable
class Arms(Protocol):
    """What is believed about K arms by R learners who go side by side. Contexts have d features, d = 0 for none."""

    @property
    def names(self) -> tuple[str, ...]:
        """K arms."""
        ...

    def update(self, arm: Ints, reward: Floats, context: Floats) -> "Arms":
        """The belief after one more reward of each learner: arm (R,), reward (R,), context (R, d)."""
        ...

    def hear(self, arm: Ints, reward: Floats, context: Floats) -> "Arms":
        """The belief after N rewards heard by all learners: arm (N,), reward (N,), context (N, d)."""
        ...

    def mean(self, context: Floats) -> Floats:
        """(M, K) posterior mean reward at M contexts; M = R, or any number where R = 1."""
        ...

    def upper(self, context: Floats, width: float) -> Floats:
        """(M, K) an optimistic index: the mean plus `width` times its uncertainty."""
        ...

    def draw(self, rng: np.random.Generator, context: Floats) -> Floats:
        """(R, K) mean rewards under one posterior draw of each learner, at its own context (R, d)."""
        ...

    def draws(self, rng: np.random.Generator, n: int, context: Floats) -> Floats:
        """(n, M, K) mean rewards under n posterior draws of one learner (R = 1), each at all M contexts."""
        ...


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The arms' names.

    Raises:
        ConfigError: fewer than two, or one twice.
    """
    if len(names) < 2:
        raise ConfigError(
            f"{len(names)} arm{'' if len(names) == 1 else 's'} ({', '.join(names) or 'none'}): there is something to "
            "choose from two on. Log at least one other arm."
        )
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ConfigError(f"arm {twice[0]!r} stands twice: two names for one arm would share its rewards.")
    return tuple(names)


def arm_of(names: Sequence[str], name: str) -> int:
    """The position of an arm.

    Raises:
        ConfigError: no such arm (with the nearest).
    """
    if name not in names:
        raise ConfigError(f"no arm {name!r}.{nearest(name, names)} The arms: {', '.join(names)}.")
    return list(names).index(name)


def check_rewards(arm: Ints, reward: Floats, context: Floats, arms: int, features: int | None, unit: bool) -> None:
    """Refuse what no belief can hear.

    Args:
        arm: (N,) positions.
        reward: (N,).
        context: (N, d).
        arms: K.
        features: d that is expected; None: any.
        unit: rewards are probabilities' outcomes, in [0, 1].

    Raises:
        ShapeError: axes that do not fit.
        ConfigError: an unknown arm, or a reward outside [0, 1] where the belief needs that.
        ContractError: a reward or a feature that is not finite.
    """
    fits = arm.shape == reward.shape and arm.ndim == 1 and context.ndim == 2 and len(context) == len(arm)
    if not fits or (features is not None and context.shape[1] != features):
        wanted = "d" if features is None else str(features)
        raise ShapeError(
            f"arm {arm.shape}, reward {reward.shape}, context {context.shape}: (N,), (N,) and (N, {wanted}) are needed."
        )
    if bool(((arm < 0) | (arm >= arms)).any()):
        raise ConfigError(f"arm number {int(arm[(arm < 0) | (arm >= arms)][0])} of {arms}: 0 to {arms - 1} exist.")
    if not (np.isfinite(reward).all() and np.isfinite(context).all()):
        raise ContractError("a reward or a feature is NaN or infinite: nothing can be learnt from it.")
    if unit and bool(((reward < 0) | (reward > 1)).any()):
        wrong = float(reward[(reward < 0) | (reward > 1)][0])
        raise ConfigError(
            f"reward {wrong:g}: a Bernoulli belief takes rewards in [0, 1]. Scale them, or choose the linear model "
            "(--model linear), which takes any unit."
        )


def no_context(rows: int) -> Floats:
    """(rows, 0): contexts without a feature."""
    return np.zeros((rows, 0))
