"""Means over the rows of each prompt, for groups of any size."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.protocols import Scored


def row_weights(scored: Scored) -> Float[Tensor, " R"]:
    """1 / (rows of my prompt × prompts): sums over rows become means over rows, then over prompts."""
    return 1.0 / (sizes(scored)[scored.prompt] * scored.prompts)


def sizes(scored: Scored) -> Float[Tensor, " B"]:
    """Rows of each prompt."""
    ones = torch.ones_like(scored.log_lik)
    return torch.zeros(scored.prompts, dtype=ones.dtype, device=ones.device).index_add(0, scored.prompt, ones)


def leave_one_out(values: Float[Tensor, "R ..."], scored: Scored) -> Float[Tensor, "R ..."]:
    """Each value minus the mean of the *other* rows of its prompt: a baseline that does not know the row.

    Raises:
        ShapeError: a prompt with a single row has no others.
    """
    n = sizes(scored)
    if bool((n[scored.prompt] < 2).any()):
        raise ShapeError("a prompt has a single draw: the leave-one-out baseline needs a group of at least 2.")
    total = values.new_zeros(scored.prompts, *values.shape[1:]).index_add(0, scored.prompt, values)
    count = n[scored.prompt].to(values).view(-1, *[1] * (values.dim() - 1))
    return values - (total[scored.prompt] - values) / (count - 1)


def summary(scored: Scored) -> dict[str, float]:
    """What every learner reports, in nats, means over prompts of means over rows.

    elbo: E[log_lik − log π/π0], J/β. log_lik: E[log_lik]. kl_prior: E[log π/π0]. kl_posterior_estimate:
    log mean e^D − mean D of D = log_lik − log π/π0 within each prompt's rows, KL(π‖p*) with log Z from the same rows,
    biased low by the tail they miss. Readings: their means. On draws from elsewhere (`log_q` not the policy's) rows are
    weighted by π/q, self-normalised.
    """
    log_ratio = (scored.log_pi.detach() - scored.log_q).sum(-1)
    gain = scored.log_lik - (scored.log_pi.detach() - scored.log_prior).sum(-1)
    looked_at = {"elbo": gain, "log_lik": scored.log_lik, **scored.readings}
    sums = dict.fromkeys([*looked_at, "kl_posterior_estimate"], 0.0)
    for b in range(scored.prompts):
        mine = scored.prompt == b
        w = torch.softmax(log_ratio[mine], 0)
        possible = w > 0
        for name, values in looked_at.items():
            sums[name] += float((w * values[mine])[possible].sum()) / scored.prompts
        sums["kl_posterior_estimate"] += float(torch.logsumexp(gain[mine] + torch.log(w), 0)) / scored.prompts
    sums["kl_posterior_estimate"] -= sums["elbo"]
    return {**sums, "kl_prior": sums["log_lik"] - sums["elbo"]}
