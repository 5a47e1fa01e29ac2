"""What f-DPG, balance and the fits of weighted draws are held to on enumerable toys; tests/oracle and tests/mutants."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Loss, Scored
from credence.learn.a_star_po import AStarPO
from credence.learn.balance import TrajectoryBalance, VarGrad
from credence.learn.bond import BOND
from credence.learn.expert_iteration import ExpertIteration
from credence.learn.f_dpg import FDPG
from credence.learn.losses.f_divergence import Divergence
from credence.learn.mpo import MPO
from credence.learn.reward_weighted import Centre, RewardWeighted
from credence.learn.values.subtb import SubTB
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.flowing import Flowing, with_table_flow
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy
from credence.sample.best_of_n import best_of_n_law
from tests.learning import (
    PROMPTS,
    coefficients,
    every_sequence,
    exacts,
    free_policy,
    gradient,
    groups_of,
    log_law,
    scores,
    somewhere,
)
from tests.toys import toy_a, toy_prior, toy_two, two_prompts

F = {
    Divergence.FORWARD_KL: lambda t: -torch.log(t),
    Divergence.REVERSE_KL: lambda t: t * torch.log(t),
    Divergence.TOTAL_VARIATION: lambda t: 0.5 * (t - 1).abs(),
    Divergence.JENSEN_SHANNON: lambda t: t * torch.log(2 * t / (1 + t)) + torch.log(2 / (1 + t)),
    Divergence.CHI_SQUARED: lambda t: (t - 1) ** 2,
    Divergence.CHI_SQUARED_FORWARD: lambda t: 1 / t - 1,
}
"""f of SCIENCE 3.4, D_f(π‖p) = Σ p f(π/p)."""


def divergence(which: Divergence, log_pi: Tensor, log_p: Tensor) -> Tensor:
    """D_f(π‖p) of two enumerated laws, from its f."""
    return (torch.exp(log_p) * F[which](torch.exp(log_pi - log_p))).sum()


def third_law() -> TablePrior:
    """A proposal that is neither the prior nor the policy."""
    return TablePrior(lambda said: [0.6 * math.sin(4 + sum(said) + 2.3 * k + len(said)) for k in range(3)], 3, 2, 4)


def close(found: Tensor, wanted: Tensor) -> None:
    """To 1e-10, and not because both are nothing."""
    assert float(wanted.norm()) > 1e-3
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0), float((found - wanted).abs().max())


def expected_from(
    loss: Loss, policy: TabularPolicy, posterior: Posterior, q: TablePrior | TabularPolicy, size: int,
    log_z: float | None = None,
) -> Tensor:  # fmt: skip
    """E[∇loss] over every `size`-tuple of independent draws of q, exactly."""
    exact = enumerate_posterior(posterior, PROMPTS)
    count = len(exact.sequences)
    tuples = torch.cartesian_prod(*[torch.arange(count)] * size).view(-1, size)
    token_q = q.score(PROMPTS, exact.completions)
    scored = groups_of(policy, posterior, PROMPTS, tuples, token_q)
    if log_z is not None:
        scored = replace(scored, log_z=torch.full((len(tuples),), log_z, dtype=torch.float64))
    c = coefficients(loss, scored, size)
    chance = torch.exp(token_q.sum(-1)[tuples].sum(-1))
    by_sequence = torch.zeros(count, dtype=torch.float64)
    by_sequence.index_add_(0, tuples.flatten(), (chance[:, None] * c).flatten())
    return by_sequence @ scores(policy, PROMPTS, exact)


def place(seed: int) -> tuple[TabularPolicy, Exact, Tensor]:
    """A policy somewhere, TOY-A enumerated, and log π with gradient."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    return policy, exact, log_law(policy, PROMPTS, exact)


def check_f_gradient(seed: int) -> None:
    """Of each divergence: exact from draws of another law, of the policy and of the prior, with its baseline."""
    policy, exact, _ = place(seed)
    for which in Divergence:
        wanted = gradient(policy, divergence(which, log_law(policy, PROMPTS, exact), exact.log_p))
        for q in (third_law(), toy_prior(), policy):
            close(expected_from(FDPG(divergence=which).loss, policy, toy_a(), q, 1, exact.log_z), wanted)


