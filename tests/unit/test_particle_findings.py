"""What is said of SMC's particles: few ancestors, copies, islands that disagree or saw nothing."""

import math
from dataclasses import replace

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Draws
from credence.diagnose.particles import particle_findings, warnings_of
from credence.evidence.constraint import Constraint
from credence.posterior.posterior import Posterior
from credence.sample.importance import Importance
from credence.sample.smc import SMC
from tests.toys import toy_a, toy_prior, toy_prompts


def bad(draws: Draws) -> list[str]:
    return [finding.name for finding in particle_findings(draws)[0] if not finding.ok]


def test_healthy_particles_pass() -> None:
    draws = SMC(64, 8, 0.5).draw(Key(1), toy_a(), toy_prompts(), 8)
    assert bad(draws) == []
    assert warnings_of(draws) == ()


def test_a_rare_event_at_the_end_is_spoken_of() -> None:
    """The one text aba(EOS) has 2 % of the prior: some islands of 16 see nothing, and those that do hold copies."""
    rare = Posterior(toy_prior(), Constraint(lambda tokens: tokens == (0, 1, 0, 2), "aba"))
    draws = SMC(16, 4).draw(Key(3), rare, toy_prompts(), 16)
    assert math.isfinite(float(draws.log_z[0]))
    assert bad(draws) == ["ancestors", "distinct_texts", "log_z_spread"]
    assert float(draws.ess()[0]) == pytest.approx(16)  # what a reader of the equal weights would be told
    assert float(draws.info["ess_before_draws"][0]) < 5
    said = " ".join(warnings_of(draws))
    for words in ("Few ancestors", "1 distinct possible text:", "Wide log Z", "found nothing possible"):
        assert words in said


def test_islands_that_disagree_are_wide() -> None:
    draws = SMC(64, 8).draw(Key(1), toy_a(), toy_prompts(), 8)
    apart = {"log_z_island_mean": draws.log_z - 0.7, "log_z_island_sd": torch.ones_like(draws.log_z)}
    far = replace(draws, info={**draws.info, **apart})
    assert bad(far) == ["log_z_spread"]
    assert "deviation of 1.00 nats, and its mean lies 0.70 below" in warnings_of(far)[0]
    loose = replace(draws, log_z_se=torch.tensor([0.26], dtype=torch.float64))
    assert bad(loose) == ["log_z_spread"]


def test_one_island_says_that_it_has_no_error() -> None:
    assert "One island" in " ".join(warnings_of(SMC(64, 1).draw(Key(1), toy_a(), toy_prompts(), 8)))


def test_other_engines_have_no_particles_to_judge() -> None:
    draws = Importance().draw(Key(1), toy_a(), toy_prompts(), 8)
    assert warnings_of(draws) == ()
    with pytest.raises(ConfigError, match="ancestors_island_mean"):
        particle_findings(draws)
