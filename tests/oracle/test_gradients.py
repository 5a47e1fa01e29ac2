"""Expected gradients by enumeration of TOY-A, against autograd through the enumerated divergence."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Scored
from credence.evidence.reward import Reward
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.hf import LMPrior
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy
from credence.prior.train import accumulate
from tests.learning import (
    at_optimum,
    check_forward_gradient,
    check_own_log_z,
    check_reverse_gradient,
    coefficients,
    expected,
    free_policy,
    gradient,
    groups_of,
    log_law,
    scores,
)
from tests.tiny import gpt2, llama
from tests.toys import policy_logits, toy_a, toy_policy, toy_prior, toy_prompts

TOLERANCE = 1e-10
PROMPTS = toy_prompts()


def nothing_learnt() -> Posterior:
    """Evidence of 0 nats: the posterior is the prior, so the gradients are those of the KLs to the prior."""
    return Posterior(toy_prior(), Reward(lambda prompts, completions: [0.0] * len(completions), 1.0))


def third_logits(tokens: tuple[int, ...]) -> list[float]:
    return [0.6 * math.sin(4 + sum(tokens) + 2.3 * k + len(tokens)) for k in range(3)]


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), PROMPTS)


@pytest.fixture(scope="module")
def policy() -> TabularPolicy:
    return free_policy(toy_a(), PROMPTS, toy_policy())


@pytest.fixture(scope="module")
def steps(policy: TabularPolicy, exact: Exact) -> torch.Tensor:
    return scores(policy, PROMPTS, exact)


def reverse(policy: TabularPolicy, exact: Exact) -> torch.Tensor:
    """∇KL(π‖p*)."""
    return gradient(policy, kl(log_law(policy, PROMPTS, exact), exact.log_p))


def forward(policy: TabularPolicy, exact: Exact) -> torch.Tensor:
    """∇KL(p*‖π)."""
    return gradient(policy, kl(exact.log_p, log_law(policy, PROMPTS, exact)))


@pytest.mark.parametrize("size", [2, 3])
def test_leave_one_out_is_the_reverse_kl_gradient(policy: TabularPolicy, exact: Exact, size: int) -> None:
    """Over all 961 pairs, or 29,791 triples. Rejects a baseline that holds the row itself: 1/2 or 2/3 of it."""
    found = expected(leave_one_out_gradient, policy, toy_a(), PROMPTS, size)
    wanted = reverse(policy, exact)
    assert float(wanted.norm()) > 0.1
    assert torch.allclose(found, wanted, atol=TOLERANCE, rtol=0)


def test_it_is_the_gradient_of_the_objective(policy: TabularPolicy, exact: Exact) -> None:
    """∇KL(π‖p*) = −∇J/β with J = E_π[r] − β KL(π‖π0), by central differences too."""
    log_pi = log_law(policy, PROMPTS, exact)
    j = (torch.exp(log_pi) * (exact.log_lik - log_pi + exact.log_prior)).sum()
    wanted = reverse(policy, exact)
    assert torch.allclose(-gradient(policy, j), wanted, atol=TOLERANCE, rtol=0)
    start, step = policy.state()["logits"], 1e-6
    for at in ((0, 0), (3, 1), (14, 2)):
        sides = []
        for sign in (1, -1):
            moved = start.clone()
            moved[at] += sign * step
            policy.restore({"logits": moved})
            sides.append(float(kl(log_law(policy, PROMPTS, exact).detach(), exact.log_p)))
        policy.restore({"logits": start})
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(wanted.view_as(start)[at]), abs=1e-8)


def test_no_variance_at_the_posterior(exact: Exact) -> None:
    """At π = p* every pair's gradient is zero, not only their mean. Rejects a KL outside the baselined return."""
    best = at_optimum(toy_a(), PROMPTS)
    every = torch.cartesian_prod(torch.arange(31), torch.arange(31))
    token_q = best.score(PROMPTS, exact.completions)
    c = coefficients(leave_one_out_gradient, groups_of(best, toy_a(), PROMPTS, every, token_q), 2)
    assert float(c.abs().max()) < 1e-12
    single = replace(
        groups_of(best, toy_a(), PROMPTS, torch.arange(31)[:, None], token_q),
        log_z=torch.full((31,), exact.log_z, dtype=torch.float64),
    )
    assert float(coefficients(weighted_likelihood, single, 1).abs().max()) < 1e-12


PROPOSALS: dict[str, Callable[[], TablePrior]] = {
    "prior": toy_prior,
    "policy": toy_policy,
    "third": lambda: TablePrior(third_logits, 3, 2, 4),
}