def check_f_two_prompts(seed: int) -> None:
    """On every sequence of two prompts once, no log Z given: each prompt has its own, from its own rows."""
    policy, laws = moved_two(seed)
    for which in Divergence:
        each = [divergence(which, log_law(policy, two_prompts().take([b]), e), e.log_p) for b, e in enumerate(laws)]
        wanted = gradient(policy, torch.stack(each).mean())
        close(on_every(policy, FDPG(divergence=which).loss, toy_two()), wanted)


def moved_two(seed: int) -> tuple[TabularPolicy, list[Exact]]:
    policy = free_policy(toy_two(), two_prompts())
    noise = torch.from_numpy(Key(seed).generator().normal(0, 0.4, tuple(policy.logits.shape)))
    policy.restore({"logits": policy.state()["logits"] + noise})
    return policy, exacts(toy_two(), two_prompts())


def on_every(policy: TabularPolicy, loss: Loss, posterior: Posterior) -> Tensor:
    """∇loss on every sequence of the two prompts once."""
    policy.logits.grad = None
    policy.forward_backward(every_sequence(posterior, two_prompts()), loss)
    assert policy.logits.grad is not None
    return policy.logits.grad.flatten().clone()


def check_balance_gradient(seed: int) -> None:
    """On policy E[∇TB] = ∇KL(π‖p*) whatever log Z, and so E[∇VarGrad] over all pairs."""
    policy, exact, log_pi = place(seed)
    wanted = gradient(policy, kl(log_pi, exact.log_p))
    for log_z in (exact.log_z, 0.0, -3.0):
        close(expected_from(TrajectoryBalance(on_policy=True).loss, policy, toy_a(), policy, 1, log_z), wanted)
        close(expected_from(AStarPO().loss, policy, toy_a(), policy, 1, log_z), wanted)
    close(expected_from(VarGrad().loss, policy, toy_a(), policy, 2), wanted)


def check_balance_off_policy(seed: int) -> None:
    """From draws of another law: the gradients of ½E_q[(log Z + Δ)²] and ½Var_q(Δ), by autograd."""
    policy, exact, log_pi = place(seed)
    q = torch.exp(third_law().score(PROMPTS, exact.completions).sum(-1))
    delta = log_pi - exact.log_prior - exact.log_lik
    wanted = gradient(policy, 0.5 * (q * (0.3 + delta) ** 2).sum())
    close(expected_from(TrajectoryBalance().loss, policy, toy_a(), third_law(), 1, 0.3), wanted)
    delta = log_law(policy, PROMPTS, exact) - exact.log_prior - exact.log_lik
    wanted = gradient(policy, 0.5 * ((q * delta**2).sum() - (q * delta).sum() ** 2))
    close(expected_from(VarGrad().loss, policy, toy_a(), third_law(), 2), wanted)


def check_var_grad_two_prompts(seed: int) -> None:
    """Each prompt's variance is about its own mean: ½·40/39 of the variance over its 40 sequences."""
    policy, laws = moved_two(seed)
    each = []
    for b, e in enumerate(laws):
        delta = log_law(policy, two_prompts().take([b]), e) - e.log_prior - e.log_lik
        each.append(0.5 * delta.var())
    close(on_every(policy, VarGrad().loss, toy_two()), gradient(policy, torch.stack(each).mean()))


def flowing(seed: int) -> Flowing:
    """TOY-A's tabular policy with values of prefixes, both moved at random."""
    made = with_table_flow(somewhere(seed))
    v = torch.from_numpy(Key(seed).fold("v").generator().normal(0.2, 0.5, len(made.inner.places)))  # pyright: ignore
    made.restore({**made.state(), "flow/v": v})
    return made


def check_subtb_gradient(seed: int) -> None:
    """Every piece of every sequence written out and differentiated, in the policy and in V."""
    made, exact = flowing(seed), enumerate_posterior(toy_a(), PROMPTS)
    table: TabularPolicy = made.inner  # pyright: ignore[reportAssignmentType]
    v = made.flow.parameters["v"]
    base = torch.stack([exact.log_step[s] for _, s in table.places])
    ratio = torch.log_softmax(table.logits, -1) - base
    loss, decay = torch.zeros(()).double(), 0.7
    for x, nats in zip(exact.sequences, exact.log_lik.tolist(), strict=True):
        values = [v[table.places[(), x[:t]]] for t in range(len(x))] + [torch.tensor(nats, dtype=torch.float64)]
        total, weight = torch.zeros(()).double(), 0.0
        for i in range(len(x)):
            for j in range(i + 1, len(x) + 1):
                spent = sum(ratio[table.places[(), x[:u]], x[u]] for u in range(i, j))
                total = total + decay ** (j - i) * (values[i] + spent - values[j]) ** 2
                weight += decay ** (j - i)
        loss = loss + 0.5 * total / weight / len(exact.sequences)
    wanted = torch.autograd.grad(loss, [table.logits, v])
    made.value_backward(every_sequence(toy_a(), PROMPTS), SubTB(decay=decay).value_loss)
    assert table.logits.grad is not None
    assert v.grad is not None
    close(table.logits.grad, wanted[0])
    close(v.grad, wanted[1])


