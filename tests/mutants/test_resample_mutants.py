"""Wrong resampling schemes, and conditional forms that forget what they condition on."""

import pytest
import torch
from torch import Tensor

from credence.sample import conditional_resample as conditional
from credence.sample import resample
from credence.sample.resample import Scheme
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import resample_checks as checks

Patch = pytest.MonkeyPatch


def multinomial_unscaled(patch: Patch) -> None:
    """The uniforms are read on the weights' own scale, as if the largest weight were their sum."""

    def wrong(log_w: Tensor, uniform: Tensor) -> Tensor:
        edges = torch.exp(log_w - log_w.max(-1, keepdim=True).values).cumsum(-1)
        return torch.searchsorted(edges, uniform.contiguous())

    patch.setattr(resample, "multinomial", wrong)


def stratified_at_midpoints(patch: Patch) -> None:
    """Each part is read at its middle: no chance, so no unbiasedness."""
    right = resample.stratified
    patch.setattr(resample, "stratified", lambda log_w, uniform: right(log_w, torch.full_like(uniform, 0.5)))


def systematic_rounds(patch: Patch) -> None:
    """The comb starts in the first half of its tooth alone."""
    right = resample.systematic
    patch.setattr(resample, "systematic", lambda log_w, uniform, n=None: right(log_w, uniform / 2, n))


def residual_by_whole_weights(patch: Patch) -> None:
    """After the certain copies, the rest is drawn by the whole weights and not by what is left of them."""
    right = resample.split
    patch.setattr(resample, "split", lambda share, n: (right(share, n)[0], n * share))


def survivor_copied_in(patch: Patch) -> None:
    """Plain resampling, with the survivor put into the first place."""

    def wrong(scheme: Scheme, log_w: Tensor, kept: Tensor, uniform: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        index = resample.resample(scheme, log_w, uniform)
        index[:, 0] = kept
        return index, torch.zeros_like(kept)

    patch.setattr(conditional, "resample_keeping", wrong)


def survivor_without_tilt(patch: Patch) -> None:
    """Plain resampling, with the survivor put into a place at random: right for multinomial alone."""

    def wrong(scheme: Scheme, log_w: Tensor, kept: Tensor, uniform: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        index = resample.resample(scheme, log_w, uniform)
        slot = (place * log_w.shape[1]).long()
        index[torch.arange(len(kept)), slot] = kept
        return index, slot

    patch.setattr(conditional, "resample_keeping", wrong)


MUTANTS = (
    Mutant("multinomial on an unscaled sum", checks.SHARE["multinomial"], multinomial_unscaled),
    Mutant("stratified at midpoints", checks.SHARE["stratified"], stratified_at_midpoints),
    Mutant("systematic from half a tooth", checks.SHARE["systematic"], systematic_rounds),
    Mutant("residual by whole weights", checks.SHARE["residual"], residual_by_whole_weights),
    Mutant("survivor in the first place", checks.KEEPING["multinomial"], survivor_copied_in),
    Mutant("systematic survivor without tilt", checks.KEEPING["systematic"], survivor_without_tilt),
    Mutant("stratified survivor without tilt", checks.KEEPING["stratified"], survivor_without_tilt),
    Mutant("residual survivor without tilt", checks.KEEPING["residual"], survivor_without_tilt),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
