"""Soft values and the laws they imply: one choice among A actions or tokens, priced in β reward units a nat.

The vocabulary's sum is always taken whole, never sampled, so the same two functions serve a table of a grid world and
the logits of a language model.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError

_TIE = 1e-9
"""Values this close, relative to the largest, count as equal where β = 0 makes ties matter."""


def check_beta(beta: float) -> float:
    """The reward that one nat is worth; 0 is the limit in which the prior only breaks ties.

    Raises:
        ConfigError: negative, infinite or NaN; or above 0 with an infinite 1/beta, in which every r/β would be lost.
    """
    if not 0 <= beta < math.inf or (beta > 0 and math.isinf(1 / beta)):
        raise ConfigError(
            f"beta = {beta}: reward units a nat, finite and at least 0 (0: no KL penalty at all); above 0 its 1/beta "
            "must be finite too."
        )
    return beta


def soft_value(values: Float[Tensor, "*n A"], log_prior: Float[Tensor, "*n A"], beta: float) -> Float[Tensor, "*n"]:
    """V = β log Σ_a q(a) e^{Q(a)/β}: the best E_π[Q] − β KL(π‖q) that one choice can have, in reward units.

    β = 0 is its limit, the largest Q that the prior allows; β → ∞ tends to E_q[Q].
    Tested in tests/oracle/test_soft_values.py::test_soft_value_is_the_best_penalised_mean.

    Args:
        values: Q(a) in reward units.
        log_prior: log q(a) in nats, normalised; -inf forbids an action.
        beta: reward units a nat, at least 0.
    """
    if beta == 0:
        return torch.where(torch.isneginf(log_prior), -torch.inf, values).amax(-1)
    return beta * torch.logsumexp(log_prior + values / beta, -1)


def log_soft_policy(
    values: Float[Tensor, "*n A"], log_prior: Float[Tensor, "*n A"], beta: float
) -> Float[Tensor, "*n A"]:
    """log π(a) = log q(a) + (Q(a) − V)/β in nats: the law that attains `soft_value`.

    β = 0 is its limit, the prior restricted to the actions of largest Q and normalised.
    """
    if beta == 0:
        best = soft_value(values, log_prior, 0.0).unsqueeze(-1)
        tied = values >= best - _TIE * (1 + best.abs())
        return torch.log_softmax(torch.where(tied, log_prior, -torch.inf), -1)
    return torch.log_softmax(log_prior + values / beta, -1)
