"""Wrong engines that draw; each must fail the very check that the right one passes in tests/statistical."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from credence.core.types import Completions, Prompts
from credence.prior.reshape import Reshaped
from credence.prior.table import TablePrior
from credence.sample import particles, rejection, soft_best_of_n, stop
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import checks

Patch = pytest.MonkeyPatch


def weights_not_reset(patch: Patch) -> None:
    """After resampling, each particle keeps its ancestor's weight: what was resampled for counts twice."""
    right = particles._settle
    patch.setattr(particles, "_settle", lambda log_z, log_w, due: (right(log_z, log_w, due)[0], log_w))


def log_z_not_banked(patch: Patch) -> None:
    """Weights start again at 1, and what they had come to is lost."""
    right = particles._settle
    patch.setattr(particles, "_settle", lambda log_z, log_w, due: (log_z, right(log_z, log_w, due)[1]))


def twist_counted_twice(patch: Patch) -> None:
    """The final weight gains log_lik, and the last prefix's twist is not taken out of it."""
    right = particles._potential

    def wrong(
        target: Any, rules: Any, prompts: Prompts, swarm: particles.Swarm, where: torch.Tensor, t: int, last: bool
    ) -> torch.Tensor:
        nats = right(target, rules, prompts, swarm, where, t, last)
        return torch.where(swarm.ended[where] | last, nats + swarm.log_twist[where], nats)

    patch.setattr(particles, "_potential", wrong)


def finished_reweighed(patch: Patch) -> None:
    """A finished particle takes its final weight again at each step that others still grow."""
    right = particles._resample

    def wrong(swarm: particles.Swarm, *rest: Any) -> torch.Tensor | None:
        again = swarm.ended & (swarm.mask.sum(-1) < swarm.mask.any(0).sum())  # those that ended at an earlier step
        swarm.log_w[again] += swarm.log_twist[again]
        return right(swarm, *rest)

    patch.setattr(particles, "_resample", wrong)


def twist_never_taken_out(patch: Patch) -> None:
    """Each step multiplies by ψ_t and does not divide by ψ_{t−1}."""

    def wrong(swarm: particles.Swarm, where: torch.Tensor, log_ratio: torch.Tensor, after: torch.Tensor) -> None:
        swarm.log_w[where] = swarm.log_w[where] + log_ratio + after
        swarm.log_twist[where] = after

    patch.setattr(particles, "_reweigh", wrong)


def proposal_not_divided_out(patch: Patch) -> None:
    """SMC forgets π0/q, as if the proposal were the prior."""
    right = particles._reweigh
    patch.setattr(particles, "_reweigh", lambda swarm, where, ratio, after: right(swarm, where, 0 * ratio, after))


def resampling_at_random(patch: Patch) -> None:
    """Particles are copied without regard to their weights, which are banked and reset all the same."""
    right = particles.resample
    patch.setattr(particles, "resample", lambda scheme, log_w, uniform: right(scheme, 0 * log_w, uniform))


def log_q_of_temperature_1(patch: Patch) -> None:
    """Sampled at one temperature, recorded at 1 (the ratio of nanochat and TRL 4159)."""
    right = Reshaped.sample

    def wrong(self: Reshaped, key: Any, prompts: Prompts, n: int) -> tuple[Completions, torch.Tensor]:
        completions, _ = right(self, key, prompts, n)
        return completions, self.inner.score(prompts, completions)

    patch.setattr(Reshaped, "sample", wrong)


def prior_scored_at_temperature_1(patch: Patch) -> None:
    """The prior was reshaped, its score was not (disco's log_score, 1.14 nats off at T = 0.5)."""
    patch.setattr(Reshaped, "score", lambda self, prompts, completions: self.inner.score(prompts, completions))


def end_unscored(patch: Patch) -> None:
    """The end token's log-probability is left out of the score (disco, when pad is EOS)."""
    right = TablePrior.score

    def wrong(self: TablePrior, prompts: Prompts, completions: Completions) -> torch.Tensor:
        end = torch.isin(completions.ids, torch.tensor(sorted(self.ends)))
        return torch.where(end, 0.0, right(self, prompts, completions))

    patch.setattr(TablePrior, "score", wrong)


def rejection_clips(patch: Patch) -> None:
    """A weight above the bound is accepted like one at the bound, and nothing is said."""
    patch.setattr(rejection, "SLACK", math.inf)


def rejection_counts_the_last_batch(patch: Patch) -> None:
    """Ẑ is the mean weight of whole batches, the last one too: a lucky batch ends the search."""
    right = rejection.accept
    patch.setattr(
        rejection, "accept", lambda draws, bound, key, n=None, *, stopped_at=None: right(draws, bound, key, n)
    )


