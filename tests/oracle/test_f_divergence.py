"""f-DPG: exact gradients of six divergences, their optima in a family that p* is not in, and p* where it is."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.learn.f_dpg import FDPG
from credence.learn.loop import fit
from credence.learn.losses.f_divergence import Divergence, f_gradient, size
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.posterior.exact import enumerate_posterior
from credence.prior.train import scored
from tests.balancing import check_f_gradient, check_f_two_prompts, divergence, third_law
from tests.learning import (
    PROMPTS,
    REACHED,
    at_optimum,
    coefficients,
    every_sequence,
    free_policy,
    groups_of,
    log_law,
    mean_kl,
    scores,
    somewhere,
)
from tests.toys import toy_a, toy_prior

NAMES = {d: d.value for d in Divergence}
each = pytest.mark.parametrize("which", NAMES, ids=NAMES.values())
MATRIX = {
    Divergence.FORWARD_KL: (0.80605, 0.94154, 0.54745, 0.35950),
    Divergence.REVERSE_KL: (1.06532, 0.77268, 0.54550, 0.34895),
    Divergence.TOTAL_VARIATION: (0.97099, 0.91046, 0.52300, 0.35173),
    Divergence.JENSEN_SHANNON: (0.92458, 0.80495, 0.53083, 0.33968),
}
"""SCIENCE 3.4: trained on the row, measured by the columns, each in the order of the rows."""


@pytest.mark.parametrize("seed", [20, 21])
def test_exact_gradients_for_any_proposal(seed: int) -> None:
    check_f_gradient(seed)


def test_each_prompt_has_its_own_z() -> None:
    check_f_two_prompts(20)


@each
def test_the_baseline_changes_no_mean(which: Divergence) -> None:
    """E_q over single draws, with and without."""
    policy, exact = somewhere(3), enumerate_posterior(toy_a(), PROMPTS)
    token_q = third_law().score(PROMPTS, exact.completions)
    single = groups_of(policy, toy_a(), PROMPTS, torch.arange(31)[:, None], token_q)
    single = replace(single, log_z=torch.full((31,), exact.log_z, dtype=torch.float64))
    found = [
        (token_q.sum(-1).exp() * coefficients(lambda s, b=b: f_gradient(s, which, b), replace(
            single, log_pi=single.log_pi.detach().requires_grad_()), 1).squeeze(1)) @ scores(policy, PROMPTS, exact)
        for b in (True, False)
    ]  # fmt: skip
    assert torch.allclose(found[0], found[1], atol=1e-10, rtol=0)
    assert float(found[0].norm()) > 1e-3


@each
def test_no_variance_at_the_posterior(which: Divergence) -> None:
    policy = at_optimum(toy_a(), PROMPTS)
    batch = every_sequence(toy_a(), PROMPTS)
    given = scored(batch, policy.score(PROMPTS, batch.completions).requires_grad_())
    loss, info = f_gradient(given, which)
    loss.backward()
    assert given.log_pi.grad is not None
    if which is not Divergence.TOTAL_VARIATION:  # the sign of a rounding error is still ±1
        assert float(given.log_pi.grad.abs().max()) < 1e-12
    assert info["divergence"] == pytest.approx(0, abs=1e-12)


@each
def test_the_divergence_told_is_the_divergence(which: Divergence) -> None:
    policy, exact = somewhere(4), enumerate_posterior(toy_a(), PROMPTS)
    log_pi = log_law(policy, PROMPTS, exact).detach()
    wanted = float(divergence(which, log_pi, exact.log_p))
    assert float(size(which, exact.log_p, log_pi).sum()) == pytest.approx(wanted, abs=1e-12)
    info = policy.forward_backward(every_sequence(toy_a(), PROMPTS), FDPG(divergence=which).loss)
    assert info["divergence"] == pytest.approx(wanted, abs=1e-10)


def test_forward_kl_is_dpg_row_by_row() -> None:
    policy, batch = somewhere(5), every_sequence(toy_a(), PROMPTS)
    found = []
    for loss in (FDPG().loss, weighted_likelihood):
        given = scored(batch, policy.score(PROMPTS, batch.completions).requires_grad_())
        loss(given)[0].backward()
        found.append(given.log_pi.grad)
    assert torch.allclose(found[0], found[1], atol=1e-14, rtol=0)


def test_baseline_lowers_the_variance() -> None:
    """Total variance of one draw's gradient at π = π0: 1.9079 without, 1.0911 with (SCIENCE 3.4)."""
    start, exact = free_policy(toy_a(), PROMPTS), enumerate_posterior(toy_a(), PROMPTS)
    g, q = scores(start, PROMPTS, exact), torch.exp(exact.log_prior)
    token_q = toy_prior().score(PROMPTS, exact.completions)
    for baseline, wanted in ((False, 1.9079), (True, 1.0911)):
        single = groups_of(start, toy_a(), PROMPTS, torch.arange(31)[:, None], token_q)
        single = replace(single, log_z=torch.full((31,), exact.log_z, dtype=torch.float64))
        c = coefficients(FDPG(baseline=baseline).loss, single, 1).squeeze(1)
        variance = (q * c**2 * (g**2).sum(1)).sum() - ((q * c) @ g).square().sum()
        assert float(variance) == pytest.approx(wanted, abs=0.5001e-4)


