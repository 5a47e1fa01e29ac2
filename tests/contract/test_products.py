"""Gradients carried by bfloat16 products: near float32's, none lost, and no figure or coefficient touched by them."""

import pytest
import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Batch, Learner
from credence.evidence.reward import Reward
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Validation, elbo, fit
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.hf import LMPrior
from credence.prior.policy import LMPolicy, full_policy
from credence.study import machine
from tests.tiny import codec, llama_model

HALF = torch.bfloat16


@pytest.fixture
def prior() -> LMPrior:
    """The tiny Llama in float32: float64 is left alone by torch's autocast."""
    return LMPrior(llama_model().float().eval(), codec(), frozenset({6}), 6)


def target(prior: LMPrior) -> Posterior:
    return Posterior(prior, Reward(lambda prompts, completions: [float(len(set(c))) for c in completions], 1.0))


def drawn(policy: LMPolicy, prior: LMPrior) -> Batch:
    prompts = prior.codec.prompts([(0, 1), (2, 3, 1)])
    completions, log_q = policy.sample(Key(1), prompts, 16)
    log_lik = completions.ids.double().sum(-1)
    return Batch(prompts, completions, log_q, prior.score(prompts, completions), log_lik, on_policy=True)


def gradients(policy: LMPolicy, batch: Batch, products: torch.dtype | None) -> dict[str, Tensor]:
    policy.products = products
    policy.forward_backward(batch, leave_one_out_gradient)
    named = zip(policy.names, policy.trainer.parameters, strict=True)
    found = {n: p.grad.clone() for n, p in named if p.grad is not None}
    policy.trainer.forget()
    return found


def test_gradients_are_those_of_float32_to_rounding_and_none_is_lost(prior: LMPrior) -> None:
    policy = full_policy(prior)
    batch = drawn(policy, prior)
    plain, half = gradients(policy, batch, None), gradients(policy, batch, HALF)
    assert plain.keys() == half.keys() == set(policy.names)
    errors = {name: half[name] - plain[name] for name in plain}
    whole = [torch.cat([x.flatten() for x in part.values()]).norm() for part in (errors, plain)]
    assert 0 < whole[0] < 0.05 * whole[1]
    assert all(errors[name].norm() < 0.2 * plain[name].norm() for name in plain)
    assert all(gradient.dtype == torch.float32 for gradient in half.values())


def test_equal_returns_have_no_gradient(prior: LMPrior) -> None:
    """The zero variance at π = p* holds exactly: what cancels in float32 is not disturbed by rounding."""
    policy = full_policy(prior)
    batch = drawn(policy, prior)
    same = Batch(
        batch.prompts, batch.completions, batch.log_q, batch.log_q.clone(), torch.ones(32).double(), on_policy=True
    )
    assert gradients(policy, same, HALF) == {}


def trained(prior: LMPrior, learner: Learner, products: torch.dtype | None, stored: Batch | None = None) -> Fit:
    policy = full_policy(prior)
    policy.products = products
    prompts = prior.codec.prompts([(0, 1), (2, 3, 1)])
    look = Validation(prompts, draws=8, every=1, key=Key(9))
    return fit(target(prior), policy, prompts, learner, Key(2), 2, stored=stored, validation=look)


@pytest.mark.parametrize("on_policy", [True, False])
def test_records_of_a_step_are_float32_s_own(prior: LMPrior, on_policy: bool) -> None:
    """Only the gradient differs: draws, scores, off-policy ratios and the validation of the same policy do not."""
    batch = None
    if not on_policy:
        made = drawn(full_policy(prior), prior)
        batch = Batch(made.prompts, made.completions, made.log_q, made.log_prior, made.log_lik)
    learner = Reinforce(2, 16, 1e-2) if on_policy else DPG(2, 16, 1e-2)
    plain, half = (trained(prior, learner, products, batch) for products in (None, HALF))
    apart = {"stage", "grad_norm", "val_elbo", "val_elbo_se", "best"}
    for name in plain.history[0].keys() - apart:  # stored draws are scored on another path: equal to float32's rounding
        assert half.history[0][name] == pytest.approx(plain.history[0][name], rel=0 if on_policy else 1e-6, abs=1e-6)
    assert plain.history[0]["grad_norm"] != half.history[0]["grad_norm"]
    prompts = prior.codec.prompts([(0, 1), (2, 3, 1)])
    assert elbo(target(prior), half.policy, prompts, Key(9), 8)[0] == half.best_elbo


def test_a_batch_of_one_piece_gives_its_loss_float32_scores(prior: LMPrior) -> None:
    policy = full_policy(prior)
    made = drawn(policy, prior)
    stored = Batch(made.prompts, made.completions, made.log_q, made.log_prior, made.log_lik)
    seen: list[float] = []
    for products in (None, HALF):
        policy.products = products
        seen.append(float(policy.forward_backward(stored, weighted_likelihood)["ratio_max"]))
    assert seen[0] == pytest.approx(seen[1], abs=1e-5) == pytest.approx(1.0, abs=1e-5)


def test_a_processor_that_gains_nothing_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.training_products("float32", "cpu") is None
    assert machine.training_products("bfloat16", "cuda:1") == HALF
    for half, wanted in ((0.3, HALF), (0.9, None), (4.0, None)):
        monkeypatch.setattr(machine, "_seconds", lambda a, b, half=half: half if a.dtype == HALF else 1.0)
        assert machine.training_products("bfloat16", "cpu") == wanted
