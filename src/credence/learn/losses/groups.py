"""Means over the rows of each prompt, for groups of any size."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.logspace import ess
from credence.core.protocols import Scored


@runtime_checkable
class Grouped(Protocol):
    """Rows that belong to prompts: what Scored and Valued have in common."""

    @property
    def log_lik(self) -> Float[Tensor, " R"]:
        """(R,) nats."""
        ...

    @property
    def prompt(self) -> Int[Tensor, " R"]:
        """(R,) the prompt of each row."""
        ...

    @property
    def prompts(self) -> int:
        """B."""
        ...


def row_weights(scored: Grouped) -> Float[Tensor, " R"]:
    """1 / (rows of my prompt × prompts): sums over rows become means over rows, then over prompts."""
    return 1.0 / (sizes(scored)[scored.prompt] * scored.prompts)


def sizes(scored: Grouped) -> Float[Tensor, " B"]:
    """Rows of each prompt."""
    return sums(torch.ones_like(scored.log_lik), scored)


def sums(values: Float[Tensor, " R"], scored: Grouped) -> Float[Tensor, " B"]:
    """Sum over the rows of each prompt; 0 for a prompt without rows."""
    return values.new_zeros(scored.prompts).index_add(0, scored.prompt, values)


def log_sums(values: Float[Tensor, " R"], scored: Grouped) -> Float[Tensor, " B"]:
    """log Σ exp over the rows of each prompt; -inf where all are, or there are none."""
    top = values.new_full((scored.prompts,), -torch.inf).scatter_reduce(0, scored.prompt, values, "amax")
    finite = torch.where(torch.isneginf(top), 0.0, top)
    return torch.log(sums(torch.exp(values - finite[scored.prompt]), scored)) + finite


def leave_one_out(values: Float[Tensor, " R"], scored: Scored) -> Float[Tensor, " R"]:
    """Each value minus the mean of the *other* rows of its prompt: a baseline that does not know the row.

    Raises:
        ShapeError: a prompt with a single row has no others.
    """
    n = sizes(scored)[scored.prompt]
    if bool((n < 2).any()):
        raise ShapeError("a prompt has a single draw: the leave-one-out baseline needs a group of at least 2.")
    return values - (sums(values, scored)[scored.prompt] - values) / (n - 1)


def summary(scored: Scored) -> dict[str, float]:
    """What every learner reports, in nats, means over prompts of means over rows.

    elbo: E[log_lik − log π/π0], J/β, -inf once a draw is impossible. log_lik: E[log_lik]. kl_prior: E[log π/π0].
    kl_posterior_estimate: log mean e^D − mean D of D = log_lik − log π/π0 within each prompt's rows, KL(π‖p*) with
    log Z from the same rows, biased low by the tail they miss. Readings: their means. On draws from elsewhere (`log_q`
    not the policy's) rows are weighted by π/q, self-normalised; ratio_ess, the effective share of the rows under these
    weights, and ratio_max, the largest, say how far that is (1 and 1 on policy). Tested in tests/unit/test_losses.py.

    Raises:
        ContractError: a row that the policy cannot say.
    """
    refuse_unsayable(scored)
    log_ratio = (scored.log_pi.detach() - scored.log_q).sum(-1)
    log_w = log_ratio - log_sums(log_ratio, scored)[scored.prompt]
    w = torch.exp(log_w)

    def mean(values: Float[Tensor, " R"]) -> float:
        terms = torch.where(w > 0, w * values, 0.0)  # a weight of 0 makes nothing of an impossible draw
        return float(sums(terms, scored).sum()) / with_rows

    with_rows = max(1, int((sizes(scored) > 0).sum()))
    drifted = (scored.log_pi.detach() - scored.log_prior).sum(-1)
    gain = scored.log_lik - drifted
    log_z = log_sums(gain + log_w, scored)[sizes(scored) > 0]
    elbo = mean(gain)
    impossible = elbo == -torch.inf  # KL(π‖p*) = inf, also where every draw is impossible and log Z reads -inf
    return {
        **{name: mean(values) for name, values in scored.readings.items()},
        "elbo": elbo,
        "log_lik": mean(scored.log_lik),
        "kl_prior": mean(drifted),
        "kl_posterior_estimate": torch.inf if impossible else float(log_z.sum()) / with_rows - elbo,
        "ratio_ess": float(ess(log_ratio)) / len(log_ratio),
        "ratio_max": float(torch.exp(log_ratio.max())),
    }


def refuse_unsayable(scored: Scored) -> None:
    """Rows of probability 0 under the policy: π/q, log π and every gradient through them are no numbers.

    Draws of the policy itself never are; those of its prior are where it does not contain the prior's support.

    Raises:
        ContractError: with the remedies.
    """
    lost = torch.isneginf(scored.log_pi.detach().sum(-1))
    missing = int((lost & ~torch.isneginf(scored.log_prior.sum(-1))).sum())
    if missing:
        raise ContractError(
            f"the policy gives probability 0 to {missing} of {len(lost)} rows that its prior can say, so KL(p*‖π) is "
            "infinite and no gradient leads there. A policy must contain its prior's support: start it at the prior, "
            "and reshape it by temperature only (top_k and top_p cut replies away)."
        )
    if bool(lost.any()):
        raise ContractError(
            f"{int(lost.sum())} of {len(lost)} rows are impossible under the prior and under the policy alike, so no "
            "evidence can make them possible: leave them out of the stored draws."
        )


def refuse_beyond_prior(scored: Scored) -> None:
    """Rows of probability 0 under the prior: KL(π‖π0) is infinite for every policy that can say them.

    Raises:
        ContractError: with the remedies.
    """
    lost = int(torch.isneginf(scored.log_prior.sum(-1)).sum())
    if lost:
        raise ContractError(
            f"the prior gives probability 0 to {lost} of {len(scored.log_prior)} draws, so KL(π‖π0) is infinite and "
            "has no gradient. A policy must say nothing that its prior cannot: start it at the prior, do not cut the "
            "prior by top_k or top_p, or take a forward-KL learner on stored draws (DPG)."
        )


def off_policy(scored: Scored) -> Float[Tensor, " R"]:
    """π/q of each row, detached: 1 where the policy itself drew it."""
    return torch.exp((scored.log_pi.detach() - scored.log_q).sum(-1))
