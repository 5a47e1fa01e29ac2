"""What the learners are held to on enumerable toys, shared by tests/oracle, tests/unit and tests/mutants."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Loss, Scored
from credence.core.types import Prompts, concat
from credence.evidence.product import measure
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy, tabular_policy
from tests.toys import toy_a, toy_policy, toy_prior, toy_prompts, toy_two, two_prompts

PROMPTS = toy_prompts()
REACHED = 1e-3
"""KL(π‖p*) in nats that training by sampling must reach; the prior starts at 0.618 on TOY-A."""


def free_policy(posterior: Posterior, prompts: Prompts, law: TablePrior | None = None) -> TabularPolicy:
    """A tabular policy on the posterior's prior, standing at `law`."""
    assert isinstance(posterior.prior, TablePrior)
    policy = tabular_policy(posterior.prior, prompts)
    if law is not None:
        policy.restore({"logits": torch.stack([law.logits((*given, *reply)) for given, reply in policy.places])})
    return policy


def at_optimum(posterior: Posterior, prompts: Prompts) -> TabularPolicy:
    """The tabular policy that is the posterior."""
    policy = free_policy(posterior, prompts)
    exact = {ids: exacts(posterior, prompts.take([b]))[0] for b, ids in enumerate(prompts.ids)}
    policy.restore({"logits": torch.stack([exact[given].soft_optimal(reply) for given, reply in policy.places])})
    return policy


def exacts(posterior: Posterior, prompts: Prompts) -> list[Exact]:
    return [enumerate_posterior(posterior, prompts.take([b])) for b in range(len(prompts))]


def log_law(policy: TabularPolicy, prompts: Prompts, exact: Exact) -> Tensor:
    """(N,) log π of every completion of the one prompt, with gradient."""
    return policy.log_probs(prompts, exact.completions).sum(-1)


def mean_kl(policy: TabularPolicy, posterior: Posterior, prompts: Prompts) -> float:
    """KL(π‖p*) in nats by enumeration, mean over prompts."""
    laws = exacts(posterior, prompts)
    found = [kl(log_law(policy, prompts.take([b]), e).detach(), e.log_p) for b, e in enumerate(laws)]
    return float(torch.stack(found).mean())


def gradient(policy: TabularPolicy, value: Tensor) -> Tensor:
    """∇ value with respect to the policy's logits, flat."""
    return torch.autograd.grad(value, policy.logits)[0].flatten()


def scores(policy: TabularPolicy, prompts: Prompts, exact: Exact) -> Tensor:
    """(N, parameters): ∇ log π of every completion."""
    log_pi = log_law(policy, prompts, exact)
    return torch.stack([torch.autograd.grad(x, policy.logits, retain_graph=True)[0].flatten() for x in log_pi])


def groups_of(policy: TabularPolicy, posterior: Posterior, prompts: Prompts, tuples: Tensor, log_q: Tensor) -> Scored:
    """Every tuple of sequence numbers as a prompt of its own: `Scored` for all of them at once, with a leaf log_pi."""
    exact = exacts(posterior, prompts)[0]
    rows = tuples.flatten()
    log_pi = policy.score(prompts, exact.completions)[rows].requires_grad_()
    prompt = torch.arange(len(tuples)).repeat_interleave(tuples.shape[1])
    log_prior = posterior.prior.score(prompts, exact.completions)[rows]
    mask = exact.completions.mask[rows]
    return Scored(log_pi, log_prior, log_q[rows], exact.log_lik[rows], mask, prompt, len(tuples))


def coefficients(loss: Loss, scored: Scored, size: int) -> Tensor:
    """(tuples, size): c of each row in ∇loss = Σ c ∇log π, each tuple by itself. All tokens of a row must have one."""
    loss(scored)[0].backward()
    assert scored.log_pi.grad is not None
    slope = scored.log_pi.grad * scored.prompts
    first = slope[:, :1]
    assert torch.equal(slope, torch.where(scored.mask, first, 0.0)), "a token's own log-probability is left out"
    return first.reshape(-1, size)