def rejection_by_half_the_evidence(patch: Patch) -> None:
    """The uniform's logarithm is doubled before it is compared: √w decides, as if β were twice as large."""
    right = rejection.accepted_by
    patch.setattr(
        rejection, "accepted_by", lambda draws, bound, key: right(replace(draws, log_w=draws.log_w / 2), bound / 2, key)
    )


def quasi_rejection_bound_is_no_logarithm(patch: Patch) -> None:
    """The bound is read as the weight b itself, not as log b in nats."""
    right = rejection.accepted_by
    patch.setattr(rejection, "accepted_by", lambda draws, bound, key: right(draws, torch.as_tensor(bound).log(), key))


def soft_choice_by_rank(patch: Patch) -> None:
    """The candidate of most weight is taken: best-of-n under the name of the soft one."""
    patch.setattr(soft_best_of_n, "lots", lambda key, nats: torch.full_like(nats, 0.5))


def soft_choice_by_half(patch: Patch) -> None:
    """Chosen ∝ √w, as where the logits of a softmax are halved."""
    right = soft_best_of_n.in_groups
    patch.setattr(soft_best_of_n, "in_groups", lambda draws, of: right(draws, of) / 2)


def rounds_count_equally(patch: Patch) -> None:
    """The draws of SMC's rounds are pooled as they come, whatever each round's Ẑ."""
    patch.setattr(stop, "_weights", lambda drawn, guarantee: drawn.log_w)


def logs_of_rounds_averaged(patch: Patch) -> None:
    """log Ẑ of the pool is the mean of the rounds' log Ẑ, which is below that of their mean."""
    right = stop.combined

    def wrong(log_z: list[float], se: list[float], n: list[int]) -> tuple[float, float]:
        return sum(log_z) / len(log_z), right(log_z, se, n)[1]

    patch.setattr(stop, "combined", wrong)


def rounds_as_if_more(patch: Patch) -> None:
    """The standard error is divided by √rounds once more, though the pool's variance has it."""
    right = stop.combined

    def wrong(log_z: list[float], se: list[float], n: list[int]) -> tuple[float, float]:
        level, error = right(log_z, se, n)
        return level, error / math.sqrt(len(n))

    patch.setattr(stop, "combined", wrong)


MUTANTS = (
    Mutant("weights not reset", checks.check_smc, weights_not_reset),
    Mutant("weights not reset, without twist", checks.check_smc_untwisted, weights_not_reset),
    Mutant("log Z not banked", checks.check_smc, log_z_not_banked),
    Mutant("log Z not banked, islands", checks.check_smc_islands, log_z_not_banked),
    Mutant("twist counted twice in the final weight", checks.check_smc, twist_counted_twice),
    Mutant("twist never taken out", checks.check_smc_islands, twist_never_taken_out),
    Mutant("finished particles weighed again", checks.check_smc, finished_reweighed),
    Mutant("finished particles weighed again, without twist", checks.check_smc_untwisted, finished_reweighed),
    Mutant("SMC's proposal not divided out", checks.check_smc_proposal, proposal_not_divided_out),
    Mutant("resampling blind to the weights", checks.check_smc, resampling_at_random),
    Mutant("log q of temperature 1", checks.check_importance_proposal, log_q_of_temperature_1),
    Mutant("prior scored at temperature 1", checks.check_importance_reshaped, prior_scored_at_temperature_1),
    Mutant("end token unscored", checks.check_importance_proposal, end_unscored),
    Mutant("rejection that clips", checks.check_rejection_bound, rejection_clips),
    Mutant("rejection that counts its last batch", checks.check_rejection_log_z, rejection_counts_the_last_batch),
    Mutant("rejection by half the evidence", checks.check_rejection, rejection_by_half_the_evidence),
    Mutant("bound that is no logarithm", checks.check_quasi_rejection, quasi_rejection_bound_is_no_logarithm),
    Mutant("soft choice by rank", checks.check_soft_best_of_n, soft_choice_by_rank),
    Mutant("soft choice by half the evidence", checks.check_soft_best_of_n, soft_choice_by_half),
    Mutant("rounds count equally", checks.check_stop_pool, rounds_count_equally),
    Mutant("logs of rounds averaged", checks.check_stop_pool, logs_of_rounds_averaged),
    Mutant("rounds as if there were more", checks.check_stop_covers, rounds_as_if_more),
)


LONG = (
    "weights not reset, without twist",
    "log Z not banked, islands",
    "twist counted twice in the final weight",
    "twist never taken out",
    "finished particles weighed again",
    "finished particles weighed again, without twist",
    "SMC's proposal not divided out",
    "resampling blind to the weights",
    "rejection that clips",
    "rejection that counts its last batch",
    "soft choice by half the evidence",
    "rounds count equally",
    "logs of rounds averaged",
    "rounds as if there were more",
)
"""Left to the slow part: what they break is broken by a quicker mutant too, or the time is not there."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
