"""Wrong conditional SMC, wrong use of a twist, wrong segments; each fails the check that the right one passes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from credence.core.types import Prompts
from credence.diagnose import two_sided
from credence.sample import conditional_smc, particles
from credence.sample.segments import Segments
from credence.sample.swarm import Swarm
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import conditional_checks as checks

Patch = pytest.MonkeyPatch


def survivor_left_to_chance(patch: Patch) -> None:
    """The retained particle is resampled as all others are, and what then stands in its place follows its path on."""

    def wrong(scheme: Any, log_w: Tensor, kept: Tensor, uniform: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        return particles.resample(scheme, log_w, uniform), kept

    patch.setattr(particles, "resample_keeping", wrong)


def path_followed_for_one_token(patch: Patch) -> None:
    """The retained particle takes the first token of its path and goes on as it likes."""
    right = particles.forced

    def wrong(swarm: Swarm, path: Any, t: int, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        return right(swarm, path, t, *rest) if t == 0 else rest[2]

    patch.setattr(particles, "forced", wrong)


def taken_at_random(patch: Patch) -> None:
    """The new completion is taken from the particles without regard to their weights."""
    right = conditional_smc.systematic
    patch.setattr(conditional_smc, "systematic", lambda log_w, lot, n: right(0 * log_w.clamp(min=-1e3), lot, n))


def end_weighed_by_the_twist(patch: Patch) -> None:
    """A given twist replaces log_lik too, where the text is final."""
    right = particles.log_potential

    def wrong(evidence: Any, twist: Any, prompts: Prompts, rows: Any, final: Tensor) -> tuple[Tensor, Any]:
        out, readings = right(evidence, twist, prompts, rows, final)
        return (out if twist is None else twist.log_twist(prompts, rows)), readings

    patch.setattr(particles, "log_potential", wrong)


def proposal_forgotten_within_segments(patch: Patch) -> None:
    """π0/q counts at a segment's last token alone."""
    right = particles._reweigh

    def wrong(swarm: Swarm, where: Tensor, ratio: Tensor, after: Tensor) -> None:
        right(swarm, where, torch.where(swarm.since[where] == 0, ratio, 0.0), after)

    patch.setattr(particles, "_reweigh", wrong)


def segments_of_one_token(patch: Patch) -> None:
    """Every token ends a segment, whatever was asked for."""
    patch.setattr(Segments, "closed", lambda self, token, since: torch.ones_like(token, dtype=torch.bool))


def upper_bound_from_prior_draws(patch: Patch) -> None:
    """The upper bound's runs retain nothing: they are plain SMC."""
    right = two_sided.sweep

    def wrong(key: Any, posterior: Any, prompts: Any, path: Any, rules: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            grow = conditional_smc.grow

            def blind(key: Any, posterior: Any, part: Any, rules: Any, first: int, path: Any) -> Swarm:
                swarm = grow(key, posterior, part, rules, first)
                swarm.kept = torch.zeros(swarm.islands, dtype=torch.long)
                return swarm

            inner.setattr(conditional_smc, "grow", blind)
            return right(key, posterior, prompts, path, rules)

    patch.setattr(two_sided, "sweep", wrong)


def reply_after_the_observation(patch: Patch) -> None:
    """The reply handed out is another than the one that was observed."""
    right = checks.simulated

    def wrong(key: Any, prior: Any, prompts: Prompts, observe: Any, column: str) -> Any:
        given, draws = right(key, prior, prompts, observe, column)
        other, _ = prior.sample(key.fold("again"), prompts, 1)
        return given, type(draws)(**{**vars(draws), "completions": other})

    patch.setattr(checks, "simulated", wrong)


MUTANTS = (
    Mutant("survivor left to chance", checks.check_invariance, survivor_left_to_chance),
    Mutant("path followed for one token", checks.check_invariance, path_followed_for_one_token),
    Mutant("taken at random", checks.check_invariance, taken_at_random),
    Mutant("end weighed by the twist", checks.check_given_twist, end_weighed_by_the_twist),
    Mutant("proposal forgotten within segments", checks.check_segments, proposal_forgotten_within_segments),
    Mutant("segments of one token", checks.check_segments_rule, segments_of_one_token),
    Mutant("upper bound from plain runs", checks.check_two_sided, upper_bound_from_prior_draws),
    Mutant("observed reply replaced", checks.check_simulated, reply_after_the_observation),
)

LONG = ("path followed for one token", "taken at random", "upper bound from plain runs")
"""Left to the slow part: the same checks are tried on a mutant above."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
