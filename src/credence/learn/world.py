"""Worlds to act in, many at once: R independent copies in lockstep, one a row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.posterior.mdp import MDP


@dataclass(frozen=True, eq=False)
class Moved:
    """What a step brought; n rows.

    Attributes:
        state: (n,) where they are now.
        reward: (n,) reward units.
        ended: (n,) the world is over: nothing is earned after it.
        cut: (n,) the time limit came first: more would have been earned.
    """

    state: Int[Tensor, " n"]
    reward: Float[Tensor, " n"]
    ended: Bool[Tensor, " n"]
    cut: Bool[Tensor, " n"]


@runtime_checkable
class World(Protocol):
    """R copies of a world of S states and A actions. A row's chance depends on its own key and history alone."""

    @property
    def rows(self) -> int: ...  # noqa: D102 - the class says what R, S and A are
    @property
    def states(self) -> int: ...  # noqa: D102
    @property
    def actions(self) -> int: ...  # noqa: D102

    def reset(self, rows: Tensor) -> Int[Tensor, " n"]:
        """Begin an episode in these rows; their first states."""
        ...

    def step(self, rows: Tensor, action: Tensor) -> Moved:
        """One action in each of these rows."""
        ...


@dataclass(eq=False)
class TableWorld:
    """An MDP acted in; episodes are cut after `horizon` steps, if one is given."""

    mdp: MDP
    key: Key
    rows: int
    horizon: int | None = None
    _at: Tensor = field(init=False, repr=False)
    _gone: Tensor = field(init=False, repr=False)
    _drawn: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._at = torch.zeros(self.rows, dtype=torch.long)
        self._gone = torch.zeros(self.rows, dtype=torch.long)
        self._drawn = torch.zeros(self.rows, dtype=torch.long)

    @property
    def states(self) -> int:
        """S."""
        return self.mdp.states

    @property
    def actions(self) -> int:
        """A."""
        return self.mdp.actions

    def _pick(self, rows: Tensor, law: Tensor) -> Tensor:
        """One index a row from (n, K) probabilities."""
        counter = (rows << 32) + self._drawn[rows]  # a row's chance does not depend on what other rows do
        self._drawn[rows] += 1
        return inverted(law, torch.from_numpy(self.key.uniform(counter.numpy(), 0)))

    def reset(self, rows: Tensor) -> Int[Tensor, " n"]:
        """Draw first states."""
        self._at[rows] = self._pick(rows, self.mdp.start.expand(len(rows), -1))
        self._gone[rows] = 0
        return self._at[rows]

    def step(self, rows: Tensor, action: Tensor) -> Moved:
        """Draw an outcome of each row's action."""
        s = self._at[rows]
        k = self._pick(rows, self.mdp.chance[s, action])
        self._at[rows] = self.mdp.state[s, action, k]
        self._gone[rows] += 1
        ended = self.mdp.ends[s, action, k]
        late = self._gone[rows] >= (self.horizon or torch.iinfo(torch.long).max)
        return Moved(self._at[rows], self.mdp.reward[s, action, k], ended, late & ~ended)


def inverted(law: Float[Tensor, "n K"], uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The index at which the distribution function of each row passes its uniform; never one of probability 0."""
    below = law.cumsum(-1)
    goal = uniform.unsqueeze(-1) * below[:, -1:]
    return torch.searchsorted(below, goal, right=True).squeeze(-1).clamp(max=law.shape[-1] - 1)


@dataclass(eq=False)
class GymWorld:
    """R Gymnasium environments with discrete spaces; a time limit is the environment's own (its TimeLimit).

    Row r is seeded from key.fold("world", r) at its first reset and runs on from there.

    Args:
        envs: R environments, made alike.
        key: of all chance inside them.

    Raises:
        ConfigError: spaces that are not discrete.
    """

    envs: Sequence[Any]
    key: Key
    _fresh: set[int] = field(default_factory=set[int], init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("observation_space", "action_space"):
            space = getattr(self.envs[0], name)
            if not isinstance(getattr(space, "n", None), int) and not hasattr(space, "n"):
                raise ConfigError(
                    f"{self.envs[0]}: its {name.replace('_', ' ')} is {space}, and a table needs a Discrete one. Take "
                    "another environment, or wrap it so that it counts its states."
                )
            if int(getattr(space, "start", 0)) != 0:
                raise ConfigError(f"{self.envs[0]}: its {name} starts at {space.start}; it must count from 0.")

    @property
    def rows(self) -> int:
        """R."""
        return len(self.envs)

    @property
    def states(self) -> int:
        """S."""
        return int(self.envs[0].observation_space.n)

    @property
    def actions(self) -> int:
        """A."""
        return int(self.envs[0].action_space.n)

    def reset(self, rows: Tensor) -> Int[Tensor, " n"]:
        """Begin an episode in these rows."""
        return torch.tensor([self._reset(r) for r in rows.tolist()], dtype=torch.long)

    def _reset(self, row: int) -> int:
        if row in self._fresh:
            return int(self.envs[row].reset()[0])
        self._fresh.add(row)
        return int(self.envs[row].reset(seed=self.key.fold("world", row).seed % 2**31)[0])

    def step(self, rows: Tensor, action: Tensor) -> Moved:
        """One action in each of these rows.

        Raises:
            ContractError: a reward that is no finite number.
        """
        found = [self.envs[r].step(a) for r, a in zip(rows.tolist(), action.tolist(), strict=True)]
        state, reward, ended, cut = zip(*[f[:4] for f in found], strict=True)
        paid = torch.tensor([float(r) for r in reward], dtype=torch.float64)
        if not bool(torch.isfinite(paid).all()):
            raise ContractError(f"{self.envs[0]} paid {paid.tolist()}: rewards must be finite.")
        over = torch.tensor([bool(e) for e in ended])
        late = torch.tensor([bool(c) for c in cut]) & ~over
        return Moved(torch.tensor([int(s) for s in state], dtype=torch.long), paid, over, late)
