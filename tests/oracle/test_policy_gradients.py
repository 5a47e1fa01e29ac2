"""Rao-Blackwell REINFORCE, PPO, reuse: expected gradients by enumeration of TOY-A, and what training reaches."""

from dataclasses import replace

import pytest
import torch

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.learn.loop import fit
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.ppo import PPO
from credence.learn.rao_blackwell import RaoBlackwell
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import Exact, enumerate_posterior
from credence.prior.tabular import TabularPolicy, tabular_policy
from credence.testing.group_law import every_tuple
from tests.learning import PROMPTS, REACHED, at_optimum, free_policy, groups_of, mean_kl, somewhere
from tests.policy_gradients import (
    check_ppo,
    check_rao_blackwell,
    expected_by_token,
    flat,
    reverse,
    token_gradients,
)
from tests.toys import toy_a, toy_policy, toy_prior


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), PROMPTS)


@pytest.fixture(scope="module")
def policy() -> TabularPolicy:
    return free_policy(toy_a(), PROMPTS, toy_policy())


@pytest.mark.parametrize("seed", [20, 21])
@pytest.mark.parametrize("check", [check_rao_blackwell, check_ppo])
def test_expected_gradient_is_that_of_the_reverse_kl(check: object, seed: int) -> None:
    """All pairs, to 1e-10, whatever the value says. What tests/mutants runs on wrong learners."""
    check(seed)  # pyright: ignore[reportCallIssue]