def per_draw(
    policy: TabularPolicy, posterior: Posterior, proposal: TablePrior, baseline: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(31,) chances under the proposal, and each sequence's coefficient with the exact log Z."""
    exact = enumerate_posterior(posterior, PROMPTS)
    token_q = proposal.score(PROMPTS, exact.completions)
    single = replace(
        groups_of(policy, posterior, PROMPTS, torch.arange(31)[:, None], token_q),
        log_z=torch.full((31,), exact.log_z, dtype=torch.float64),
    )
    c = coefficients(lambda scored: weighted_likelihood(scored, baseline), single, 1)
    return torch.exp(token_q.sum(-1)), c.squeeze(1)


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("name", PROPOSALS)
def test_weighted_likelihood_is_the_forward_kl_gradient(
    policy: TabularPolicy, exact: Exact, steps: torch.Tensor, name: str, baseline: bool
) -> None:
    """Whatever the proposal. Rejects a baseline without π/q, where the proposal is not the policy."""
    chance, c = per_draw(policy, toy_a(), PROPOSALS[name](), baseline)
    assert torch.allclose((chance * c) @ steps, forward(policy, exact), atol=TOLERANCE, rtol=0)


def test_baseline_lowers_the_variance_of_dpg(exact: Exact) -> None:
    """Total variance of one draw's gradient at π = π0: 1.9079 without, 1.0911 with (SCIENCE 3.4)."""
    start = free_policy(toy_a(), PROMPTS)
    g = scores(start, PROMPTS, exact)
    for baseline, wanted in ((False, 1.9079), (True, 1.0911)):
        chance, c = per_draw(start, toy_a(), toy_prior(), baseline)
        variance = (chance * c**2 * (g**2).sum(1)).sum() - ((chance * c) @ g).square().sum()
        assert float(variance) == pytest.approx(wanted, abs=0.5001e-4)


def test_golden_norms(policy: TabularPolicy, steps: torch.Tensor) -> None:
    """‖∇KL(π‖π0)‖ and ‖∇KL(π0‖π)‖ of SCIENCE 0, through the losses: evidence of 0 nats leaves the KL to the prior."""
    found = expected(leave_one_out_gradient, policy, nothing_learnt(), PROMPTS, 2)
    assert float(found.norm()) == pytest.approx(0.2010694057, abs=0.5001e-10)
    chance, c = per_draw(policy, nothing_learnt(), toy_policy(), True)
    assert float(((chance * c) @ steps).norm()) == pytest.approx(0.3450979240, abs=0.5001e-10)


def test_table_of_estimators(policy: TabularPolicy, exact: Exact, steps: torch.Tensor) -> None:
    """SCIENCE 2.3 row by row: coefficients c in E_π[c ∇log π], which say what each common KL term does."""
    log_pi = log_law(policy, PROMPTS, exact).detach()
    p, ratio = torch.exp(log_pi), torch.exp(exact.log_prior - log_pi)
    k1 = log_pi - exact.log_prior

    def g(c: torch.Tensor) -> torch.Tensor:
        return (p * c) @ steps

    flat = enumerate_posterior(nothing_learnt(), PROMPTS)
    true, other = reverse(policy, flat), forward(policy, flat)

    def cosine(c: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(g(c), true, dim=0))

    assert torch.allclose(g(k1), true, atol=1e-14)
    assert torch.allclose(g(torch.ones(31)), torch.zeros(45, dtype=torch.float64), atol=1e-14)  # k1 as loss
    assert torch.allclose(g(1 - ratio), other, atol=1e-14)  # k3 as loss
    assert torch.allclose(g(ratio - 1 + k1), true - other, atol=1e-14)  # k3 in the reward
    assert cosine(1 - ratio) == pytest.approx(0.9620, abs=0.5001e-4)
    assert cosine(ratio - 1 + k1) == pytest.approx(-0.8117, abs=0.5001e-4)
    assert cosine(k1**2 / 2) == pytest.approx(-0.6912, abs=0.5001e-4)


def test_self_normalised_weights_are_biased_by_one_over_n(exact: Exact) -> None:
    """Exact for any n by E[1/(w + S)] = ∫ e^{−tw} E[e^{−tw}]^{n−1} dt; the code at n = 2 by all pairs; slope −1."""
    start = free_policy(toy_a(), PROMPTS)
    q, w = torch.exp(exact.log_prior), torch.exp(exact.log_lik)
    nodes = torch.linspace(-40, 6, 4001, dtype=torch.float64)  # t = e^u, trapezium rule: exponentially accurate
    t, width = torch.exp(nodes), float(nodes[1] - nodes[0])
    damped = torch.exp(-t[:, None] * w)

    def mean_share(n: int) -> torch.Tensor:
        """(31,) E[n w_1/Σw | x_1 = x]."""
        others = (damped @ q) ** (n - 1)
        return n * w * ((t * others)[:, None] * damped).sum(0) * width

    g = scores(start, PROMPTS, exact)
    by_code = expected(lambda s: weighted_likelihood(s, False), start, toy_a(), PROMPTS, 2)
    assert torch.allclose(by_code, -(q * mean_share(2)) @ g, atol=1e-10)
    wanted = forward(start, exact)
    sizes = [100, 200, 400, 800]
    bias = [float((-(q * mean_share(n)) @ g - wanted).norm()) for n in sizes]
    slope = math.log(bias[-1] / bias[0]) / math.log(sizes[-1] / sizes[0])
    assert slope == pytest.approx(-1, abs=0.02)


def lm_batch(prior: LMPrior, policy: LMPolicy, on_policy: bool) -> Batch:
    prompts = prior.codec.prompts([(1, 2, 6), (3,), (1, 2, 6)])
    completions, log_q = (policy if on_policy else prior).sample(Key(3), prompts, 4)
    log_lik = torch.linspace(-2, 1, len(completions), dtype=torch.float64)
    log_prior = prior.score(prompts, completions)
    return Batch(prompts, completions, log_q, log_prior, log_lik, on_policy=on_policy)


def plain_gradient(policy: LMPolicy, batch: Batch, loss: Callable) -> tuple[list[torch.Tensor], dict]:
    """One pass over all rows with its graph: no pieces, no recorded log-probabilities."""
    log_pi = policy.lm.log_probs(batch.prompts, batch.completions, policy.temperature)
    log_pi = torch.where(batch.completions.mask, log_pi, 0.0)
    args = (batch.log_prior, batch.log_q, batch.log_lik, batch.completions.mask, batch.completions.prompt)
    value, info = loss(Scored(log_pi, *args, len(batch.prompts)))
    return list(torch.autograd.grad(value, policy.trainer.parameters)), dict(info)


def accumulated(policy: LMPolicy, batch: Batch, loss: Callable, tokens: int) -> tuple[list[torch.Tensor], dict]:
    policy.trainer.forget()
    policy.train_tokens = tokens
    info = policy.forward_backward(batch, loss)
    grads = [p.grad.clone() for p in policy.trainer.parameters if p.grad is not None]
    policy.trainer.forget()
    return grads, dict(info)


@pytest.mark.parametrize("on_policy", [True, False])
@pytest.mark.parametrize("build", [llama, gpt2], ids=["llama", "gpt2"])
def test_pieces_add_up_to_one_pass(build: Callable[[], LMPrior], on_policy: bool) -> None:
    """To 1e-10 in float64, for a loss whose rows know each other; one, several and single-row pieces."""
    prior = build()
    loss = leave_one_out_gradient if on_policy else weighted_likelihood
    made = full_policy(prior, freeze_embeddings=False) if on_policy else lora_policy(prior, Key(1), 2)
    moved = {
        n: x + 0.1 * torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape) for n, x in made.state().items()
    }
    made.restore(moved)
    batch = lm_batch(prior, made, on_policy)
    wanted, said = plain_gradient(made, batch, loss)
    assert sum(float(g.norm()) for g in wanted) > 1e-3
    for tokens in (1000, 12, 1):
        found, info = accumulated(made, batch, loss, tokens)
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, atol=TOLERANCE, rtol=0)
        assert info == pytest.approx(said, abs=1e-9)