@each
def test_impossible_draws(which: Divergence) -> None:
    """Legal where the divergence stays finite, and then no number is a NaN; refused with remedies where it does not."""
    policy, batch = somewhere(6), every_sequence(toy_a(), PROMPTS)
    lik = batch.log_lik.clone()
    lik[3] = -torch.inf
    hard = replace(batch, log_lik=lik)
    if which in (Divergence.REVERSE_KL, Divergence.CHI_SQUARED):
        with pytest.raises(ContractError, match=rf"1 of 31 .*{which.value} is infinite .*Ended"):
            policy.forward_backward(hard, FDPG(divergence=which).loss)
        return
    info = policy.forward_backward(hard, FDPG(divergence=which).loss)
    assert policy.logits.grad is not None
    assert bool(torch.isfinite(policy.logits.grad).all())
    assert info["divergence"] > 0


def test_a_likelihood_beyond_the_exponential_is_no_infinity() -> None:
    """A draw at −900 nats underflows as a weight; as nats it is only far away."""
    policy, batch = somewhere(7), every_sequence(toy_a(), PROMPTS)
    lik = batch.log_lik.clone()
    lik[3] = -900.0
    info = policy.forward_backward(replace(batch, log_lik=lik), FDPG(divergence=Divergence.REVERSE_KL).loss)
    assert policy.logits.grad is not None
    assert bool(torch.isfinite(policy.logits.grad).all())
    assert 0 < info["divergence"] < 900


@each
def test_every_divergence_reaches_the_posterior(which: Divergence) -> None:
    """From a uniform law without its noise; χ²(π‖p*) has steep slopes and takes smaller steps."""
    policy = free_policy(toy_a(), PROMPTS)
    lr, steps = (0.1, 250) if which is Divergence.CHI_SQUARED else (0.2, 110)
    learner = FDPG(1, 100, lr, divergence=which)
    fit(toy_a(), policy, PROMPTS, learner, Key(4), steps, stored=every_sequence(toy_a(), PROMPTS))
    assert mean_kl(policy, toy_a(), PROMPTS) < REACHED


def test_jensen_shannon_on_its_own_draws() -> None:
    policy = free_policy(toy_a(), PROMPTS)
    learner = FDPG(1, 128, 0.1, divergence=Divergence.JENSEN_SHANNON, on_policy=True)
    fit(toy_a(), policy, PROMPTS, learner, Key(4), 150)
    assert mean_kl(policy, toy_a(), PROMPTS) < 3 * REACHED


@pytest.mark.parametrize("which", MATRIX, ids=lambda d: d.value)
def test_a_family_without_the_posterior_shows_what_each_divergence_forgives(
    which: Divergence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCIENCE 3.4's matrix to 1e-3, by the script of figure F6: each column is smallest on its own row."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts" / "figures"))
    restricted = importlib.import_module("f6_divergences").restricted
    batch, exact = every_sequence(toy_a(), PROMPTS), enumerate_posterior(toy_a(), PROMPTS)
    law = restricted(which, batch)
    measured = (kl(exact.log_p, law), kl(law, exact.log_p), *(
        divergence(d, law, exact.log_p) for d in (Divergence.TOTAL_VARIATION, Divergence.JENSEN_SHANNON)
    ))  # fmt: skip
    assert [float(x) for x in measured] == pytest.approx(MATRIX[which], abs=1e-3)


def test_the_fields_that_the_loop_reads() -> None:
    assert not FDPG().on_policy
    assert FDPG(on_policy=True).on_policy
    assert (FDPG().target, FDPG().needs) == ("posterior", frozenset())
