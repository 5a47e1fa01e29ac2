"""Resampling when one particle is known to survive: what conditional SMC needs of each scheme.

Let a scheme take the particles a = (a_1 … a_K) with probability r(a), and let particle k be drawn by its weight. The
conditional form draws (a, j) with probability r(a)·1[a_j = k]/(K w̄_k): a is tilted by how many copies of k it holds,
and j is one of them at random. So averaged over k it is the scheme itself, and every weighted particle can be called
the retained one. Copying k into a fixed place of an unconditional resampling is wrong for all schemes but multinomial.

Source: Andrieu, Doucet & Holenstein 2010 (multinomial); Chopin & Singh 2015 (systematic, residual).
"""

from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.sample.resample import Scheme, resample, shares, split


def resample_keeping(
    scheme: Scheme,
    log_w: Float[Tensor, "groups K"],
    kept: Int[Tensor, " groups"],
    uniform: Float[Tensor, "groups m"],
    place: Float[Tensor, " groups"],
) -> tuple[Int[Tensor, "groups K"], Int[Tensor, " groups"]]:
    """K indices a group, given that particle kept[g] survives; and the place where it stands then.

    Args:
        scheme: whose law is conditioned.
        log_w: unnormalised log weights; that of `kept` is finite.
        kept: the particle that survives, one a group.
        uniform: as `resample.lots` gives them.
        place: one more uniform a group: which of the places is the survivor's.

    Returns:
        index, (groups, K); slot, (groups,): index[g, slot[g]] = kept[g].

    Test: averaged over k drawn by weight it is the scheme's own law, with the slot uniform, in
    tests/statistical/test_conditional.py; wrong versions in tests/mutants/test_conditional_mutants.py.
    """
    groups, size = log_w.shape
    at = kept[:, None]
    row = torch.arange(groups, device=log_w.device)
    place = place.double().to(log_w.device)
    share = shares(log_w)
    match scheme:
        case "systematic" | "stratified":
            # A point at random in the survivor's own part of the distribution function, in units of 1/K.
            upper = share.cumsum(-1).gather(1, at).squeeze(1)
            part = share.gather(1, at).squeeze(1)
            point = size * (upper - (1 - place) * part)
            slot = point.long().clamp(0, size - 1)
            within = (point - slot).clamp(0, 1)
            uniform = uniform.clone()
            uniform[row, slot if scheme == "stratified" else 0] = within.to(uniform)
            index = resample(scheme, log_w, uniform)
            index[row, slot] = kept  # it is there already, but for rounding at the part's edges
        case "multinomial":
            slot = (place * size).long().clamp(max=size - 1)
            index = resample(scheme, log_w, uniform)
            index[row, slot] = kept
        case "residual":
            index, slot = _residual(log_w, share, kept, uniform, place)
        case _:
            assert_never(scheme)
    return index, slot


def _residual(
    log_w: Float[Tensor, "groups K"],
    share: Float[Tensor, "groups K"],
    kept: Int[Tensor, " groups"],
    uniform: Float[Tensor, "groups K"],
    place: Float[Tensor, " groups"],
) -> tuple[Int[Tensor, "groups K"], Int[Tensor, " groups"]]:
    """The survivor is one of its certain copies, or one of the drawn ones, in the proportion of their numbers."""
    size, at = share.shape[1], kept[:, None]
    certain, left = split(share, size)
    sure, rest = certain.gather(1, at).squeeze(1), left.gather(1, at).squeeze(1)
    point = place * (sure + rest)  # of K w̄_k copies on average: below ⌊K w̄_k⌋ it is a certain one
    before = certain.cumsum(-1).gather(1, at).squeeze(1) - sure
    total = certain.sum(-1)
    fraction = (point - sure) / torch.where(rest > 0, rest, 1.0)
    drawn = total + torch.floor(fraction.clamp(0, 1) * (size - total))
    is_sure = (point < sure) | (total >= size)
    slot = torch.where(is_sure, before + torch.floor(torch.minimum(point, sure - 1).clamp(min=0)), drawn)
    slot = slot.long().clamp(0, size - 1)
    index = resample("residual", log_w, uniform)
    index[torch.arange(len(kept), device=index.device), slot] = kept
    return index, slot
