"""What engines of control are held to, shared by oracle, statistical and mutant tests; by seed."""

import torch

from credence.core import soft
from credence.core.keys import Key
from credence.learn import temporal
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import ValueEngine
from credence.learn.world import TableWorld
from credence.posterior.soft_values import solve, worth
from tests.toys import BETA
from tests.worlds import COIN_BETA, chain, coin, even, leaning, toy_world


def check_soft_q(seed: int = 0) -> None:
    """On TOY-A, whole steps, uniform behaviour: p* to 1e-10 and V(root) = .4260484, once all was seen in order."""
    mdp, log_prior, prefixes = toy_world()
    best = solve(mdp, log_prior, BETA)
    world = TableWorld(mdp, Key(seed).fold("world"), 1)
    learnt = temporal.learn_values(SoftQ(power=0.0, explore=1.0), world, log_prior, BETA, Key(seed), [1500])
    assert learnt.values is not None
    off = float((learnt.log_pi[-1, 0] - best.log_pi[0]).abs().max())
    assert off < 1e-10, f"log π is off by {off:.3g}"
    root = soft.soft_value(learnt.values[0, prefixes.index(())], log_prior[prefixes.index(())], BETA)
    assert abs(float(root) - 0.4260483780) < 1e-9, f"V(root) = {float(root)}"
    j = float(worth(mdp, learnt.log_pi[-1], log_prior, BETA).j[0])
    assert abs(j - 0.4260483780) < 1e-9, f"J = {j}"


def check_sweep(engine: ValueEngine) -> None:
    """One backward sweep over TOY-A's tree, α = 1, with the engine's own target: p* to 1e-10, V(root) = .4260484."""
    mdp, log_prior, prefixes = toy_world()
    values = torch.zeros_like(log_prior)
    for s in sorted(range(mdp.states), key=lambda s: -len(prefixes[s])):
        to = mdp.state[s, :, 0]
        action = torch.arange(mdp.actions) % 2
        values[s] = engine.aim(
            mdp.reward[s, :, 0], mdp.ends[s, :, 0], values[to], log_prior[to], action, BETA, 1.0
        )  # fmt: skip
    best = solve(mdp, log_prior, BETA)
    off = float((soft.log_soft_policy(values, log_prior, BETA) - best.log_pi[0]).abs().max())
    root = float(soft.soft_value(values, log_prior, BETA)[prefixes.index(())])
    assert off < 1e-10, f"log π is off by {off:.3g}"
    assert abs(root - 0.4260483780) < 1e-9, f"V(root) = {root}"


def worst_after(engine: ValueEngine, episodes: int, seed: int = 0, rows: int = 4) -> float:
    """Largest KL(π‖p*) on TOY-A among independent runs of about so many episodes, nats."""
    mdp, log_prior, _ = toy_world()
    best = solve(mdp, log_prior, BETA)
    world = TableWorld(mdp, Key(seed).fold("world"), rows)
    learnt = temporal.learn_values(engine, world, log_prior, BETA, Key(seed), [2 * episodes])
    return float((best.j - worth(mdp, learnt.log_pi[-1], log_prior, BETA).j).max()) / BETA


RUNS, STEPS = 64, 2000
"""Of the slippery chain: independent runs, and steps each."""


def start_value(engine: ValueEngine, seed: int) -> tuple[float, float]:
    """Learnt E V(start) minus the exact one, reward units, and (J* − J(π))/β in nats, means over runs."""
    mdp, beta, discount = chain(), 0.3, 0.9
    prior = leaning(mdp, 0.5)
    best = solve(mdp, prior, beta, discount)
    world = TableWorld(mdp, Key(seed).fold("world"), RUNS, 60)
    learnt = temporal.learn_values(engine, world, prior, beta, Key(seed), [STEPS], discount)
    assert learnt.values is not None
    value = soft.soft_value(learnt.values, prior.expand_as(learnt.values), beta) @ mdp.start
    gap = best.j - worth(mdp, learnt.log_pi[-1], prior, beta, discount).j
    return float(value.mean()) - best.j, float(gap.mean()) / beta


def check_slippery(engine: ValueEngine, seed: int, bias: float, gap: float) -> None:
    """On a slippery world the values come to the exact ones, and the policy to the soft-optimal one."""
    off, left = start_value(engine, seed)
    assert abs(off) < bias, f"V(start) is off by {off:.4f}, allowed {bias}"
    assert left < gap, f"{left:.5f} nats are left, allowed {gap}"


def check_coin(seed: int) -> None:
    """Coin against sure: the learnt policy does not hope: P(coin) is .5 ± .1, a mean over 48 runs of 1,500 tosses."""
    mdp = coin()
    world = TableWorld(mdp, Key(seed).fold("world"), 48, 1)
    engine = SoftQ(power=1.0, explore=0.5)
    learnt = temporal.learn_values(engine, world, even(mdp), COIN_BETA, Key(seed), [1500])
    share = float(learnt.log_pi[-1, :, 0, 0].exp().mean())
    assert abs(share - 0.5) < 0.1, f"P(coin) = {share:.3f}"


def check_optimum_of_the_coin(seed: int = 0) -> None:
    """The oracle's own law: .5, and J* = .5; conditioning would give .987 and .863."""
    mdp = coin()
    best = solve(mdp, even(mdp), COIN_BETA, 1.0, 1)
    assert abs(best.j - 0.5) < 1e-12, f"J* = {best.j}"
    assert abs(float(best.log_pi[0, 0, 0].exp()) - 0.5) < 1e-12
