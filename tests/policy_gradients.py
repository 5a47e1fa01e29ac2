"""Exact expected gradients of losses that look at single tokens, and the checks that mutants must fail."""

from dataclasses import replace

import torch
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Loss, Scored
from credence.learn.grpo import GRPO
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.ppo import PPO
from credence.learn.rao_blackwell import RaoBlackwell
from credence.learn.replay import Replay
from credence.learn.schedules import ToKL
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.tabular import TabularPolicy
from credence.testing.group_law import every_tuple
from tests.learning import PROMPTS, exacts, free_policy, gradient, groups_of, log_law, somewhere, stored_draws
from tests.toys import toy_a, toy_prior


def token_gradients(policy: TabularPolicy, exact: Exact) -> tuple[Tensor, Tensor]:
    """(31, 4, P): ∇log π of every token of every sequence, and ∇KL of its place; zero outside the mask."""
    rows = exact.completions
    out = []
    for values in (policy.log_probs(PROMPTS, rows), policy.kl(PROMPTS, rows, toy_prior())):
        flat = [torch.autograd.grad(x, policy.logits, retain_graph=True)[0].flatten() for x in values.flatten()]
        out.append(torch.stack(flat).view(*values.shape, -1))
    return out[0], out[1]


def expected_by_token(
    loss: Loss, policy: TabularPolicy, posterior: Posterior, size: int, law: TabularPolicy | None = None
) -> Tensor:
    """E[∇loss] over every `size`-tuple of independent draws of `law`, by default the policy itself, exactly.

    Each token may have a coefficient of its own, and the KL of each place one.
    """
    exact = exacts(posterior, PROMPTS)[0]
    tuples = every_tuple(size, 31)
    token_q = (law or policy).score(PROMPTS, exact.completions)
    given = groups_of(policy, posterior, PROMPTS, tuples, token_q)
    rows = tuples.flatten()
    exact_kl = policy.kl(PROMPTS, exact.completions, toy_prior()).detach()[rows].requires_grad_()
    place, _ = policy.locate(PROMPTS, exact.completions)
    value = torch.where(given.mask, torch.cos(2.0 * place.double())[rows], 0.0)  # any value of the prefix will do
    loss(replace(given, kl=exact_kl, value=value, value_q=value))[0].backward()
    chance = torch.exp(token_q.sum(-1)[tuples].sum(-1)).repeat_interleave(size)
    columns = (policy.log_probs(PROMPTS, exact.completions), policy.kl(PROMPTS, exact.completions, toy_prior()))
    total = torch.zeros((), dtype=torch.float64)
    for leaf, column in zip((given.log_pi, exact_kl), columns, strict=True):
        if leaf.grad is not None:
            mean = torch.zeros(31, 4, dtype=torch.float64)
            total = total + (mean.index_add(0, rows, chance[:, None] * leaf.grad * len(tuples)) * column).sum()
    return gradient(policy, total)


def reverse(policy: TabularPolicy, exact: Exact) -> Tensor:
    """∇KL(π‖p*)."""
    return gradient(policy, kl(log_law(policy, PROMPTS, exact), exact.log_p))


def check_token_gradient(loss: Loss, seed: int) -> None:
    """E[∇loss] over all pairs is ∇KL(π‖p*), on draws of the policy."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    wanted = reverse(policy, exact)
    assert float(wanted.norm()) > 0.1
    assert torch.allclose(expected_by_token(loss, policy, toy_a(), 2), wanted, atol=1e-10, rtol=0)


def check_rao_blackwell(seed: int) -> None:
    """With the whole KL, and with half of it, summed over the vocabulary."""
    for share in (1.0, 0.5):
        check_token_gradient(RaoBlackwell(share=share).loss, seed)


def check_ppo(seed: int) -> None:
    """With any value, and with the group as baseline; on the rows' own policy and λ = 1."""
    for value in (True, False):
        check_token_gradient(PPO(value=value).loss, seed)


def check_off_policy(seed: int) -> None:
    """Pairs drawn from the prior, learnt by another policy: π/q makes the gradient exact."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    for loss in (leave_one_out_gradient, RaoBlackwell().loss):
        found = expected_by_token(loss, policy, toy_a(), 2, law=free_policy(toy_a(), PROMPTS))
        assert torch.allclose(found, reverse(policy, exact), atol=1e-10, rtol=0)


def check_corrected(seed: int) -> None:
    """GRPO without spread, length and k3: half of ∇KL(π‖p*) over all pairs."""
    policy, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    found = expected_by_token(GRPO(spread=None, length=False, k3=False).loss, policy, toy_a(), 2)
    assert torch.allclose(found, 0.5 * reverse(policy, exact), atol=1e-10, rtol=0)


def check_controller(seed: int) -> None:
    """In a world whose KL is that of p*_{β/τ} at once, the KL comes to rest where it was asked for, from both sides."""
    exact = enumerate_posterior(toy_a(), PROMPTS)
    for wanted in (0.1, 0.3 + 0.01 * (seed % 40)):
        schedule, record = ToKL(toy_a(), wanted), {}
        for step in range(1, 200):
            tau = schedule(step, record).evidence.tau  # pyright: ignore[reportAttributeAccessIssue]
            tilted = torch.log_softmax(exact.log_prior + tau * exact.log_lik, -1)
            record = {"tau": tau, "kl_prior": float(kl(tilted, exact.log_prior))}
        assert abs(record["kl_prior"] - wanted) < 1e-3


def check_replay(seed: int) -> None:
    """What comes back is what was drawn, with its log q; what is too old does not, and what is kept survives a save."""
    prompts = PROMPTS.take([0, 0])
    store, born = Replay(2, 5, 3), {}
    for step in range(1, 7):
        fresh = stored_draws(toy_a(), prompts, Key(seed).fold(step), 3)
        joined, said = store.join(Key(seed), step, fresh, prompts)
        assert said["replay_groups"] == min(2, 2 * (step - 1))
        seen = {tuple(row): float(q) for row, q in zip(joined.completions.tokens(), joined.log_q.sum(-1), strict=True)}
        wanted = toy_prior().score(joined.prompts, joined.completions).sum(-1)
        assert torch.allclose(joined.log_q.sum(-1), wanted, atol=1e-12, rtol=0)
        assert not joined.on_policy
        assert len(joined.prompts) == 2 + said["replay_groups"]
        assert step == 1 or said["replay_age"] <= 3
        born[step] = seen
        store.add(step, [0, 1], fresh)
        assert len(store.kept) <= 5
        again = Replay(2, 5, 3)
        again.restore(store.state())
        store = again
    late = Replay(1, 9, 3, "refuse")
    late.add(1, [0, 1], stored_draws(toy_a(), prompts, Key(seed), 3))
    try:
        late.join(Key(seed), 9, stored_draws(toy_a(), prompts, Key(seed), 3), prompts)
    except ContractError as error:
        assert "older than the 3 steps" in str(error)  # noqa: PT017 - a check that mutants run, not a test
    else:
        raise AssertionError("rows of an age that is refused were learnt from")


def flat(scored: Scored, loss: Loss) -> Tensor:
    """(R, T) the slope of a loss in log π."""
    loss(scored)[0].backward()
    assert scored.log_pi.grad is not None
    return scored.log_pi.grad
