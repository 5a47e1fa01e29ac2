"""Small worlds whose every number is known: a coin against a sure thing, a slippery chain, TOY-A as a world."""

import math

import torch
from torch import Tensor

from credence.posterior.mdp import MDP, from_table, token_mdp
from tests.toys import BETA, toy_a, toy_prompts

COIN_BETA = 0.1


def even(mdp: MDP) -> Tensor:
    """log of the uniform prior."""
    return torch.full((mdp.states, mdp.actions), -math.log(mdp.actions), dtype=torch.float64)


def coin() -> MDP:
    """SCIENCE 4.4: action 0 tosses a coin for 0 or 1, action 1 pays a sure 0.5; uniform prior, β = 0.1."""
    return from_table({0: {0: [(0.5, 0, 0.0, True), (0.5, 0, 1.0, True)], 1: [(1.0, 0, 0.5, True)]}}, [1.0])


def chain() -> MDP:
    """Four states and two actions that slip, pay and end unevenly: nothing in it is symmetric."""
    table = {
        s: {
            a: [
                (0.55 + 0.1 * a, (s + 1 + a) % 4, 0.3 * s - 0.2 * a, s == 3),
                (0.25, (2 * s + a) % 4, -0.1 - 0.15 * a, False),
                (0.2 - 0.1 * a, (s + 3) % 4, 0.5 - 0.4 * s, a == 1),
            ]
            for a in range(2)
        }
        for s in range(4)
    }
    return from_table(table, [0.4, 0.1, 0.3, 0.2])


def leaning(mdp: MDP, scale: float = 1.0) -> Tensor:
    """A policy, or prior, that prefers differently in each state."""
    s, a = torch.arange(mdp.states, dtype=torch.float64)[:, None], torch.arange(mdp.actions, dtype=torch.float64)
    return torch.log_softmax(scale * torch.sin(1 + 1.7 * s + 2.3 * a), -1)


def toy_world() -> tuple[MDP, Tensor, list[tuple[int, ...]]]:
    """TOY-A: one reply, token by token."""
    return token_mdp(toy_a(), toy_prompts(), BETA)
