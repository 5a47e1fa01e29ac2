"""Wrong chains; each must fail the check that the right one passes: the enumerated kernel, or thousands of draws."""

import pytest
import torch

from credence.core.types import Completions
from credence.sample import annealed, block_mh, independent_mh, suffix_mh, tempering, texts
from tests import chain_kernels
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import chain_checks

Patch = pytest.MonkeyPatch


def no_length_ratio(patch: Patch) -> None:
    """|x|/|x'| forgotten: as if every text offered as many places to cut (total variation .105 on TOY-A)."""
    patch.setattr(suffix_mh, "suffix_log_alpha", chain_kernels.without_length_ratio)


def length_ratio_upside_down(patch: Patch) -> None:
    """|x'|/|x| in place of |x|/|x'|."""
    right = suffix_mh.suffix_log_alpha

    def wrong(old: texts.Texts, new: texts.Texts, first: torch.Tensor, lam: float | torch.Tensor = 1.0) -> torch.Tensor:
        plain = chain_kernels.without_length_ratio
        both = right(old, new, first, lam)
        # Where neither is clipped at 1, plain = both − ratio, so 2·plain − both turns the ratio round.
        return torch.where(torch.isneginf(both), both, 2 * plain(old, new, first, lam) - both).clamp(max=0.0)

    patch.setattr(suffix_mh, "suffix_log_alpha", wrong)


def cut_anywhere_up_to_the_horizon(patch: Patch) -> None:
    """The cut is drawn up to the horizon and moved back into the text: the last place is cut far too often."""
    patch.setattr(suffix_mh, "cuts", lambda u, lengths: torch.minimum((u * int(lengths.max())).long(), lengths - 1))


def proposal_taken_for_the_prior(patch: Patch) -> None:
    """π0/q is forgotten: the evidence alone decides, as if the proposal were the prior."""
    right = texts.weighed

    def wrong(
        target: object, proposal: object, prompts: object, drawn: Completions, log_q: torch.Tensor
    ) -> texts.Texts:
        made = right(target, proposal, prompts, drawn, log_q)
        return texts.Texts(made.completions, log_q, log_q, made.log_lik, made.readings)

    patch.setattr(texts, "weighed", wrong)
    patch.setattr(independent_mh, "weighed", wrong)


def half_the_evidence(patch: Patch) -> None:
    """√(w'/w) decides, as if β were twice as large."""
    for module in (suffix_mh, independent_mh):
        patch.setattr(module, "log_alpha", lambda old, new: texts.log_alpha(old, new) / 2)


def always_the_better(patch: Patch) -> None:
    """A better text is taken, a worse one never: a climb, not a chain."""
    for module in (suffix_mh, independent_mh):
        patch.setattr(
            module, "log_alpha", lambda old, new: torch.where(texts.log_alpha(old, new) < 0, -torch.inf, 0.0).double()
        )


def impossible_is_taken(patch: Patch) -> None:
    """An impossible text counts as neither better nor worse: constraints are forgotten."""
    right = texts.Texts.log_joint

    def wrong(self: texts.Texts, lam: float | torch.Tensor = 1.0) -> torch.Tensor:
        return torch.where(torch.isneginf(self.log_lik), self.log_prior.sum(-1), right(self, lam))

    patch.setattr(texts.Texts, "log_joint", wrong)


def stays_are_not_counted(patch: Patch) -> None:
    """A chain that stays is left out: it moves to every proposal instead."""
    patch.setattr(suffix_mh, "moved", lambda accepted, old, new: new)


def what_follows_is_not_scored(patch: Patch) -> None:
    """A block is judged as if it were a suffix: the tokens kept behind it are taken to be as likely as before."""
    right = texts.log_weight

    def wrong(
        some: texts.Texts, first: torch.Tensor, last: torch.Tensor, lam: float | torch.Tensor = 1.0
    ) -> torch.Tensor:
        return right(some, first, torch.full_like(last, some.completions.ids.shape[1]), lam)

    patch.setattr(block_mh, "log_weight", wrong)


