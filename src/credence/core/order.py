"""What ranks alone say: how often each of m values is the best of n."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError


def best_of_n_weights(log_lik: Float[Tensor, " m"], of: int) -> Float[Tensor, " m"]:
    """Probability that each of m draws is the best of a random subset of `of` of them, ties shared equally.

    Σ_i weight_i f_i is the U-statistic of E_best-of-n[f]: unbiased for m independent prior draws of one prompt, with
    the least variance that m draws allow.

    Raises:
        ShapeError: of below 1 or above m.
    """
    m = len(log_lik)
    if not 1 <= of <= m:
        raise ShapeError(f"best of {of} from {m} draws: 1 to {m} can be asked for.")
    _, level, size = log_lik.unique(return_inverse=True, return_counts=True)
    upto = size.cumsum(0).double()
    # C(c, n)/C(m, n), the chance that a whole subset lies among the c lowest, is 0 for c < n.
    log_share = _log_choose(upto, of) - _log_choose(torch.tensor(float(m), dtype=torch.float64), of)
    share = torch.where(upto >= of, torch.exp(log_share), 0.0)
    gained = torch.diff(share, prepend=share.new_zeros(1))
    return (gained / size)[level]


def _log_choose(c: Tensor, n: int) -> Tensor:
    """log C(c, n) for c ≥ n; meaningless below."""
    inside = c.clamp(min=n)
    return torch.lgamma(inside + 1) - torch.lgamma(inside - n + 1) - math.lgamma(n + 1)
