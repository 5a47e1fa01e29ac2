"""Policy gradient with the KL inside the return: a free row of logits for each state.

    ∇J = E_π[Σ_t γ^t (G_t − b(s_t)) ∇log π(a_t|s_t)]
    G_t = r_t − β log π/q(a_t|s_t) + γ [λ G_{t+1} + (1 − λ) b(s_{t+1})],   nothing after the end

Target: the largest J that a stationary policy can have under the world's time limit; a cut episode earns no more. That
is the soft optimum where there is no time limit, and a little less than it where the best policy counts the steps.
λ = `trace`: at 1 the gradient is unbiased and noisy; below 1 it is as right as b is, and far less noisy. b tends to the
policy's own values, so the fixed point is the same one where b can be them (it cannot know the steps left).
Left out: clipping, entropy bonus, whitened advantages: each moves the fixed point.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.soft import check_beta
from credence.learn.checkpoint import Checkpoint, Checkpoints
from credence.learn.looks import Looks, Watcher, origin
from credence.learn.temporal import Learnt, Uniforms
from credence.learn.world import World, inverted
from credence.posterior.soft_values import check_discount


@dataclass(frozen=True)
class Actor:
    """REINFORCE with a learnt baseline and the KL inside the return; β = 0 is Williams' REINFORCE.

    Fields:
        episodes: a step of the gradient rests on so many.
        lr: Adam's step size, in logits.
        baseline: how fast b(s) follows the returns seen from s; it learns from earlier episodes only.
        trace: λ, how much of what really came later counts, against what b says of it.

    Guarantee: at trace = 1 an unbiased gradient of J under the time limit, below 1 where b is the policy's value
    (both in tests/oracle/test_value_engines.py, by enumeration).
    Cost: `episodes` episodes a gradient step.
    """

    episodes: int = 8
    lr: float = 0.05
    baseline: float = 0.1
    trace: float = 1.0
    name: ClassVar[str] = "policy gradient"
    target: ClassVar[str] = "best stationary"

    def __post_init__(self) -> None:
        if self.episodes < 1 or not self.lr > 0 or not 0 <= self.baseline <= 1 or not 0 <= self.trace <= 1:
            raise ConfigError(
                f"episodes = {self.episodes}, lr = {self.lr}, baseline = {self.baseline}, trace = {self.trace}: at "
                "least 1 episode, a positive lr, and a baseline rate and a trace between 0 and 1 are needed."
            )


@dataclass(frozen=True, eq=False)
class Played:
    """Episodes of n rows, T steps at most.

    Attributes:
        state: (n, T).
        action: (n, T).
        reward: (n, T) reward units.
        taken: (n, T) True while the episode went on.
    """

    state: Int[Tensor, "n T"]
    action: Int[Tensor, "n T"]
    reward: Float[Tensor, "n T"]
    taken: Bool[Tensor, "n T"]


def returns(
    played: Played, log_ratio: Float[Tensor, "n T"], beta: float, discount: float, expected: Float[Tensor, "n T"],
    trace: float,
) -> Float[Tensor, "n T"]:  # fmt: skip
    """G_t in reward units: what is still to come at t, the KL of the action taken at t included.

    Args:
        played: n episodes.
        log_ratio: log π/q of the actions taken, nats.
        beta: reward units a nat.
        discount: γ.
        expected: b(s_t), what was thought to come at t.
        trace: λ; at 1 `expected` is not looked at.
    """
    paid = torch.where(played.taken, played.reward - beta * log_ratio if beta else played.reward, 0.0)
    thought = torch.where(played.taken, expected, 0.0)
    out, later = torch.empty_like(paid), torch.zeros(len(paid), dtype=paid.dtype)
    for t in reversed(range(paid.shape[1])):
        out[:, t] = paid[:, t] + discount * later
        later = trace * out[:, t] + (1 - trace) * thought[:, t]
    return out


def actor_loss(
    log_pi: Float[Tensor, "n T"], advantage: Float[Tensor, "n T"], taken: Bool[Tensor, "n T"], discount: float
) -> Float[Tensor, ""]:
    """−Σ_rows Σ_t γ^t A_t log π(a_t|s_t), whose gradient is minus that of J, summed over rows; A is held constant."""
    weight = discount ** torch.arange(log_pi.shape[1], dtype=log_pi.dtype)
    return -torch.where(taken, weight * advantage.detach() * log_pi, 0.0).sum()


def play(world: World, rows: Tensor, log_pi: Float[Tensor, "n S A"], chance: Uniforms) -> Played:
    """One episode in each of these rows of the world, row i by log_pi[i].

    Cost: the longest episode's steps; rows that are over wait.
    """
    law = log_pi.exp()
    place = world.reset(rows)
    alive, states, actions, rewards, taken = torch.arange(len(rows)), [], [], [], []
    here = place.clone()
    while len(alive):
        uniform = chance.next(rows[alive])
        action = inverted(law[alive, here[alive]], uniform)
        moved = world.step(rows[alive], action)
        going = torch.zeros(len(rows), dtype=torch.bool)
        going[alive] = True
        taken.append(going)
        states.append(here.clone())
        actions.append(torch.zeros_like(here).index_copy(0, alive, action))
        rewards.append(torch.zeros(len(rows), dtype=torch.float64).index_copy(0, alive, moved.reward))
        here = here.index_copy(0, alive, moved.state)
        alive = alive[~(moved.ended | moved.cut)]
    return Played(torch.stack(states, 1), torch.stack(actions, 1), torch.stack(rewards, 1), torch.stack(taken, 1))


def learn_policy(
    engine: Actor,
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
    """Policy gradient from the prior on; arguments, resuming and what it raises as `learn_values`.

    Args:
        engine: its settings.
        world: R · engine.episodes rows: run r plays in rows r·episodes and on. It must have a time limit, or end by
            itself under every policy.
        log_prior: log q(a|s) in nats, where the policy starts (with β = 0 too: then only the penalty is left out).
        beta: reward units a nat.
        key: of the actions.
        looks: numbers of steps of each run, counted over its episodes; kept is the policy in force at that step.
        discount: γ.
        tick: told how far the run is, 0 to 1.
        watcher: told of every look, once every run has passed it.
        checkpoints: where to save what is needed to go on, and where to look for it.
        checkpoint_every: looks between two of them; one is always written at the end. 0: only at the end.
    """
    check_beta(beta)
    check_discount(discount)
    if world.rows % engine.episodes:
        raise ConfigError(f"{world.rows} rows and {engine.episodes} episodes a step: the first must be a multiple.")
    name = origin(engine, "policy", key, beta, discount, looks[-1] if looks else 0)
    runs = world.rows // engine.episodes
    kept = Looks(looks, log_prior, world, runs, name, watcher, tick, checkpoints, checkpoint_every)
    run = _Play(engine, world, log_prior, beta, key, discount)
    if (found := kept.bring_back()) is not None:
        run.restore(found)
    while run.step(kept):
        tick(min(1.0, float(run.done.double().mean()) / max(1, looks[-1])))
    return Learnt(kept.steps, kept.kept, None, run.visits)


class _Play:
    """R runs that play and learn, as they stand between two steps of the gradient."""

    def __init__(self, engine: Actor, world: World, log_prior: Tensor, beta: float, key: Key, discount: float) -> None:
        self.engine, self.world, self.log_prior, self.beta, self.discount = engine, world, log_prior, beta, discount
        runs = world.rows // engine.episodes
        self.logits = torch.nn.Parameter(log_prior.expand(runs, -1, -1).clone())
        self.adam = torch.optim.Adam([self.logits], lr=engine.lr)
        self.value = torch.zeros(runs, world.states, dtype=torch.float64)
        self.visits = torch.zeros(runs, world.states, world.actions, dtype=torch.float64)
        self.done, self.chance = torch.zeros(runs, dtype=torch.long), Uniforms(key, world.rows)

    def step(self, looks: Looks) -> bool:
        """One step of the gradient of every run that has looks before it; False where none has."""
        before, marks, episodes = self.done.clone(), looks.marks, self.engine.episodes
        running = torch.nonzero(before <= marks[-1]).flatten()
        if not len(running):
            return False
        log_pi = torch.log_softmax(self.logits, -1)
        owner = running.repeat_interleave(episodes)
        rows = (running[:, None] * episodes + torch.arange(episodes)).flatten()
        played = play(self.world, rows, log_pi.detach()[owner], self.chance)
        at = (owner[:, None].expand_as(played.state), played.state, played.action)
        chosen = log_pi[at]
        ratio = chosen.detach() - self.log_prior[played.state, played.action]
        thought = self.value[at[:2]]
        got = returns(played, ratio, self.beta, self.discount, thought, self.engine.trace)
        actor_loss(chosen, got - thought, played.taken, self.discount).div(episodes).backward()
        self.visits.index_put_(at, played.taken.double(), accumulate=True)
        self.done = before.index_add(0, owner, played.taken.sum(-1))
        due = (marks[:, None] >= before) & (marks[:, None] < self.done)
        looks.kept = torch.where(due[..., None, None], log_pi.detach(), looks.kept)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.value = followed(self.value, at[:2], got, played.taken, self.engine.baseline)
        if looks.reach(int((marks < self.done.min()).sum())):
            looks.save(self._tensors(), {"world": self.world.state()})
        return True

    def _tensors(self) -> dict[str, Tensor]:
        at_hand = {n: getattr(self, n) for n in ("logits", "value", "visits", "done")}
        adam = {f"adam/{n}": v for n, v in self.adam.state[self.logits].items()}
        return {**at_hand, **adam, **self.chance.tensors()}

    def restore(self, found: Checkpoint) -> None:
        """Stand where a checkpoint was written."""
        tensors = found.tensors
        self.value, self.visits, self.done = (tensors[n].clone() for n in ("value", "visits", "done"))
        with torch.no_grad():
            self.logits.copy_(tensors["logits"])
        moments = {n.removeprefix("adam/"): v.clone() for n, v in tensors.items() if n.startswith("adam/")}
        self.adam.state[self.logits] = moments
        self.chance.restore(tensors)
        self.world.restore(found.state["world"])


def followed(
    value: Float[Tensor, "R S"], at: tuple[Tensor, Tensor], got: Float[Tensor, "n T"], taken: Bool[Tensor, "n T"],
    rate: float,
) -> Float[Tensor, "R S"]:  # fmt: skip
    """b(s) moved `rate` of the way to the mean return seen from s; states not seen stay."""
    count = torch.zeros_like(value).index_put_(at, taken.double(), accumulate=True)
    total = torch.zeros_like(value).index_put_(at, torch.where(taken, got, 0.0), accumulate=True)
    mean = total / count.clamp(min=1)
    return torch.where(count > 0, value + rate * (mean - value), value)