def expected(loss: Loss, policy: TabularPolicy, posterior: Posterior, prompts: Prompts, size: int) -> Tensor:
    """E[∇loss] over every `size`-tuple of independent draws of the policy, exactly."""
    exact = exacts(posterior, prompts)[0]
    count = len(exact.sequences)
    tuples = torch.cartesian_prod(*[torch.arange(count)] * size).view(-1, size)
    token_q = policy.score(prompts, exact.completions)
    scored = groups_of(policy, posterior, prompts, tuples, token_q)
    c = coefficients(loss, scored, size)
    chance = torch.exp(token_q.sum(-1)[tuples].sum(-1))
    by_sequence = torch.zeros(count, dtype=torch.float64)
    by_sequence.index_add_(0, tuples.flatten(), (chance[:, None] * c).flatten())
    return by_sequence @ scores(policy, prompts, exact)


def stored_draws(posterior: Posterior, prompts: Prompts, key: Key, n: int) -> Batch:
    """n draws of the prior a prompt, with their nats, as DPG recalls them."""
    completions, log_q = posterior.prior.sample(key, prompts, n)
    log_lik, readings = measure(posterior.evidence, prompts, completions)
    return Batch(prompts, completions, log_q, log_q, log_lik, readings=readings)


def every_sequence(posterior: Posterior, prompts: Prompts) -> Batch:
    """Each completion of each prompt once, as if drawn from the uniform law over them."""
    laws = exacts(posterior, prompts)
    rows = concat([e.completions for e in laws], list(range(len(laws))))
    log_q = torch.zeros(rows.mask.shape, dtype=torch.float64)
    log_q[:, 0] = torch.cat([-math.log(len(e.sequences)) * torch.ones_like(e.log_prior) for e in laws])
    log_prior = posterior.prior.score(prompts, rows)
    return Batch(prompts, rows, log_q, log_prior, posterior.log_lik(prompts, rows))


def somewhere(seed: int) -> TabularPolicy:
    """TOY-A's test policy, moved at random."""
    policy = free_policy(toy_a(), PROMPTS, toy_policy())
    noise = torch.from_numpy(Key(seed).generator().normal(0, 0.4, (15, 3)))
    policy.restore({"logits": policy.state()["logits"] + noise})
    return policy


def check_reverse_gradient(seed: int) -> None:
    """E[∇loss] of Reinforce over all pairs is ∇KL(π‖p*)."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    wanted = gradient(policy, kl(log_law(policy, PROMPTS, exact), exact.log_p))
    found = expected(Reinforce().loss, policy, toy_a(), PROMPTS, 2)
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0)


def check_forward_gradient(seed: int) -> None:
    """E_π0[∇loss] of DPG, given log Z, is ∇KL(p*‖π): off policy, so that the baseline needs its π/q."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    wanted = gradient(policy, kl(exact.log_p, log_law(policy, PROMPTS, exact)))
    token_q = toy_prior().score(PROMPTS, exact.completions)
    single = groups_of(policy, toy_a(), PROMPTS, torch.arange(31)[:, None], token_q)
    single = replace(single, log_z=torch.full((31,), exact.log_z, dtype=torch.float64))
    c = coefficients(DPG().loss, single, 1).squeeze(1)
    assert torch.allclose((torch.exp(exact.log_prior) * c) @ scores(policy, PROMPTS, exact), wanted, atol=1e-10, rtol=0)


def check_reinforce_training(seed: int) -> None:
    """150 steps on fresh draws reach the posterior."""
    policy = free_policy(toy_a(), PROMPTS)
    fit(toy_a(), policy, PROMPTS, Reinforce(1, 64, 0.1), Key(seed), 150)
    assert mean_kl(policy, toy_a(), PROMPTS) < REACHED


def check_own_log_z(seed: int) -> None:
    """DPG's gradient on every sequence of two prompts once: the mean of ∇KL(p*‖π), each prompt with its own Z."""
    policy = free_policy(toy_two(), two_prompts())
    noise = torch.from_numpy(Key(seed).generator().normal(0, 0.4, tuple(policy.logits.shape)))
    policy.restore({"logits": policy.state()["logits"] + noise})
    laws = exacts(toy_two(), two_prompts())
    each = [kl(e.log_p, log_law(policy, two_prompts().take([b]), e)) for b, e in enumerate(laws)]
    wanted = gradient(policy, torch.stack(each).mean())
    policy.forward_backward(every_sequence(toy_two(), two_prompts()), DPG().loss)
    assert policy.logits.grad is not None
    assert torch.allclose(policy.logits.grad.flatten(), wanted, atol=1e-10, rtol=0)
