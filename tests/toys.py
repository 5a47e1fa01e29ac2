"""TOY-A of the science notes, section 0: 31 sequences, no random numbers, every quantity known to ten digits."""

import math

import numpy as np
import torch

from credence.core.keys import Key
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior

A, B, EOS = 0, 1, 2
HORIZON = 4
BETA = 0.5


def code(tokens: tuple[int, ...]) -> int:
    return sum((token + 1) * 3**i for i, token in enumerate(tokens))


def prior_logits(tokens: tuple[int, ...]) -> list[float]:
    return [math.sin(1 + 2 * code(tokens) + 3 * k) for k in range(3)]


def policy_logits(tokens: tuple[int, ...]) -> list[float]:
    return [x + 0.8 * math.cos(2 + code(tokens) + 1.7 * k) for k, x in enumerate(prior_logits(tokens))]


def toy_reward(prompts: list, completions: list[tuple[int, ...]]) -> list[float]:
    return [math.sin(1 + 0.7 * code(tokens)) for tokens in completions]


def toy_prior() -> TablePrior:
    return TablePrior(prior_logits, 3, EOS, HORIZON)


def toy_policy() -> TablePrior:
    return TablePrior(policy_logits, 3, EOS, HORIZON)


def toy_prompts() -> Prompts:
    return toy_prior().codec.prompts([()])


def toy_a(beta: float = BETA) -> Posterior:
    return Posterior(toy_prior(), Reward(toy_reward, beta, bound=1.0))


def prior_weights(exact: Exact, key: Key, n: int) -> torch.Tensor:
    """log w of n draws of an enumerated prior, without walking it: what `Importance` gives, in no time."""
    uniform = torch.from_numpy(key.uniform(np.arange(n), 0))
    return exact.log_lik[torch.searchsorted(exact.log_prior.exp().cumsum(0), uniform).clamp(max=len(exact.log_lik) - 1)]


# A second toy, where everything depends on the prompt: four tokens, two prompts of unlike length, one of which holds
# the end token, and a reward that reads prompt and reply.

TWO_END, TWO_HORIZON = 3, 3


def two_logits(tokens: tuple[int, ...]) -> list[float]:
    place = sum((token + 1) * 4**i for i, token in enumerate(tokens))
    return [1.3 * math.cos(0.3 + 1.3 * place + 2.1 * k) for k in range(4)]


def two_reward(prompts: list[tuple[int, ...]], completions: list[tuple[int, ...]]) -> list[float]:
    return [
        math.sin(0.5 + 0.9 * code(prompt + reply)) - 0.2 * len(reply)
        for prompt, reply in zip(prompts, completions, strict=True)
    ]


def toy_two(on_prefix: bool = False) -> Posterior:
    prior = TablePrior(two_logits, 4, TWO_END, TWO_HORIZON)
    return Posterior(prior, Reward(two_reward, 0.4, on_prefix=on_prefix, bound=0.8) * Ended(-0.7))


def two_prompts() -> Prompts:
    return toy_two().prior.codec.prompts([(0,), (2, 3, 1)])


# The oracle as a twist and as a proposal, for one prompt without tokens: SMC on both makes no error.


class OptimalTwist:
    """log ψ*(prefix) = log E_π0[exp(log_lik) | prefix], by enumeration."""

    def __init__(self, exact: Exact) -> None:
        self.exact = exact

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.tensor([self.exact.log_value[tuple(row)] for row in completions.tokens()], dtype=torch.float64)


def soft_optimal_prior(exact: Exact, prior: Prior) -> TablePrior:
    """The policy whose product is p*."""
    vocab = len(exact.log_step[()])
    return TablePrior(lambda said: exact.soft_optimal(said).tolist(), vocab, prior.ends, prior.horizon)
