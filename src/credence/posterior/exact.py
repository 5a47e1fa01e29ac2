"""The oracle: every completion of an enumerable prior, its posterior, soft values and exact gradients' ingredients."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.protocols import StepPrior
from credence.core.types import Completions, Prompts
from credence.posterior.posterior import Posterior

LIMIT = 200_000
"""Leaves beyond which enumeration is refused."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Exact:
    """Everything about one prompt's posterior.

    Attributes:
        sequences: N completions, those that ended and those that the horizon cut; Σ exp(log_prior) = 1.
        completions: the same as rows.
        log_prior: (N,) nats.
        log_lik: (N,) nats.
        log_p: (N,) posterior nats.
        log_z: log Z in nats.
        prefixes: the tree's inner nodes, shortest first.
        log_value: log ψ*(prefix) = log E_π0[exp(log_lik) | prefix] in nats, for inner nodes and leaves.
        log_step: prefix -> (V,) log π0(token | prefix).
    """

    sequences: tuple[Tokens, ...]
    completions: Completions
    log_prior: Float[Tensor, " N"]
    log_lik: Float[Tensor, " N"]
    log_p: Float[Tensor, " N"]
    log_z: float
    prefixes: tuple[Tokens, ...]
    log_value: dict[Tokens, float]
    log_step: dict[Tokens, Tensor]

    def index(self) -> dict[Tokens, int]:
        """Where each sequence stands."""
        return {s: i for i, s in enumerate(self.sequences)}

    def soft_optimal(self, prefix: Tokens) -> Float[Tensor, " V"]:
        """log π*(token | prefix) = log π0 + log ψ*(prefix·token) − log ψ*(prefix): the policy whose product is p*.

        The prior itself at a prefix that the posterior never reaches, where any law would do.
        """
        step = self.log_step[prefix]
        if self.log_value[prefix] == -math.inf:
            return step
        values = torch.tensor([self.log_value[(*prefix, v)] for v in range(len(step))], dtype=torch.float64)
        return torch.where(torch.isneginf(step), step, step + values - self.log_value[prefix])


def tree(prior: StepPrior, prompts: Prompts) -> tuple[list[Tokens], list[Tokens], dict[Tokens, Tensor]]:
    """Leaves, inner prefixes and log π0(· | prefix) of an enumerable prior on its one prompt.

    Raises:
        ConfigError: more than one prompt, or over 200,000 leaves.
    """
    if len(prompts) != 1:
        raise ConfigError(f"{len(prompts)} prompts: one posterior is enumerated at a time.")
    leaves: list[Tokens] = []
    inner: list[Tokens] = []
    log_step: dict[Tokens, Tensor] = {}
    level: list[Tokens] = [()]
    state: Any = prior.start(prompts, 1)
    for depth in range(prior.horizon):
        rows = torch.log_softmax(prior.next_logits(state).double(), -1)
        vocab = rows.shape[1]
        if len(level) * vocab + len(leaves) > LIMIT:
            raise ConfigError(
                f"over {LIMIT:,} completions (vocabulary {vocab}, horizon {prior.horizon}): too many to enumerate. "
                "Use an engine that draws."
            )
        inner += level
        log_step.update(zip(level, rows, strict=True))
        children = [((*p, v), r) for r, p in enumerate(level) for v in range(vocab)]
        alive = [(s, r) for s, r in children if s[-1] not in prior.ends and depth + 1 < prior.horizon]
        kept = {s for s, _ in alive}
        leaves += [s for s, _ in children if s not in kept]
        if not alive:
            break
        parents = torch.tensor([r for _, r in alive])
        level = [s for s, _ in alive]
        state = prior.extend(prior.take(state, parents), torch.tensor([s[-1] for s in level]))
    return leaves, inner, log_step


def as_completions(sequences: list[Tokens], ends: frozenset[int]) -> Completions:
    """Tuples of tokens as rows that answer prompt 0."""
    width = max(len(s) for s in sequences)
    ids = torch.tensor([list(s) + [0] * (width - len(s)) for s in sequences])
    mask = torch.tensor([[True] * len(s) + [False] * (width - len(s)) for s in sequences])
    ended = torch.tensor([s[-1] in ends for s in sequences])
    return Completions(ids, mask, ended, torch.zeros(len(sequences), dtype=torch.long))


def enumerate_posterior(posterior: Posterior, prompts: Prompts) -> Exact:
    """The posterior of one prompt by enumeration. Tested on TOY-A's golden numbers in tests/oracle/test_toy_a.py.

    Args:
        posterior: its prior must be a StepPrior with a small vocabulary and horizon.
        prompts: exactly one.

    Raises:
        ConfigError: the prior cannot be stepped or is too large.
        DegeneracyError: no completion is possible under the evidence.
    """
    prior = posterior.prior
    if not isinstance(prior, StepPrior):
        raise ConfigError(f"{type(prior).__name__} cannot be stepped, so it cannot be enumerated.")
    leaves, inner, log_step = tree(prior, prompts)
    completions = as_completions(leaves, prior.ends)
    log_lik = posterior.log_lik(prompts, completions)
    log_prior = torch.stack([sum((log_step[s[:t]][s[t]] for t in range(len(s))), torch.tensor(0.0)) for s in leaves])
    log_joint = torch.where(torch.isneginf(log_prior), log_prior, log_prior + log_lik)
    log_z = torch.logsumexp(log_joint, 0)
    if bool(torch.isneginf(log_z)):
        raise DegeneracyError("no completion of this prior is possible under the evidence: Z = 0, so no posterior.")
    log_value = {s: float(v) for s, v in zip(leaves, log_lik, strict=True)}
    for prefix in reversed(inner):
        step = log_step[prefix]
        values = torch.tensor([log_value[(*prefix, v)] for v in range(len(step))], dtype=torch.float64)
        log_value[prefix] = float(torch.logsumexp(torch.where(torch.isneginf(step), step, step + values), 0))
    return Exact(
        tuple(leaves), completions, log_prior, log_lik, log_joint - log_z, float(log_z), tuple(inner), log_value,
        log_step,
    )  # fmt: skip
