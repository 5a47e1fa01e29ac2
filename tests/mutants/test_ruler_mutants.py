"""Wrong rulers: numbers that flatter. Each must fail the named test that the right one passes.

The tests below have no chance in them but their fixed keys, so the seed is not used.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from credence.core.logspace import kl
from credence.diagnose import frontier
from credence.posterior.exact import enumerate_posterior
from credence.sample import smc
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.oracle import test_toy_a
from tests.toys import toy_a, toy_prompts
from tests.unit import test_frontier, test_particle_findings

Patch = pytest.MonkeyPatch


def by(test: Callable[..., None], *given: object) -> Callable[[int], None]:
    """A test as a check, under its own name."""

    def check(seed: int) -> None:
        test(*given)

    check.__name__, check.__module__ = test.__name__, test.__module__
    return check


point_mass = by(test_toy_a.test_point_mass, enumerate_posterior(toy_a(), toy_prompts()))
trust_ends = by(test_frontier.test_trust_ends_before_log_n)
rare_event = by(test_particle_findings.test_a_rare_event_at_the_end_is_spoken_of)


def kl_without_care(patch: Patch) -> None:
    """Σ q (log q − log p) as it stands: 0 · (−inf) is NaN."""
    patch.setattr(test_toy_a, "kl", lambda log_q, log_p: (torch.exp(log_q) * (log_q - log_p)).sum(-1))


def kl_with_a_floor(patch: Patch) -> None:
    """log p is floored at log 1e-10: unequal supports come out as a large number, as if they were merely far apart."""
    floor = math.log(1e-10)
    patch.setattr(test_toy_a, "kl", lambda log_q, log_p: kl(log_q, log_p.clamp(min=floor)))


def frontier_without_end(patch: Patch) -> None:
    """n draws are believed beyond log n nats (SCIENCE's tenth mistake)."""
    patch.setattr(frontier, "carried", lambda divergence, log_w: True)


def ess_after_resampling(patch: Patch) -> None:
    """The ESS of weights that were just made equal: sixteen of sixteen, whatever the particles are."""
    right = smc.ess
    patch.setattr(smc, "ess", lambda log_w: right(torch.zeros_like(log_w)))


def copies_counted_as_texts(patch: Patch) -> None:
    """Every particle is counted as a text of its own."""

    def wrong(completions: object, possible: Tensor, owner: Tensor, count: int) -> Tensor:
        return torch.bincount(owner, minlength=count).double()

    patch.setattr(smc, "_unique", wrong)


MUTANTS = (
    Mutant("KL to a point mass is NaN", point_mass, kl_without_care),
    Mutant("KL to a point mass is a large number", point_mass, kl_with_a_floor),
    Mutant("frontier trusted beyond log n", trust_ends, frontier_without_end),
    Mutant("ESS after resampling", rare_event, ess_after_resampling),
    Mutant("copies counted as distinct texts", rare_event, copies_counted_as_texts),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
