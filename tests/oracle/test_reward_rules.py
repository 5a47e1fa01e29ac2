"""Rules from a belief to nats against integrals over the belief, and what posterior-averaging is on TOY-A."""

import math

import pytest
import torch
from scipy import integrate

from credence.core.errors import ConfigError
from credence.core.logspace import normalise
from credence.evidence.ensemble import Ensemble
from credence.evidence.reward import Reward
from credence.evidence.rules import RULES, by_rule, check_rule, log_mean_sigmoid
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.preferring import EXACT
from tests.toys import toy_prior, toy_prompts

BETA, K = 0.7, 1.5
MEAN = torch.tensor([-10.0, -0.4, 0.0, 1.3, 6.0]).double()
SD = torch.tensor([3.0, 0.02, 1.0, 0.6, 8.0]).double()


def over_belief(f: object, mean: float, sd: float) -> float:
    """log E[f(r)] by scipy's adaptive quadrature."""

    def integrand(z: float) -> float:
        return f(mean + sd * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # pyright: ignore[reportCallIssue]

    return math.log(integrate.quad(integrand, -12, 24, limit=400, epsabs=0, epsrel=1e-11, points=(0.0, 4.0))[0])


def sigmoid(r: float) -> float:
    return 1 / (1 + math.exp(-r)) if r > 0 else math.exp(r) / (1 + math.exp(r))


def test_log_mean_sigmoid_is_the_integral_and_mackay_s_is_not() -> None:
    found = log_mean_sigmoid(MEAN, SD)
    wanted = [over_belief(sigmoid, float(m), float(s)) for m, s in zip(MEAN, SD, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-9)
    mackay = torch.nn.functional.logsigmoid(MEAN / torch.sqrt(1 + math.pi * SD.square() / 8))
    assert float((mackay - found).abs().max()) > 1.0  # nats, where the mean is far below zero
    both = torch.logaddexp(log_mean_sigmoid(MEAN, SD), log_mean_sigmoid(-MEAN, SD))
    assert float(both.abs().max()) < 1e-9  # up or down


def test_each_rule_is_its_formula() -> None:
    wide = SD.clamp(max=1.0)  # e^{r/β} needs no larger one to be told from its approximations
    wanted = {
        "plug_in": MEAN / BETA,
        "pessimistic": (MEAN - K * wide) / BETA,
        "posterior_averaged": torch.tensor(
            [over_belief(lambda r: math.exp(r / BETA), float(m), float(s)) for m, s in zip(MEAN, wide, strict=True)]
        ).double(),
        "predictive": log_mean_sigmoid(MEAN, wide) / BETA,
    }
    assert set(wanted) == set(RULES)
    for rule, nats in wanted.items():
        assert torch.allclose(by_rule(rule, MEAN, wide, BETA, K), nats, atol=1e-8), rule  # pyright: ignore[reportArgumentType]


def test_doubt_lowers_what_is_careful_and_raises_what_is_averaged() -> None:
    mean, sds = torch.full((6,), 1.2).double(), torch.linspace(0, 3, 6).double()
    paid = {rule: by_rule(rule, mean, sds, BETA, K) for rule in ("pessimistic", "posterior_averaged", "predictive")}
    assert bool((paid["posterior_averaged"].diff() > 0).all())
    assert bool((paid["pessimistic"].diff() < 0).all())
    assert bool((paid["predictive"].diff() < 0).all())  # while the mean is above a coin's
    assert bool((by_rule("predictive", -mean, sds, BETA, K).diff() > 0).all())  # below it doubt is hope
    assert bool((paid["predictive"] <= 0).all())


def test_averaging_is_the_joint_s_marginal_and_no_mixture_of_posteriors() -> None:
    """Σ_θ p(θ) π0(x) e^{r_θ(x)/β} by enumeration; each θ then counts in proportion to its own Z_θ."""

    def member(slope: float) -> Reward:
        return Reward(lambda _, replies: [slope * len(reply) for reply in replies], BETA)

    members = tuple(member(slope) for slope in (-0.5, 0.3, 0.9))
    averaged = enumerate_posterior(Posterior(toy_prior(), Ensemble(members, "posterior_averaged")), toy_prompts())
    each = torch.stack([EXACT.log_prior + m.log_lik(toy_prompts(), EXACT.completions) for m in members])
    marginal = normalise(torch.logsumexp(each, 0))
    assert torch.allclose(averaged.log_p, marginal, atol=1e-12)
    assert averaged.log_z == pytest.approx(float(torch.logsumexp(each.flatten(), 0)) - math.log(3), abs=1e-12)
    mixture = torch.logsumexp(normalise(each), 0) - math.log(3)
    assert float((mixture - marginal).abs().max()) > 0.1


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pessimistic'"):
        check_rule("pesimistic", 1.0)
    for k in (-1.0, math.inf):
        with pytest.raises(ConfigError, match="standard deviations"):
            check_rule("pessimistic", k)