def best_of(exact: Exact, q: Tensor, of: int) -> Tensor:
    """log of the law of the best of `of` draws of q, by enumeration."""
    return best_of_n_law(replace(exact, log_prior=q), of)


def check_expert_gradient(seed: int) -> None:
    """Pairs of any law q: ∇KL(best-of-2 of q‖π). A threshold, on every sequence once: ∇KL(uniform given more‖π)."""
    policy, exact, log_pi = place(seed)
    q = third_law().score(PROMPTS, exact.completions).sum(-1)
    wanted = gradient(policy, kl(best_of(exact, q, 2), log_pi))
    close(expected_from(ExpertIteration(of=2).loss, policy, toy_a(), third_law(), 2), wanted)
    given = torch.log_softmax(torch.log((exact.log_lik > 0.5).double()), 0)
    wanted = gradient(policy, -(torch.exp(given) * log_law(policy, PROMPTS, exact)).sum())
    close(on_all(policy, ExpertIteration(of=0, above=0.5).loss), wanted)


def check_bond_gradient(seed: int) -> None:
    """On every sequence once, as drawn from a uniform law: the mixture of both KLs to best-of-3 of the prior."""
    policy, exact, _ = place(seed)
    law = best_of(exact, exact.log_prior, 3)
    for gamma in (0.0, 0.3, 1.0):
        log_pi = log_law(policy, PROMPTS, exact)
        wanted = gradient(policy, (1 - gamma) * kl(log_pi, law) + gamma * kl(law, log_pi))
        close(on_all(policy, BOND(of=3, forward=gamma).loss), wanted)


def on_all(policy: TabularPolicy, loss: Loss, batch: Batch | None = None) -> Tensor:
    """∇loss on TOY-A's sequences, each once, or on this batch."""
    policy.logits.grad = None
    policy.forward_backward(batch or every_sequence(toy_a(), PROMPTS), loss)
    assert policy.logits.grad is not None
    return policy.logits.grad.flatten().clone()


def check_weighted_gradient(seed: int) -> None:
    """Rows as if the uniform law were the prior: ∇KL(uniform · e^log_lik/Z‖π), whatever log_q says; AWR's multiple."""
    policy, exact, log_pi = place(seed)
    flat = torch.full_like(exact.log_lik, -math.log(31))
    law = torch.log_softmax(exact.log_lik, 0)
    wanted = gradient(policy, kl(law, log_pi))
    close(on_all(policy, RewardWeighted().loss), wanted)
    scale = torch.exp(torch.logsumexp(exact.log_lik + flat, 0) - exact.log_lik.mean())
    close(on_all(policy, RewardWeighted(centre=Centre.MEAN).loss), scale * wanted)


def check_mpo_gradient(seed: int) -> None:
    """KL(q‖uniform) = ε with q ∝ e^(log_lik/η), and ∇[KL(q‖π) + α KL(uniform‖π)] is the loss's."""
    policy, exact, log_pi = place(seed)
    flat = torch.full_like(exact.log_lik, -math.log(31))
    scored_info = {}

    def loss(scored: Scored) -> tuple[Tensor, dict[str, float]]:
        value, info = MPO(epsilon=0.4, trust=0.25).loss(scored)
        scored_info.update(info)
        return value, dict(info)

    found = on_all(policy, loss)
    law = torch.log_softmax(exact.log_lik / scored_info["eta"], 0)
    assert abs(float(kl(law, flat)) - 0.4) < 1e-10
    assert abs(scored_info["tilt"] - 0.4) < 1e-10
    close(found, gradient(policy, kl(law, log_pi) + 0.25 * kl(flat, log_pi)))
