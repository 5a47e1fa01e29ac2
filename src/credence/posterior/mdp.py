"""A world of finitely many states and actions, written down outcome by outcome: what the exact solver reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsFloat, SupportsInt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.types import Prompts
from credence.posterior.exact import Tokens, enumerate_posterior
from credence.posterior.posterior import Posterior

Outcome = tuple[SupportsFloat, SupportsInt, SupportsFloat, object]
"""Probability, next state, reward, whether the episode ends: as Gymnasium's toy worlds write their table P, whose
numbers may be numpy's."""


@dataclass(frozen=True, eq=False)
class MDP:
    """S states, A actions, at most K outcomes of each.

    Attributes:
        chance: (S, A, K) probability of each outcome; 0 pads.
        state: (S, A, K) the state it leads to.
        reward: (S, A, K) reward units.
        ends: (S, A, K) True where the episode is over; nothing is earned after it.
        start: (S,) law of the first state.

    Raises:
        ShapeError: axes that do not fit, or probabilities that do not sum to 1.
    """

    chance: Float[Tensor, "S A K"]
    state: Int[Tensor, "S A K"]
    reward: Float[Tensor, "S A K"]
    ends: Bool[Tensor, "S A K"]
    start: Float[Tensor, " S"]

    def __post_init__(self) -> None:
        total = self.chance.sum(-1)
        if bool((self.chance < 0).any()) or not torch.allclose(total, torch.ones_like(total), atol=1e-9):
            s, a = divmod(int((total - 1).abs().argmax()), self.actions)
            raise ShapeError(f"the outcomes of state {s}, action {a} have probability {float(total[s, a])}: 1 needed.")
        if len(self.start) != self.states or abs(float(self.start.sum()) - 1) > 1e-9:
            raise ShapeError(f"start is no law over {self.states} states: {self.start.tolist()}")

    @property
    def states(self) -> int:
        """S."""
        return self.chance.shape[0]

    @property
    def actions(self) -> int:
        """A."""
        return self.chance.shape[1]

    @property
    def deterministic(self) -> bool:
        """Whether each action has one outcome: only then is KL-penalised control conditioning on the reward."""
        return bool((self.chance.amax(-1) > 1 - 1e-9).all())

    def look_ahead(self, values: Float[Tensor, "*n S"], discount: float) -> Float[Tensor, "*n S A"]:
        """Q(s, a) = Σ_outcomes p (r + γ V(s')), the mean inside: the world's chance cannot be tilted."""
        later = values[..., self.state]
        return mixed(self.chance, self.reward + torch.where(self.ends, 0.0, discount * later))


def mixed(weight: Float[Tensor, "..."], values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Σ weight · value over the last axis, where a weight of 0 makes nothing of an infinite value."""
    return torch.where(weight > 0, weight * values, 0.0).sum(-1)


def from_table(table: Mapping[int, Mapping[int, Sequence[Outcome]]], start: Sequence[SupportsFloat]) -> MDP:
    """An MDP from Gymnasium's `env.unwrapped.P` and `initial_state_distrib`.

    Raises:
        ConfigError: a state without a row, or rows of unlike length.
    """
    states, actions = len(table), len(table[0]) if 0 in table else 0
    if not actions or any(s not in table or len(table[s]) != actions for s in range(states)):
        raise ConfigError(f"a table of {states} states: states 0.. with the same actions 0.. each are needed.")
    width = max(len(outcomes) for row in table.values() for outcomes in row.values())
    chance = torch.zeros(states, actions, width, dtype=torch.float64)
    state = torch.zeros(states, actions, width, dtype=torch.long)
    reward, ends = torch.zeros_like(chance), torch.zeros(states, actions, width, dtype=torch.bool)
    for s, row in table.items():
        for a, outcomes in row.items():
            for k, (p, to, r, over) in enumerate(outcomes):
                chance[s, a, k], state[s, a, k] = float(p), int(to)
                reward[s, a, k], ends[s, a, k] = float(r), bool(over)
    return MDP(chance, state, reward, ends, torch.tensor([float(p) for p in start], dtype=torch.float64))


def token_mdp(posterior: Posterior, prompts: Prompts, beta: float) -> tuple[MDP, Float[Tensor, "S V"], list[Tokens]]:
    """One reply as an MDP: states are prefixes, actions are tokens, β·log_lik is paid at the end.

    Its soft value at the empty prefix is β log Z, and its soft-optimal policy's product is p*.
    Tested in tests/oracle/test_soft_values.py::test_one_reply_is_the_deterministic_case.

    Args:
        posterior: over an enumerable prior.
        prompts: exactly one.
        beta: reward units a nat, only to speak of values in reward units.

    Returns:
        the MDP; log π0(token | prefix) of each state; the prefixes, in the order of the states.

    Raises:
        ConfigError: evidence that forbids completions: a reward of −inf has no mean.
    """
    exact = enumerate_posterior(posterior, prompts)
    if bool(torch.isneginf(exact.log_lik).any()):
        raise ConfigError("the evidence forbids completions (log_lik = -inf): give finite nats to learn values of it.")
    place = {prefix: i for i, prefix in enumerate(exact.prefixes)}
    log_prior = torch.stack([exact.log_step[p] for p in exact.prefixes])
    shape = (*log_prior.shape, 1)
    state, ends = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    reward = torch.zeros(shape, dtype=torch.float64)
    for prefix, s in place.items():
        for token in range(shape[1]):
            child = (*prefix, token)
            over = child not in place
            ends[s, token, 0], state[s, token, 0] = over, 0 if over else place[child]
            reward[s, token, 0] = beta * exact.log_value[child] if over else 0.0
    start = torch.zeros(len(place), dtype=torch.float64)
    start[place[()]] = 1.0
    return MDP(torch.ones(shape, dtype=torch.float64), state, reward, ends, start), log_prior, list(exact.prefixes)
