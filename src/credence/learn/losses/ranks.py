"""Best-of-n read off the ranks of a prompt's draws."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.order import best_of_n_weights
from credence.core.protocols import Scored
from credence.learn.losses.groups import log_sums


def log_win(scored: Scored, of: int) -> Float[Tensor, " R"]:
    """log of n times the chance that a row is the best of a random `of` of its prompt's n rows: mean weight 1.

    With draws of q the weighted mean of any f is unbiased for best-of-`of` of q (a U-statistic). -inf: never the best.

    Raises:
        ShapeError: a prompt has fewer than `of` rows.
    """
    out = torch.zeros_like(scored.log_lik)
    for b in range(scored.prompts):
        rows = torch.nonzero(scored.prompt == b).flatten()
        if len(rows):
            out[rows] = len(rows) * best_of_n_weights(scored.log_lik[rows], of).to(out)
    return torch.log(out)


def log_best_of(scored: Scored, of: int) -> Float[Tensor, " R"]:
    """log of best-of-`of` over the prior, nats, with the prior's distribution function F of log_lik read off the rows.

    log (F^n − F⁻^n)/(F − F⁻) at each row's value, F and F⁻ the share of the prior at most and below it, by rows
    weighted π0/q and self-normalised. As evidence it makes best-of-n the posterior: π0 times its exponential sums to
    one, over the rows to the last digit, over all replies as the rows grow (error O(1/n)).
    """
    log_v = (scored.log_prior - scored.log_q).sum(-1)
    v = torch.exp(log_v - log_sums(log_v, scored)[scored.prompt])
    out = torch.zeros_like(scored.log_lik)
    for b in range(scored.prompts):
        rows = torch.nonzero(scored.prompt == b).flatten()
        values, level = scored.log_lik[rows].unique(return_inverse=True)
        upper = torch.zeros_like(values).index_add(0, level, v[rows]).cumsum(0).clamp(max=1.0)
        lower = torch.cat([upper.new_zeros(1), upper[:-1]])[: len(upper)]
        # (a^n − b^n)/(a − b) = Σ a^(n−1−i) b^i, without the difference of near numbers
        powers = torch.stack([upper ** (of - 1 - i) * lower**i for i in range(of)])
        out[rows] = torch.log(powers.sum(0))[level]
    return out
