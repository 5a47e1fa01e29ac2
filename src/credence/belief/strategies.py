"""How to choose an arm from a belief: Thompson sampling, greedy, UCB and uniform."""

import math
from typing import Literal, get_args

import numpy as np

from credence.belief.bandit import Arms, Floats, Ints
from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key

Strategy = Literal["thompson", "greedy", "ucb", "uniform"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

DRAWS = 1000
"""Posterior draws that stand for Thompson sampling's law: choosing one of them by lot is that law exactly."""


def check_strategy(name: str) -> Strategy:
    """The name itself.

    Raises:
        ConfigError: no such strategy.
    """
    for known in STRATEGIES:
        if name == known:
            return known
    raise ConfigError(f"no strategy {name!r}.{nearest(name, STRATEGIES)} There are: {', '.join(STRATEGIES)}.")


def width(step: int) -> float:
    """√(2 log t): how optimistic UCB is at step t (from 1), so that no arm is ever given up for good."""
    return math.sqrt(2 * math.log(max(step, 2)))


def index(strategy: Strategy, arms: Arms, rng: np.random.Generator, step: int, context: Floats) -> Floats:
    """(R, K) what each learner's choice maximises at step t (from 1) in its own context (R, d).

    thompson: the mean reward under one draw from the posterior, so that an arm is chosen with the probability that it
    is the best. greedy: the posterior mean. ucb: mean plus √(2 log t) times the arm's uncertainty. uniform: chance.
    """
    match strategy:
        case "thompson":
            return arms.draw(rng, context)
        case "greedy":
            return arms.mean(context)
        case "ucb":
            return arms.upper(context, width(step))
        case "uniform":
            return rng.random((len(context), len(arms.names)))


def best(values: Floats, rng: np.random.Generator) -> Ints:
    """(R,) position of each row's largest value, ties broken by lot."""
    top = values == values.max(-1, keepdims=True)
    return np.where(top, rng.random(values.shape), -1.0).argmax(-1)


def law(strategy: Strategy, arms: Arms, key: Key, step: int, context: Floats, draws: int = DRAWS) -> Floats:
    """(M, K) probability that one learner (R = 1) chooses each arm in each of M contexts.

    Thompson's is the share of posterior draws in which the arm is best: sampled from, it is Thompson sampling with
    these draws, so it may be logged as the propensity. Ties share.

    Cost: draws × M × K numbers.
    """
    m, k = len(context), len(arms.names)
    if strategy == "uniform":
        return np.full((m, k), 1 / k)
    if strategy == "thompson":
        block = max(1, 2_000_000 // (draws * k))  # contexts at once, so that memory does not grow with the log
        parts = [arms.draws(key.generator(), draws, context[i : i + block]) for i in range(0, m, block)]
        values = np.concatenate(parts, 1) if parts else np.zeros((draws, 0, k))
        return _shared(values).mean(0)
    values = arms.mean(context) if strategy == "greedy" else arms.upper(context, width(step))
    return _shared(np.broadcast_to(values, (m, k)))


def _shared(values: Floats) -> Floats:
    """1 for the largest of the last axis, shared among ties."""
    top = (values == values.max(-1, keepdims=True)).astype(np.float64)
    return top / top.sum(-1, keepdims=True)
