"""TOY-A to the printed digits of the science notes, section 0. Tolerances are half a unit of the last digit printed."""

import math

import pytest
import torch

from credence.core.logspace import entropy, ess, kl
from credence.diagnose.divergence import PointMass
from credence.diagnose.frontier import beta_for_kl
from credence.evidence.constraint import Constraint
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from tests.toys import BETA, toy_a, toy_policy, toy_prior, toy_prompts, toy_reward

HALF = 0.5001e-10  # half a unit in the tenth decimal
A_B_A_EOS = (0, 1, 0, 2)


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


@pytest.fixture(scope="module")
def log_pi(exact: Exact) -> torch.Tensor:
    return toy_policy().score(toy_prompts(), exact.completions).sum(-1)


@pytest.fixture(scope="module")
def reward(exact: Exact) -> torch.Tensor:
    return torch.tensor(toy_reward([], list(exact.sequences)), dtype=torch.float64)


def test_the_tree(exact: Exact) -> None:
    assert len(exact.sequences) == 31
    assert len(set(exact.sequences)) == 31
    assert len(exact.prefixes) == 15
    assert int((~exact.completions.ended).sum()) == 16  # the cut leaves are outcomes too
    assert sorted(map(tuple, exact.completions.tokens())) == sorted(exact.sequences)


def test_all_laws_sum_to_one_over_all_leaves(exact: Exact, log_pi: torch.Tensor) -> None:
    for law in (exact.log_prior, exact.log_p, log_pi):
        assert float(law.exp().sum()) == pytest.approx(1, abs=1e-12)
    # The wrong version: without the cut leaves the prior is far from one.
    assert float(exact.log_prior[exact.completions.ended].exp().sum()) < 0.9


def test_enumeration_agrees_with_the_prior_s_own_score(exact: Exact) -> None:
    scored = toy_prior().score(toy_prompts(), exact.completions).sum(-1)
    assert torch.allclose(scored, exact.log_prior, atol=1e-12, rtol=0)


def test_log_z_and_divergences(exact: Exact, log_pi: torch.Tensor) -> None:
    golden = {
        0.8520967561: exact.log_z,
        0.5392896809: kl(exact.log_p, exact.log_prior),
        0.6180801270: kl(exact.log_prior, exact.log_p),
        2.0733646590: entropy(exact.log_prior),
        1.2136884117: entropy(exact.log_p),
        0.5756575203: kl(log_pi, exact.log_p),
        0.1958249745: kl(log_pi, exact.log_prior),
        0.3283870420: kl(exact.log_prior, log_pi),
    }
    for wanted, found in golden.items():
        assert float(found) == pytest.approx(wanted, abs=HALF)


def test_rewards_and_objective(exact: Exact, log_pi: torch.Tensor, reward: torch.Tensor) -> None:
    assert float(exact.log_prior.exp() @ reward) == pytest.approx(0.1170083145, abs=HALF)
    assert float(exact.log_p.exp() @ reward) == pytest.approx(0.6956932185, abs=HALF)
    j = float(log_pi.exp() @ reward - BETA * kl(log_pi, exact.log_prior))
    assert j == pytest.approx(0.1382196179, abs=HALF)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(5))
def test_elbo_identity_for_random_policies(beta: float, seed: int, reward: torch.Tensor) -> None:
    """J/β = log Z − KL(π‖p*), each side computed by itself."""
    exact = enumerate_posterior(toy_a(beta), toy_prompts())
    rng = torch.Generator().manual_seed(seed)
    logits = {p: torch.randn(3, generator=rng, dtype=torch.float64).mul(2).tolist() for p in exact.prefixes}
    log_pi = TablePrior(logits.__getitem__, 3, 2, 4).score(toy_prompts(), exact.completions).sum(-1)
    j = float(log_pi.exp() @ reward) - beta * float(kl(log_pi, exact.log_prior))
    assert j / beta == pytest.approx(exact.log_z - float(kl(log_pi, exact.log_p)), abs=1e-12)


def test_soft_values_and_the_soft_optimal_policy(exact: Exact) -> None:
    for prefix, value in {(): 0.4260483780, (0,): 0.6128500200, (1,): 0.4088241684}.items():
        assert BETA * exact.log_value[prefix] == pytest.approx(value, abs=HALF)
    product = torch.stack(
        [torch.stack([exact.soft_optimal(s[:t])[s[t]] for t in range(len(s))]).sum() for s in exact.sequences]
    )
    assert torch.allclose(product, exact.log_p, atol=1e-12, rtol=0)


def test_engines_figures(exact: Exact) -> None:
    assert math.exp(exact.log_z - float(exact.log_lik.max())) == pytest.approx(0.3241270413, abs=HALF)
    second = float(torch.logsumexp(exact.log_prior + 2 * exact.log_lik, 0))
    assert math.exp(2 * exact.log_z - second) == pytest.approx(0.4403370304, abs=HALF)


def test_beta_of_a_kl_budget(exact: Exact, reward: torch.Tensor) -> None:
    for budget, beta in {0.1: 1.268683, 0.5: 0.525010, 1.0: 0.304827}.items():
        found = beta_for_kl([reward], budget, measure=[exact.log_prior], exact=True)
        assert found == pytest.approx(beta, abs=0.5001e-6)
        posterior = enumerate_posterior(toy_a(found), toy_prompts())
        assert float(kl(posterior.log_p, posterior.log_prior)) == pytest.approx(budget, abs=1e-12)


def test_point_mass(exact: Exact) -> None:
    at = exact.index()[A_B_A_EOS]
    surprise = PointMass(float(exact.log_prior[at]))
    assert surprise.forward == pytest.approx(3.8933912134, abs=HALF)
    assert surprise.backward == math.inf
    delta = torch.full((31,), -math.inf, dtype=torch.float64)
    delta[at] = 0.0
    other = torch.roll(delta, 1)
    assert float(kl(delta, exact.log_prior)) == pytest.approx(3.8933912134, abs=HALF)
    assert float(kl(exact.log_prior, delta)) == math.inf
    assert float(kl(delta, delta)) == 0
    assert (float(kl(delta, other)), float(kl(other, delta))) == (math.inf, math.inf)
    tiny = torch.tensor([0.0, -800.0], dtype=torch.float64)  # exp(-800) is 0 in float64, and still it is mass
    assert float(kl(tiny, torch.tensor([0.0, -math.inf], dtype=torch.float64))) == math.inf


def test_a_hard_event_is_conditioning(exact: Exact) -> None:
    """p* = π0(·|event) and Z = P(event), and the soft optimal policy is a law even where the event cannot happen."""
    event = Constraint(lambda tokens: tokens == A_B_A_EOS, "is a b a EOS")
    conditioned = enumerate_posterior(Posterior(toy_prior(), event), toy_prompts())
    assert conditioned.log_z == pytest.approx(-3.8933912134, abs=HALF)
    at = conditioned.index()[A_B_A_EOS]
    assert float(conditioned.log_p[at]) == pytest.approx(0, abs=1e-12)
    for prefix in conditioned.prefixes:
        law = conditioned.soft_optimal(prefix)
        assert not bool(torch.isnan(law).any())
        assert float(law.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_ess_of_equal_and_of_impossible_weights() -> None:
    assert float(ess(torch.zeros(7, dtype=torch.float64))) == pytest.approx(7)
    assert float(ess(torch.full((7,), -math.inf, dtype=torch.float64))) == 0