def test_a_share_of_nothing_is_leave_one_out(policy: TabularPolicy, exact: Exact) -> None:
    """Row by row, not only in the mean."""
    token_q = policy.score(PROMPTS, exact.completions)
    slopes = []
    for loss in (leave_one_out_gradient, RaoBlackwell(share=0.0).loss):
        given = groups_of(policy, toy_a(), PROMPTS, every_tuple(2, 31)[::7], token_q)
        slopes.append(flat(replace(given, kl=torch.ones_like(given.log_q)), loss))
    assert torch.allclose(slopes[0], slopes[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss", [leave_one_out_gradient, RaoBlackwell().loss], ids=["plain", "rao-blackwell"])
def test_rows_of_another_law_are_corrected(policy: TabularPolicy, exact: Exact, loss: object) -> None:
    """Drawn from the prior, learnt by the test policy: π/q makes the gradient exact. Rejects rows as they come."""
    start = free_policy(toy_a(), PROMPTS)
    found = expected_by_token(loss, policy, toy_a(), 2, law=start)  # pyright: ignore[reportArgumentType]
    assert torch.allclose(found, reverse(policy, exact), atol=1e-10, rtol=0)


def test_the_kl_of_each_token_adds_up(policy: TabularPolicy, exact: Exact) -> None:
    """E[Σ_t KL_t] = KL(π‖π0) = 0.1958249745 (SCIENCE 0); standard deviations 0.459310 of Σℓ, 0.147787 of ΣKL (2.2)."""
    chance = torch.exp(policy.score(PROMPTS, exact.completions).sum(-1))
    exact_kl = policy.kl(PROMPTS, exact.completions, toy_prior()).detach().sum(-1)
    drawn = (policy.score(PROMPTS, exact.completions) - toy_prior().score(PROMPTS, exact.completions)).sum(-1)
    for values, sd in ((drawn, 0.459310), (exact_kl, 0.147787)):
        mean = float((chance * values).sum())
        assert mean == pytest.approx(0.1958249745, abs=1e-10)
        assert float((chance * (values - mean).square()).sum().sqrt()) == pytest.approx(sd, abs=0.5001e-6)


def noise(policy: TabularPolicy, exact: Exact, share: float, paid: float = 1.0) -> float:
    """Total variance of one draw's gradient with the mean return as baseline; `paid` 0 leaves the evidence out."""
    rows = exact.completions
    by_token, by_kl = token_gradients(policy, exact)
    log_pi = policy.score(PROMPTS, rows)
    chance = torch.exp(log_pi.sum(-1))
    drawn = torch.where(rows.mask, log_pi - toy_prior().score(PROMPTS, rows), 0.0)
    fixed = policy.kl(PROMPTS, rows, toy_prior()).detach()
    mixed = share * fixed + (1 - share) * drawn
    back = paid * exact.log_lik - mixed.sum(-1)
    after = mixed.flip(1).cumsum(1).flip(1) - share * fixed
    before = drawn.cumsum(1) - drawn
    a = (paid * exact.log_lik - (chance * back).sum())[:, None] - before - after
    g = torch.einsum("rt,rtp->rp", a, by_token) - share * by_kl.sum(1)
    mean = chance @ g
    return float((chance * g.square().sum(1)).sum() - mean.square().sum())


def test_what_is_less_noisy_where(policy: TabularPolicy, exact: Exact) -> None:
    """The KL's gradient is; the whole gradient only where the evidence does not pay for the KL. At p* it is not."""
    best, uniform = at_optimum(toy_a(), PROMPTS), free_policy(toy_a(), PROMPTS)
    uniform.restore({"logits": torch.zeros(15, 3, dtype=torch.float64)})
    assert noise(policy, exact, 1.0, paid=0.0) < 0.4 * noise(policy, exact, 0.0, paid=0.0)
    assert noise(uniform, exact, 1.0) < 0.7 * noise(uniform, exact, 0.0)
    assert noise(best, exact, 0.0) < 1e-20 < 0.4 < noise(best, exact, 1.0)


@pytest.mark.parametrize(
    ("learner", "steps"),
    [
        (RaoBlackwell(1, 128, 0.08), 200),
        (RaoBlackwell(1, 64, 0.1, share=0.5), 150),
        (PPO(1, 64, 0.08, passes=2), 150),
        (PPO(1, 64, 0.08, passes=2, trace=0.8), 150),
        (PPO(4, 16, 0.05, passes=2, parts=2, value=False), 150),
        (Reinforce(1, 64, 0.05, passes=2), 150),
    ],
    ids=["rao-blackwell", "half", "ppo", "ppo-trace", "ppo-group", "reuse"],
)
def test_training_reaches_the_posterior(learner: Reinforce, steps: int) -> None:
    policy = tabular_policy(toy_prior(), PROMPTS, value=True)
    done = fit(toy_a(), policy, PROMPTS, learner, Key(11), steps)
    assert mean_kl(policy, toy_a(), PROMPTS) < REACHED
    assert all(record["ratio_ess"] > 0.5 for record in done.history)


def test_what_a_policy_cannot_give_is_asked_for_by_name() -> None:
    plain = free_policy(toy_a(), PROMPTS)
    with pytest.raises(ConfigError, match="value=True"):
        fit(toy_a(), plain, PROMPTS, PPO(1, 4), Key(1), 1)
    given = groups_of(plain, toy_a(), PROMPTS, every_tuple(2, 31)[:3], plain.score(PROMPTS, exacts_rows()))
    with pytest.raises(ContractError, match='"kl" in `needs`'):
        RaoBlackwell().loss(given)
    with pytest.raises(ContractError, match='"value" in `needs`'):
        PPO().loss(given)
    cases = ((RaoBlackwell, "share", 1.5), (PPO, "clip", 1.0), (PPO, "trace", -0.1), (PPO, "group", 0))
    for kind, name, value in cases:
        with pytest.raises(ConfigError, match=name):
            kind(**{name: value})  # pyright: ignore[reportArgumentType]


def exacts_rows():  # noqa: ANN201 - completions of TOY-A
    return enumerate_posterior(toy_a(), PROMPTS).completions


def test_somewhere_is_not_where_the_prior_is() -> None:
    assert mean_kl(somewhere(20), toy_a(), PROMPTS) > 0.1
