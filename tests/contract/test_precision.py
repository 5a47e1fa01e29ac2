"""Training steps in bfloat16 products: near the plain ones, no gradient lost, and nothing measured by them."""

import pytest
import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.parallel import spread
from credence.core.precision import products_here, products_in
from credence.core.protocols import Batch
from credence.evidence.reward import Reward
from credence.learn.loop import Validation, elbo, fit
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.hf import LMPrior
from credence.prior.policy import LMPolicy, full_policy
from tests.tiny import codec, llama_model

HALF = torch.bfloat16


@pytest.fixture
def prior() -> LMPrior:
    """The tiny Llama in float32: float64 is left alone by torch's autocast."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = llama_model().float().eval()
    return LMPrior(model, codec(), frozenset({6}), 6)


def gradients(policy: LMPolicy, batch: Batch, dtype: torch.dtype | None) -> dict[str, Tensor]:
    with products_in(dtype):
        policy.forward_backward(batch, leave_one_out_gradient)
    found = {
        n: p.grad.clone() for n, p in zip(policy.names, policy.trainer.parameters, strict=True) if p.grad is not None
    }
    policy.trainer.forget()
    return found


def test_threads_inherit_the_format() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with products_in(HALF):
            assert spread([products_here, products_here]) == [HALF, HALF]
        assert spread([products_here, products_here]) == [None, None]
    finally:
        torch.set_num_threads(before)


def test_gradients_are_those_of_float32_to_rounding_and_none_is_lost(prior: LMPrior) -> None:
    """After a pass without gradients in the same format: casts that it made must not be used again."""
    policy = full_policy(prior)
    prompts = prior.codec.prompts([(0, 1), (2, 3, 1)])
    with products_in(HALF):
        completions, log_q = policy.sample(Key(1), prompts, 16)
    with products_in(HALF):
        log_prior = prior.score(prompts, completions)
    log_lik = completions.ids.double().sum(-1)
    batch = Batch(prompts, completions, log_q, log_prior, log_lik, on_policy=True)
    plain, half = gradients(policy, batch, None), gradients(policy, batch, HALF)
    assert plain.keys() == half.keys() == set(policy.names)
    errors = {name: half[name] - plain[name] for name in plain}
    whole = [torch.cat([x.flatten() for x in part.values()]).norm() for part in (errors, plain)]
    assert 0 < whole[0] < 0.05 * whole[1]
    assert all(errors[name].norm() < 0.2 * plain[name].norm() for name in plain)
    assert all(gradient.dtype == torch.float32 for gradient in half.values())


def test_what_is_validated_is_measured_in_float32(prior: LMPrior) -> None:
    policy = full_policy(prior)
    posterior = Posterior(prior, Reward(lambda prompts, completions: [float(len(set(c))) for c in completions], 1.0))
    prompts = prior.codec.prompts([(0, 1), (2, 3, 1)])
    look = Validation(prompts, draws=8, every=1, key=Key(9))
    done = fit(posterior, policy, prompts, Reinforce(2, 16, 3e-2), Key(2), 8, validation=look, precision=HALF)
    assert done.best > 0
    assert elbo(posterior, policy, prompts, Key(9), 8)[0] == done.best_elbo
    with products_in(HALF):
        assert elbo(posterior, policy, prompts, Key(9), 8)[0] != done.best_elbo
