"""Systematic resampling: weighted particles in, equally weighted ones out, with little noise of its own."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import DegeneracyError, ShapeError


def systematic(
    log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups"], n: int | None = None
) -> Int[Tensor, "*groups n"]:
    """Indices of n particles a group: the weights' distribution function read at (u + 0, …, u + n − 1)/n.

    Properly unbiased: particle i is taken ⌊n w̄_i⌋ or ⌈n w̄_i⌉ times, n w̄_i on average over u
    (tests/unit/test_resample.py). Indices come out sorted, so that they are not exchangeable within a group.

    Args:
        log_w: unnormalised log weights; -inf is never taken.
        uniform: one number in (0, 1) a group.
        n: how many to take; K by default.

    Raises:
        ShapeError: not one uniform a group, or n below 1.
        DegeneracyError: a group without any possible particle.

    Cost: K log n a group. Source: Carpenter, Clifford & Fearnhead 1999.
    """
    count = log_w.shape[-1] if n is None else n
    if uniform.shape != log_w.shape[:-1] or count < 1:
        raise ShapeError(
            f"weights {tuple(log_w.shape)}, uniforms {tuple(uniform.shape)}, n={count}: one uniform a group of "
            "weights and n of at least 1 are needed."
        )
    top = log_w.max(-1, keepdim=True).values
    if bool(torch.isneginf(top).any()):
        raise DegeneracyError(
            "a group of particles has no possible member: there is nothing to resample from. Leave it out, and say so "
            "in its status."
        )
    edges = torch.exp(log_w.double() - top).cumsum(-1)
    steps = torch.arange(count, dtype=torch.float64, device=log_w.device)
    goals = (uniform.to(edges)[..., None] + steps) / count * edges[..., -1:]
    # The left-most edge at or above a goal in (0, total] belongs to a particle of positive weight.
    return torch.searchsorted(edges, goals.contiguous())
