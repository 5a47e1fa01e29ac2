"""Worlds to act in, many at once: R independent copies in lockstep, one a row."""

from collections.abc import Mapping, Sequence
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

    def state(self) -> dict[str, Any]:
        """All that what follows depends on, as a JSON tree."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a world made alike where that one was."""
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

    def state(self) -> dict[str, Any]:
        """Where each row is, the steps of its episode, and how much chance it has used."""
        return {"at": self._at.tolist(), "gone": self._gone.tolist(), "drawn": self._drawn.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        self._at, self._gone, self._drawn = (torch.tensor(state[n], dtype=torch.long) for n in ("at", "gone", "drawn"))


def inverted(law: Float[Tensor, "n K"], uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The index at which the distribution function of each row passes its uniform; never one of probability 0."""
    below = law.cumsum(-1)
    goal = uniform.unsqueeze(-1) * below[:, -1:]
    return torch.searchsorted(below, goal, right=True).squeeze(-1).clamp(max=law.shape[-1] - 1)


@dataclass(eq=False)
class GymWorld:
    """R Gymnasium environments with discrete spaces; a time limit is the environment's own (its TimeLimit).

    Row r is seeded from key.fold("world", r) at its first reset and runs on from there. A row is put back where it was
    by its episode, played again: the environment's generator as it stood when that began, then its actions. So all its
    chance must be of its `np_random`, as Gymnasium has it, and nothing else may pass from one episode to the next.

    Args:
        envs: R environments, made alike.
        key: of all chance inside them.

    Raises:
        ConfigError: spaces that are not discrete.
    """

    envs: Sequence[Any]
    key: Key
    _episodes: dict[int, "_Episode"] = field(default_factory=dict[int, "_Episode"], init=False, repr=False)

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
        env = self.envs[row]
        begun = env.unwrapped.np_random.bit_generator.state if row in self._episodes else None
        at = int(env.reset(seed=None if begun else self._seed(row))[0])
        self._episodes[row] = _Episode(begun, [], at)
        return at

    def _seed(self, row: int) -> int:
        return self.key.fold("world", row).seed % 2**31

    def step(self, rows: Tensor, action: Tensor) -> Moved:
        """One action in each of these rows.

        Raises:
            ContractError: a reward that is no finite number.
        """
        who, taken = rows.tolist(), action.tolist()
        found = [self.envs[r].step(a) for r, a in zip(who, taken, strict=True)]
        for r, a, (state, *_) in zip(who, taken, found, strict=True):
            self._episodes[r].go(a, int(state))
        state, reward, ended, cut = zip(*[f[:4] for f in found], strict=True)
        paid = torch.tensor([float(r) for r in reward], dtype=torch.float64)
        if not bool(torch.isfinite(paid).all()):
            raise ContractError(f"{self.envs[0]} paid {paid.tolist()}: rewards must be finite.")
        over = torch.tensor([bool(e) for e in ended])
        late = torch.tensor([bool(c) for c in cut]) & ~over
        return Moved(torch.tensor([int(s) for s in state], dtype=torch.long), paid, over, late)

    def state(self) -> dict[str, Any]:
        """Each row's episode: the generator's state when it began (null: the row's own seed), and its actions."""
        return {str(row): [e.begun, e.actions, e.at] for row, e in self._episodes.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse.

        Raises:
            ContractError: an episode played again comes elsewhere.

        Cost: the steps of one episode a row.
        """
        for name, (begun, actions, at) in state.items():
            row = int(name)
            env = self.envs[row]
            here = int(env.reset(seed=self._seed(row))[0])
            if begun:
                env.unwrapped.np_random.bit_generator.state = begun
                here = int(env.reset()[0])
            for action in actions:
                here = int(env.step(action)[0])
            if here != at:
                raise ContractError(
                    f"{env} cannot be put back where it was: its episode, played again, came to state {here} and not "
                    f"{at}. It keeps more than its np_random from one episode to the next, or was changed. Begin anew: "
                    "--overwrite; with learn.checkpoint_every = 0 only engines that are done are kept."
                )
            self._episodes[row] = _Episode(begun, list(actions), at)


@dataclass(eq=False)
class _Episode:
    """What brings an environment back: its generator's state before the episode, the actions, and where they led."""

    begun: Mapping[str, Any] | None
    actions: list[int]
    at: int

    def go(self, action: int, state: int) -> None:
        self.actions.append(action)
        self.at = state