def test_rows_without_a_coefficient_are_skipped_and_nothing_changes() -> None:
    """Two of three prompts have equal returns, so their rows need no backward pass: only one is run."""
    prior = llama()
    made = lora_policy(prior, Key(1), 2)
    batch = lm_batch(prior, made, True)
    uneven = batch.completions.prompt == 1
    equal = torch.where(batch.completions.mask, batch.log_q, 0.0)  # no KL, so the return is the evidence alone
    batch = replace(batch, log_prior=equal, log_lik=torch.where(uneven, batch.log_lik, 0.5))
    wanted, _ = plain_gradient(made, batch, leave_one_out_gradient)
    seen: list[int] = []

    def look(completions: object) -> dict[str, torch.Tensor]:
        seen.append(len(completions))  # pyright: ignore[reportArgumentType]
        return {"log_pi": made.lm.log_probs(batch.prompts, completions)}  # pyright: ignore[reportArgumentType]

    pieces = made.lm.pieces(batch.prompts, batch.completions, 6)
    accumulate(batch, leave_one_out_gradient, pieces, look, lambda rows: made.score(batch.prompts, rows))
    assert sum(seen) == 4  # of 12 rows
    for p, w in zip(made.trainer.parameters, wanted, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, w, atol=TOLERANCE, rtol=0)


def test_the_test_policy_is_where_the_notes_put_it() -> None:
    policy = free_policy(toy_a(), PROMPTS, toy_policy())
    assert policy.next_logits(policy.start(PROMPTS, 1))[0].tolist() == pytest.approx(policy_logits(()))


@pytest.mark.parametrize("seed", [20, 21, 22])
@pytest.mark.parametrize("check", [check_reverse_gradient, check_forward_gradient, check_own_log_z])
def test_away_from_the_test_policy_too(check: Callable[[int], None], seed: int) -> None:
    """What tests/mutants/test_learn_mutants.py runs on wrong learners, through Reinforce and DPG as users call them."""
    check(seed)
