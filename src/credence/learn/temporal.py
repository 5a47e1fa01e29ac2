"""The loop of value engines: act, look at what came, move one value a row towards its target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.soft import check_beta, log_soft_policy
from credence.learn.checkpoint import Checkpoint, Checkpoints
from credence.learn.looks import Looks, Watcher, origin
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
        self.drawn = torch.zeros(rows, dtype=torch.long)

    def next(self, rows: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The next uniform in [0, 1) of each of these rows."""
        for r in rows[self.used[rows] == _BLOCK].tolist():
            self._fill(r)
            self.used[r] = 0
        out = self.block[rows, self.used[rows]]
        self.used[rows] += 1
        return out

    def _fill(self, row: int) -> None:
        self.block[row] = torch.from_numpy(self.sources[row].random(_BLOCK))
        self.drawn[row] += 1

    def tensors(self) -> dict[str, Tensor]:
        """How many each row has used: blocks, and uniforms of the last one."""
        return {"chance/used": self.used, "chance/drawn": self.drawn}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on after as many."""
        self.used = tensors["chance/used"].clone()
        for row, blocks in enumerate(tensors["chance/drawn"].tolist()):
            for _ in range(blocks):
                self._fill(row)


def learn_values(
    engine: ValueEngine,
    world: World,
    log_prior: Float[Tensor, "S A"],
    beta: float,
    key: Key,
    looks: Sequence[int],
    discount: float = 1.0,
    tick: Callable[[float], None] = lambda share: None,
    *,
    watcher: Watcher | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 5,
) -> Learnt:
    """Let a value engine act and learn in every row of a world, each for itself.

    With `checkpoints`, a call with the same arguments and a world made alike goes on after the newest whole checkpoint,
    and one that had ended returns at once, with the same bytes on one thread as if it had never been killed. Tested in
    tests/unit/test_looks.py, and by kills at random moments in tests/e2e/test_control_kill.py.

    Args:
        engine: SoftQ or SoftSarsa.
        world: R rows.
        log_prior: log q(a|s) in nats.
        beta: reward units a nat; 0 learns without the KL (log_prior then only breaks ties: give a uniform one).
        key: of the actions.
        looks: increasing numbers of steps after which the policy is kept; the last ends the run. 0 is the beginning.
        discount: γ.
        tick: told how far the run is, 0 to 1.
        watcher: told of every look.
        checkpoints: where to save what is needed to go on, and where to look for it.
        checkpoint_every: looks between two of them; one is always written at the end. 0: only at the end.

    Raises:
        ConfigError: the checkpoints are of a call with other arguments.
        BackendError: a checkpoint cannot be written; those from before stay.

    Cost: a step of each row of the world and about fifteen small tensor operations for all rows together.
    """
    check_beta(beta)
    check_discount(discount)
    name = origin(engine, "values", key, beta, discount, looks[-1] if looks else 0)
    kept = Looks(looks, log_prior, world, world.rows, name, watcher, tick, checkpoints, checkpoint_every)
    run = _Walk(engine, world, log_prior, beta, key, discount)
    found = kept.bring_back()
    if found is None:
        run.begin()
        run.look(kept, 0)
    else:
        run.restore(found)
    for step in range(kept.steps[kept.passed - 1] if kept.passed else 0, looks[-1]):
        run.step()
        run.look(kept, step + 1)
    return Learnt(kept.steps, kept.kept, run.values, run.visits)


class _Walk:
    """R rows that act and learn, as they stand before their next action."""

    def __init__(
        self, engine: ValueEngine, world: World, log_prior: Tensor, beta: float, key: Key, discount: float
    ) -> None:
        self.engine, self.world, self.log_prior, self.beta, self.discount = engine, world, log_prior, beta, discount
        self.rows, self.chance = torch.arange(world.rows), Uniforms(key, world.rows)
        self.values = torch.zeros(world.rows, world.states, world.actions, dtype=torch.float64)
        self.visits = torch.zeros_like(self.values)
        self.state = self.action = torch.zeros_like(self.rows)

    def begin(self) -> None:
        """The first episode of each."""
        self.state = self.world.reset(self.rows)
        self.action = self.act(self.state, self.chance.next(self.rows))

    def act(self, state: Tensor, uniform: Tensor) -> Tensor:
        """What the engine does there."""
        values, log_prior = self.values[self.rows, state], self.log_prior[state]
        return inverted(self.engine.behaviour(values, log_prior, self.beta).exp(), uniform)

    def step(self) -> None:
        """One action of each, and what is learnt of it."""
        rows, state, action, log_prior = self.rows, self.state, self.action, self.log_prior
        moved, uniform = self.world.step(rows, action), self.chance.next(rows)
        later = self.values[rows, moved.state]
        following = self.act(moved.state, uniform)
        aim = self.engine.aim(
            moved.reward, moved.ended, later, log_prior[moved.state], following, self.beta, self.discount
        )
        self.visits[rows, state, action] += 1
        pace = self.engine.rate * self.visits[rows, state, action] ** -self.engine.power
        self.values[rows, state, action] = towards(self.values[rows, state, action], aim, pace)
        self.state, self.action = moved.state, following
        over = torch.nonzero(moved.ended | moved.cut).flatten()
        if len(over):
            self.state = self.state.index_copy(0, over, self.world.reset(over))
            # Of the two actions only one is taken.
            self.action = self.act(self.state, uniform).where(moved.ended | moved.cut, following)

    def look(self, looks: Looks, step: int) -> None:
        """Keep the policy where one is looked at after so many steps, and save where that is due."""
        at = looks.passed
        if looks.steps[at] != step:
            return
        looks.kept[at] = log_soft_policy(self.values, self.log_prior.expand_as(self.values), self.beta)
        looks.tick(step / max(1, looks.steps[-1]))
        if looks.reach(at + 1):
            at_hand = {n: getattr(self, n) for n in ("values", "visits", "state", "action")}
            looks.save({**at_hand, **self.chance.tensors()}, {"world": self.world.state()})

    def restore(self, found: Checkpoint) -> None:
        """Stand where a checkpoint was written."""
        for name in ("values", "visits", "state", "action"):
            setattr(self, name, found.tensors[name].clone())
        self.chance.restore(found.tensors)
        self.world.restore(found.state["world"])


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
