"""Random small languages: enumerable, so that whatever is inferred on them can be compared with the truth."""

import math
from collections.abc import Iterable

import numpy as np

from credence.core.keys import Key
from credence.evidence.reward import Reward
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior, Tokens

HIGHEST = 3.0
"""Rewards and logits of a random language lie in (−3, 3)."""


def number(seed: int, *at: int) -> float:
    """A pure function of a seed and a place to (−3, 3): a language's logits and rewards."""
    return 2 * HIGHEST * float(Key(seed).fold(*at).uniform(np.zeros(1, np.int64), 0)[0]) - HIGHEST


def random_language(
    vocab: int = 3, horizon: int = 3, seed: int = 0, holes: bool = False, ends: Iterable[int] = (0,)
) -> TablePrior:
    """A language whose logits are drawn once, from a seed.

    Args:
        vocab: number of tokens.
        horizon: most tokens of a reply.
        seed: of the logits: the same seed, the same language.
        holes: whether about half of all steps are impossible (logit −inf).
        ends: the tokens that end a reply, modulo `vocab`.
    """

    def logits(tokens: Tokens) -> list[float]:
        row = [number(seed, *tokens, 100 + k) for k in range(vocab)]
        top = max(row)  # stays possible
        return [-math.inf if holes and x < 0 and x != top else x for x in row]

    return TablePrior(logits, vocab, frozenset(e % vocab for e in ends), horizon)


def random_reward(seed: int, beta: float = 0.7) -> Reward:
    """A reward of the reply's tokens, drawn once from a seed; it lies in (−3, 3)."""
    return Reward(lambda prompts, completions: [number(seed, *c) for c in completions], beta, bound=HIGHEST)


def random_posterior(seed: int, vocab: int = 3, horizon: int = 3, beta: float = 1.5) -> Posterior:
    """A random language under a random reward: one more target that an engine can be held to."""
    prior = random_language(vocab, horizon, Key(seed).fold("language").seed)
    return Posterior(prior, random_reward(Key(seed).fold("reward").seed, beta))