def ended_inside_the_block(patch: Patch) -> None:
    """A block that holds an end token makes a shorter text, which is judged like any other."""

    def wrong(old: texts.Texts, new: texts.Texts, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return texts.log_alpha(texts.log_weight(old, first, last), texts.log_weight(new, first, last))

    patch.setattr(block_mh, "block_log_alpha", wrong)


def swaps_upside_down(patch: Patch) -> None:
    """(λ_j − λ_i) in place of (λ_i − λ_j): the better text sinks to the prior."""
    right = tempering.swap_log_alpha
    patch.setattr(tempering, "swap_log_alpha", lambda low, high, lower, upper: right(low, high, upper, lower))


def swaps_always(patch: Patch) -> None:
    """Neighbours exchange whatever they hold."""
    patch.setattr(tempering, "swap_log_alpha", lambda low, high, lower, upper: torch.zeros_like(low))


def rungs_all_alike(patch: Patch) -> None:
    """Every rung walks towards p*, and the swaps believe otherwise."""
    right = suffix_mh.suffix_step
    for module in (tempering, annealed):
        patch.setattr(module, "suffix_step", lambda *given: right(*given[:6]))


def gain_of_the_whole_position(patch: Patch) -> None:
    """Each position gains λ_k · log_lik, not (λ_k − λ_k−1) · log_lik."""
    patch.setattr(annealed, "gain", lambda before, after, some: after * some.log_lik)


def impossible_runs_not_counted(patch: Patch) -> None:
    """Ẑ is the mean weight of the runs that have one."""
    right = annealed.log_z_from

    def wrong(log_w: torch.Tensor, group: torch.Tensor, groups: int) -> tuple[torch.Tensor, ...]:
        living = ~torch.isneginf(log_w)
        log_z, se, ess = right(log_w[living], group[living], groups)
        return log_z.nan_to_num(nan=-torch.inf), se, ess

    patch.setattr(annealed, "log_z_from", wrong)


MUTANTS = (
    Mutant("no length ratio, kernel", chain_kernels.check_suffix_kernel, no_length_ratio),
    Mutant("no length ratio", chain_checks.check_suffix_mh, no_length_ratio),
    Mutant("length ratio upside down", chain_kernels.check_suffix_kernel, length_ratio_upside_down),
    Mutant("cut up to the horizon", chain_kernels.check_suffix_kernel, cut_anywhere_up_to_the_horizon),
    Mutant("suffix proposal taken for the prior", chain_kernels.check_suffix_kernel, proposal_taken_for_the_prior),
    Mutant("suffix proposal taken for the prior, draws", chain_checks.check_suffix_mh_proposal,
           proposal_taken_for_the_prior),
    Mutant("suffix MH by half the evidence", chain_checks.check_suffix_mh, half_the_evidence),
    Mutant("constraint forgotten", chain_checks.check_suffix_mh_hard, impossible_is_taken),
    Mutant("stays not counted", chain_checks.check_suffix_mh, stays_are_not_counted),
    Mutant("whole proposal taken for the prior", chain_checks.check_independent_mh_proposal,
           proposal_taken_for_the_prior),
    Mutant("independent MH by half the evidence", chain_checks.check_independent_mh, half_the_evidence),
    Mutant("independent MH that only climbs", chain_checks.check_independent_mh, always_the_better),
    Mutant("what follows a block not scored", chain_kernels.check_block_kernel, what_follows_is_not_scored),
    Mutant("block that ends the text", chain_checks.check_block_mh, ended_inside_the_block),
    Mutant("swaps upside down", chain_kernels.check_swaps, swaps_upside_down),
    Mutant("swaps always", chain_kernels.check_swaps, swaps_always),
    Mutant("swaps always, draws", chain_checks.check_tempering, swaps_always),
    Mutant("rungs all alike", chain_checks.check_tempering, rungs_all_alike),
    Mutant("annealed towards the end from the start", chain_checks.check_annealed_path, rungs_all_alike),
    Mutant("annealed gain of the whole position", chain_checks.check_annealed, gain_of_the_whole_position),
    Mutant("annealed, impossible runs not counted", chain_checks.check_annealed, impossible_runs_not_counted),
)  # fmt: skip

LONG = (
    "suffix proposal taken for the prior, draws",
    "suffix MH by half the evidence",
    "constraint forgotten",
    "stays not counted",
    "block that ends the text",
    "swaps always, draws",
    "rungs all alike",
    "annealed gain of the whole position",
)
"""Left to the slow part: what they break is broken by a quicker mutant too, or the time is not there."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
