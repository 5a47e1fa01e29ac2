"""Resampling: weighted particles in, equally weighted ones out. Four schemes, by name.

Each takes particle i n·w̄_i times on average (w̄ the normalised weights), exactly; they differ in the noise that they
add. Of each scheme there is a conditional form too, in which one particle is known to survive: conditional_resample.
"""

from typing import Literal, assert_never, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.prior.steps import row_numbers

Scheme = Literal["multinomial", "stratified", "systematic", "residual"]
"""multinomial: n independent draws, the noisiest. stratified: one in each n-th part of the weights' distribution
function. systematic: the same with one shared uniform, ⌊n w̄⌋ or ⌈n w̄⌉ copies each. residual: ⌊n w̄⌋ copies for
certain, the rest by independent draws of what is left."""

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def lots(scheme: Scheme, key: Key, groups: int, n: int, step: int, first: int = 0) -> Float[Tensor, "groups m"]:
    """The uniforms that a scheme needs to take n particles of each group: one for systematic, else n.

    Group g draws as group first + g of all, so that a group's uniforms do not depend on how groups are batched.
    """
    match scheme:
        case "systematic":
            return torch.from_numpy(key.uniform(torch.arange(first, first + groups).numpy(), step))[:, None]
        case "multinomial" | "stratified" | "residual":
            return torch.from_numpy(key.uniform(row_numbers(groups, n, first).numpy(), step)).view(groups, n)
        case _:
            assert_never(scheme)


def resample(
    scheme: Scheme, log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups m"]
) -> Int[Tensor, "*groups K"]:
    """K indices a group by this scheme, from the uniforms that `lots` gives.

    Raises:
        ShapeError: the wrong number of uniforms.
        DegeneracyError: a group without any possible particle.

    Source: Douc, Cappé & Moulines 2005, who compare the four. Test: E[copies] = K w̄ exactly, of each scheme, in
    tests/unit/test_resample.py; wrong versions in tests/mutants/test_resample_mutants.py.
    """
    match scheme:
        case "systematic":
            if uniform.shape[-1] != 1:
                raise ShapeError(f"systematic resampling takes one uniform a group; {uniform.shape[-1]} were given.")
            return systematic(log_w, uniform.squeeze(-1))
        case "stratified":
            return stratified(log_w, uniform)
        case "multinomial":
            return multinomial(log_w, uniform)
        case "residual":
            return residual(log_w, uniform)
        case _:
            assert_never(scheme)


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
    strata = torch.arange(count, dtype=torch.float64, device=log_w.device)
    return _read(shares(log_w), (uniform.to(strata)[..., None] + strata) / count)


def stratified(log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups n"]) -> Int[Tensor, "*groups n"]:
    """Indices of n particles a group: the distribution function read once in each of n equal parts, independently.

    Sorted. Source: Kitagawa 1996. Raises as systematic does.
    """
    count = _count(log_w, uniform)
    strata = torch.arange(count, dtype=torch.float64, device=log_w.device)
    return _read(shares(log_w), (uniform.to(strata) + strata) / count)


def multinomial(log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups n"]) -> Int[Tensor, "*groups n"]:
    """Indices of n independent draws a group, in the order of their uniforms.

    Source: Gordon, Salmond & Smith 1993. Raises as systematic does.
    """
    _count(log_w, uniform)
    return _read(shares(log_w), uniform.double().to(log_w.device))


def residual(log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups n"]) -> Int[Tensor, "*groups n"]:
    """Indices of n particles a group: ⌊n w̄_i⌋ copies of each for certain, sorted, then independent draws of the rest.

    Place j of a group uses uniform j, and only if it is not one of the certain ones.
    Source: Liu & Chen 1998. Raises as systematic does.
    """
    count = _count(log_w, uniform)
    certain, left = split(shares(log_w), count)
    place = torch.arange(count, dtype=torch.float64, device=log_w.device).expand(uniform.shape).contiguous()
    fixed = torch.searchsorted(certain.cumsum(-1), place, right=True)
    drawn = _read(torch.where(left.sum(-1, keepdim=True) > 0, left, 1.0), uniform.double().to(log_w.device))
    return torch.where(place < certain.sum(-1, keepdim=True), fixed, drawn)


def shares(log_w: Float[Tensor, "*groups K"]) -> Float[Tensor, "*groups K"]:
    """Each group's weights as float64 numbers that sum to one.

    Raises:
        DegeneracyError: a group without any possible particle.
    """
    top = log_w.max(-1, keepdim=True).values
    if bool(torch.isneginf(top).any()):
        raise DegeneracyError(
            "a group of particles has no possible member: there is nothing to resample from. Leave it out, and say so "
            "in its status."
        )
    weight = torch.exp(log_w.double() - top)
    return weight / weight.sum(-1, keepdim=True)


def split(share: Float[Tensor, "*groups K"], n: int) -> tuple[Float[Tensor, "*groups K"], Float[Tensor, "*groups K"]]:
    """n w̄ as its whole copies and what is left of each."""
    certain = torch.floor(n * share)
    return certain, n * share - certain


def _read(weight: Float[Tensor, "*groups K"], at: Float[Tensor, "*groups n"]) -> Int[Tensor, "*groups n"]:
    """The particle whose part of the weights' distribution function holds each number of (0, 1]."""
    edges = weight.cumsum(-1)
    # The left-most edge at or above a goal in (0, total] belongs to a particle of positive weight.
    return torch.searchsorted(edges, (at * edges[..., -1:]).contiguous())


def _count(log_w: Float[Tensor, "*groups K"], uniform: Float[Tensor, "*groups n"]) -> int:
    if uniform.shape[:-1] != log_w.shape[:-1] or uniform.shape[-1] < 1:
        raise ShapeError(
            f"weights {tuple(log_w.shape)}, uniforms {tuple(uniform.shape)}: n uniforms, at least 1, are needed for "
            "each group of weights."
        )
    return uniform.shape[-1]
