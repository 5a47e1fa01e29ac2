"""Quasi-rejection's law, and the curve of its acceptance and distance, against enumeration (SCIENCE 5)."""

import math
import warnings

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.diagnose.acceptance import acceptance_curve, bound_finding
from credence.evidence.constraint import Constraint
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.sample.importance import Importance
from credence.sample.quasi_rejection import QuasiRejection, bound_for, quasi_rejection_law
from credence.sample.rejection import Rejection
from tests.toys import prior_weights, toy_a, toy_prompts

HALF = 0.5001e-7  # half a unit in the seventh decimal, as printed


def test_the_curve_is_exact_on_an_enumeration() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    two, eight = acceptance_curve(exact.log_lik, [math.log(2), math.log(8)], exact.log_prior)
    assert two.acceptance == pytest.approx(0.5803277, abs=HALF)
    assert two.tv == pytest.approx(0.2958843, abs=HALF)
    assert two.tv_bound == pytest.approx(0.7656466, abs=HALF)
    assert (eight.tv, eight.tv_bound) == (pytest.approx(0, abs=1e-12), 0)
    assert eight.acceptance == pytest.approx(math.exp(exact.log_z) / 8)


def test_the_law_is_the_curve_s() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    law = quasi_rejection_law(exact, math.log(2))
    assert 0.5 * float((law.exp() - exact.log_p.exp()).abs().sum()) == pytest.approx(0.2958843, abs=HALF)
    assert torch.allclose(quasi_rejection_law(exact, 5.0), exact.log_p, atol=1e-12)


def test_one_set_of_draws_gives_every_bound() -> None:
    """20,000 stored draws, one seed. Each figure is within five standard errors (0.0035 at most) of the exact one."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    log_w = prior_weights(exact, Key(3), 20_000)
    bounds = [math.log(b) for b in (1.2, 2, 3, 5)]
    truth = acceptance_curve(exact.log_lik, bounds, exact.log_prior)
    for found, right in zip(acceptance_curve(log_w, bounds), truth, strict=True):
        assert found.acceptance == pytest.approx(right.acceptance, abs=0.018)
        assert found.tv == pytest.approx(right.tv, abs=0.018)
        assert found.tv_bound == pytest.approx(right.tv_bound, abs=0.018)
    whole = acceptance_curve(log_w)
    assert len(whole) == 9
    assert [p.acceptance for p in whole] == sorted((p.acceptance for p in whole), reverse=True)
    assert whole[-1].tv == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("acceptance", [0.05, 0.3, 0.5, 0.7, 1.0])
def test_a_bound_is_chosen_by_what_it_accepts(acceptance: float) -> None:
    log_w = Importance().draw(Key(3), toy_a(), toy_prompts(), 50).log_w
    log_w[:5] = -math.inf
    bound = bound_for(log_w, acceptance)
    accepted = float(torch.exp(log_w.clamp(max=bound) - bound).mean())
    if acceptance <= 0.1:  # beyond the largest weight a bound costs and gives nothing
        assert bound == float(log_w.max())
    elif acceptance < 0.9:
        assert accepted == pytest.approx(acceptance, abs=1e-12)
    else:  # 90 % have weight: their least is the bound
        assert bound == pytest.approx(float(log_w[log_w > -math.inf].min()))
    assert bound_for(torch.full((4,), -math.inf, dtype=torch.float64), 0.1) == 0


def test_what_the_engine_says_of_its_law() -> None:
    draws = QuasiRejection(bound=math.log(2)).draw(Key(1), toy_a(), toy_prompts(), 1500)
    assert draws.status == (Status.OK,)  # a weight above the bound is no fault here
    assert float(draws.info["acceptance"][0]) == pytest.approx(0.5803277, abs=0.06)
    assert float(draws.info["tv"][0]) == pytest.approx(0.2958843, abs=0.04)
    assert float(draws.info["tv_bound"][0]) == pytest.approx(0.7656466, abs=0.04)
    few = QuasiRejection(bound=math.log(2), most=31).draw(Key(1), toy_a(), toy_prompts(), 40)
    assert math.isnan(float(few.info["tv"][0]))  # 31 proposals say nothing of the distance
    chosen = QuasiRejection(acceptance=0.4, pilot=64).draw(Key(1), toy_a(), toy_prompts(), 200)
    assert float(chosen.info["acceptance"][0]) == pytest.approx(0.4, abs=0.12)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"bound": math.inf}, {"acceptance": 0.0}, {"pilot": 0}, {"most": 0}):
        with pytest.raises(ConfigError, match="needed"):
            QuasiRejection(**wrong)  # pyright: ignore[reportArgumentType]
    few = Importance().draw(Key(3), toy_a(), toy_prompts(), 31).log_w
    with pytest.raises(ShapeError, match="31 draws show no curve: at least 32"):
        acceptance_curve(few)
    with pytest.raises(ConfigError, match="no draw has any weight"):
        acceptance_curve(torch.full((40,), -math.inf))
    with pytest.raises(ConfigError, match="finite nats"):
        acceptance_curve(few.repeat(2), [math.inf])


def test_a_violated_bound_is_a_finding_with_its_size() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        draws = Rejection(bound=1.0).draw(Key(1), toy_a(), toy_prompts(), 50)
    found = bound_finding(draws)
    above, made = int(draws.info["above"][0]), int(draws.info["proposals"][0])
    assert not found.ok
    assert found.value == pytest.approx(float(draws.info["excess"][0]))
    assert 0.9 < found.value < 1  # the largest log w is 1.978, and common
    assert f"{above} of {made} proposals lay above the bound" in found.meaning
    kept = bound_finding(Rejection().draw(Key(1), toy_a(), toy_prompts(), 50))
    assert kept.ok
    assert "No proposal" in kept.meaning
    never = Posterior(toy_a().prior, Constraint(lambda tokens: False, "never"))
    assert "none had any weight" in bound_finding(Rejection(0.0, 8).draw(Key(1), never, toy_prompts(), 2)).meaning
    with pytest.raises(ConfigError, match="'above'"):
        bound_finding(Importance().draw(Key(1), toy_a(), toy_prompts(), 4))
