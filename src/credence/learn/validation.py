"""What chooses a checkpoint: the ELBO on validation prompts, or a measure apart from the reward."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.posterior.posterior import Posterior

Measure = Callable[[Prompts, Completions], Sequence[float]]
"""A number for each completion, the larger the better: what chooses the checkpoint apart from the reward."""


@dataclass(frozen=True, eq=False)
class Validation:
    """Prompts that choose the checkpoint, always with the same key: by their ELBO under one target, or by a measure.

    Attributes:
        prompts: to validate on.
        draws: a prompt.
        every: steps between two looks.
        target: whose ELBO; by default the posterior of fit, or what its schedule gives for the last step.
        key: of the draws; give two stages the same and their ELBOs compare. By default folded from the key of fit.
        measure: of the same draws, apart from the reward (a gold reward, a human's score): its mean over them.
        chooses: whether the measure chooses in place of the ELBO, or is only recorded beside it.
    """

    prompts: Prompts
    draws: int = 8
    every: int = 10
    target: Posterior | None = None
    key: Key | None = None
    measure: Measure | None = None
    chooses: bool = True


def mean_of(measure: Measure, prompts: Prompts, completions: Completions) -> float:
    """The mean of a measure over draws.

    Raises:
        ContractError: it does not give one number for each.
    """
    found = list(measure(prompts, completions))
    if len(found) != len(completions):
        raise ContractError(
            f"the validation's measure returned {len(found)} values for {len(completions)} draws: one each is needed."
        )
    total = 0.0
    for value in found:
        try:
            total += float(value)
        except (TypeError, ValueError):
            raise ContractError(
                f"the validation's measure returned {value!r}: a number for each draw is needed."
            ) from None
    return total / len(found)


def elbo(posterior: Posterior, policy: Prior, prompts: Prompts, key: Key, n: int) -> tuple[float, float]:
    """E_π[log_lik − log π/π0] in nats and its standard error, mean over prompts of n draws each: J/β ≤ log Z.

    The ELBO is -inf once a draw is impossible; the standard error is inf then, and for a single draw a prompt.
    """
    nats, spent = nats_on(posterior, prompts, *policy.sample(key, prompts, n))
    return elbo_of(nats - spent, len(prompts))


def nats_on(posterior: Posterior, prompts: Prompts, completions: Completions, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) log_lik and log π/π0 of each row, nats."""
    log_prior = posterior.prior.score(prompts, completions)
    return posterior.log_lik(prompts, completions), (log_q - log_prior).sum(-1)


def elbo_of(gain: Tensor, prompts: int) -> tuple[float, float]:
    """Mean and standard error of rows of as many prompts."""
    by, value = gain.view(prompts, -1), float(gain.mean())
    n = by.shape[1]
    known = n > 1 and value != -math.inf
    return value, float((by.var(1).sum() / n).sqrt() / prompts) if known else math.inf
