"""What the learners are held to on enumerable toys, shared by tests/oracle, tests/unit and tests/mutants."""

import math

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Loss, Scored
from credence.core.types import Prompts, concat
from credence.evidence.product import measure
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy, tabular_policy


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
    log_q[:, 0] = torch.cat([torch.full((len(e.sequences),), -math.log(len(e.sequences))) for e in laws])
    log_prior = posterior.prior.score(prompts, rows)
    return Batch(prompts, rows, log_q, log_prior, posterior.log_lik(prompts, rows))
