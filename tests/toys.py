"""The toys of `credence.testing`, under the name by which tests know them."""

import numpy as np
import torch

from credence.core.keys import Key
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.posterior.exact import Exact
from credence.prior.table import TablePrior
from credence.testing.toys import (
    BETA,
    EOS,
    HORIZON,
    TWO_END,
    TWO_HORIZON,
    A,
    B,
    code,
    policy_logits,
    prior_logits,
    toy_a,
    toy_policy,
    toy_prior,
    toy_prompts,
    toy_reward,
    toy_two,
    two_logits,
    two_prompts,
    two_reward,
)

__all__ = [
    "BETA",
    "EOS",
    "HORIZON",
    "TWO_END",
    "TWO_HORIZON",
    "A",
    "B",
    "OptimalTwist",
    "code",
    "policy_logits",
    "prior_logits",
    "prior_weights",
    "soft_optimal_prior",
    "toy_a",
    "toy_policy",
    "toy_prior",
    "toy_prompts",
    "toy_reward",
    "toy_two",
    "two_logits",
    "two_prompts",
    "two_reward",
]


def prior_weights(exact: Exact, key: Key, n: int) -> torch.Tensor:
    """log w of n draws of an enumerated prior, without walking it: what `Importance` gives, in no time."""
    uniform = torch.from_numpy(key.uniform(np.arange(n), 0))
    return exact.log_lik[torch.searchsorted(exact.log_prior.exp().cumsum(0), uniform).clamp(max=len(exact.log_lik) - 1)]


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
