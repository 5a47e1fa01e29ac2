"""The loop of value engines: act, look at what came, move one value a row towards its target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.soft import check_beta, log_soft_policy
from credence.learn.world import World, inverted
from credence.posterior.mdp import MDP, mixed
from credence.posterior.soft_values import check_discount

_BLOCK = 1024
"""Uniforms drawn at once for a row."""


@runtime_checkable
class ValueEngine(Protocol):
    """A rule for one value: what it moves towards and how the world is tried meanwhile (SoftQ and SoftSarsa are)."""

    @property
    def rate(self) -> float: ...  # noqa: D102 - the step size is rate · N^−power
    @property
    def power(self) -> float: ...  # noqa: D102

    def aim(
        self, reward: Float[Tensor, " n"], ended: Bool[Tensor, " n"], values: Float[Tensor, "n A"],
        log_prior: Float[Tensor, "n A"], action: Int[Tensor, " n"], beta: float, discount: float,
    ) -> Float[Tensor, " n"]:  # fmt: skip
        """Where Q(s,a) should go, in reward units."""
        ...

    def behaviour(
        self, values: Float[Tensor, "n A"], log_prior: Float[Tensor, "n A"], beta: float
    ) -> Float[Tensor, "n A"]:
        """log of the law by which actions are taken, nats."""
        ...


@dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt, as it was at each look; rows are independent runs.

    Attributes:
        steps: N numbers of steps of each row.
        log_pi: (N, R, S, A) the policy at each look, without exploration, nats.
        values: (R, S, A) Q at the end in reward units; None for an engine that learns no values.
        visits: (R, S, A) how often each action was tried.
    """

    steps: tuple[int, ...]
    log_pi: Float[Tensor, "N R S A"]
    values: Float[Tensor, "R S A"] | None
    visits: Float[Tensor, "R S A"]


class Uniforms:
    """A row's uniforms in order, drawn in blocks: they depend on the row's own key and on nothing in other rows."""

    def __init__(self, key: Key, rows: int) -> None:
        self.sources = [key.fold("act", r).generator() for r in range(rows)]
        self.block = torch.empty(rows, _BLOCK, dtype=torch.float64)
        self.used = torch.full((rows,), _BLOCK)

    def next(self, rows: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The next uniform in [0, 1) of each of these rows."""
        for r in rows[self.used[rows] == _BLOCK].tolist():
            self.block[r] = torch.from_numpy(self.sources[r].random(_BLOCK))
            self.used[r] = 0
        out = self.block[rows, self.used[rows]]
        self.used[rows] += 1
        return out


def learn_values(
    engine: ValueEngine,
    world: World,
    log_prior: Float[Tensor, "S A"],
    beta: float,
    key: Key,
    looks: Sequence[int],
    discount: float = 1.0,
    tick: Callable[[float], None] = lambda share: None,
) -> Learnt:
    """Let a value engine act and learn in every row of a world, each for itself.

    Args:
        engine: SoftQ or SoftSarsa.
        world: R rows.
        log_prior: log q(a|s) in nats.
        beta: reward units a nat; 0 learns without the KL (log_prior then only breaks ties: give a uniform one).
        key: of the actions.
        looks: increasing numbers of steps after which the policy is kept; the last ends the run. 0 is the beginning.
        discount: γ.
        tick: told how far the run is, 0 to 1.

    Cost: a step of each row of the world and about fifteen small tensor operations for all rows together.
    """
    check_beta(beta)
    check_discount(discount)
    check_looks(looks, log_prior, world)
    count, rows = world.rows, torch.arange(world.rows)
    values = torch.zeros(count, world.states, world.actions, dtype=torch.float64)
    visits, chance, kept = torch.zeros_like(values), Uniforms(key, count), list[Tensor]()
    wanted = frozenset(looks)

    def act(state: Tensor, uniform: Tensor) -> Tensor:
        return inverted(engine.behaviour(values[rows, state], log_prior[state], beta).exp(), uniform)

    state = world.reset(rows)
    action = act(state, chance.next(rows))
    for step in range(looks[-1] + 1):
        if step in wanted:
            kept.append(log_soft_policy(values, log_prior.expand_as(values), beta))
            tick(step / max(1, looks[-1]))
        if step == looks[-1]:
            break
        moved, uniform = world.step(rows, action), chance.next(rows)
        later = values[rows, moved.state]
        following = act(moved.state, uniform)
        aim = engine.aim(moved.reward, moved.ended, later, log_prior[moved.state], following, beta, discount)
        visits[rows, state, action] += 1
        pace = engine.rate * visits[rows, state, action] ** -engine.power
        values[rows, state, action] = towards(values[rows, state, action], aim, pace)
        state, action = moved.state, following
        over = torch.nonzero(moved.ended | moved.cut).flatten()
        if len(over):
            state = state.index_copy(0, over, world.reset(over))
            action = act(state, uniform).where(moved.ended | moved.cut, action)  # of the two actions only one is taken
    return Learnt(tuple(looks), torch.stack(kept), values, visits)


def rest(
    engine: ValueEngine, mdp: MDP, log_prior: Float[Tensor, "S A"], beta: float, discount: float, sweeps: int
) -> Float[Tensor, "S A"]:
    """Where a value engine comes to rest: log π after so many sweeps of its expected updates over every (s,a), nats.

    The engine's own target, averaged over the world's chance by enumeration: what learning without noise would find.
    A sampled target is to be given by its expected twin. Tested in tests/oracle/test_value_engines.py.

    Cost: `sweeps` looks at S × A × K outcomes.
    """
    to, over = mdp.state.flatten(), mdp.ends.flatten()
    values, nobody = torch.zeros_like(log_prior), torch.zeros_like(to)
    for _ in range(sweeps):
        aim = engine.aim(mdp.reward.flatten(), over, values[to], log_prior[to], nobody, beta, discount)
        values = mixed(mdp.chance, aim.view_as(mdp.reward))
    return log_soft_policy(values, log_prior, beta)


def towards(value: Float[Tensor, " n"], aim: Float[Tensor, " n"], pace: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """A plain average of targets, so that Q is a mean over the world's chance.

    Averaging e^{Q/β} instead (Z-learning) would learn to hope: right only where each action has one outcome.
    """
    return value + pace * (aim - value)


def check_looks(looks: Sequence[int], log_prior: Tensor, world: World) -> None:
    """Refuse looks that do not increase, and a prior of another world.

    Raises:
        ShapeError: says what does not fit.
    """
    if not looks or looks[0] < 0 or any(a >= b for a, b in pairwise(looks)):
        raise ShapeError(f"looks = {list(looks)}: increasing numbers of steps are needed, from 0 on.")
    if log_prior.shape != (world.states, world.actions):
        raise ShapeError(
            f"the prior is a table of {tuple(log_prior.shape)}, and the world has {world.states} states and "
            f"{world.actions} actions."
        )
