"""Balance: exact gradients, REINFORCE's in another dress, p* from draws of any law, and the flows beside a policy."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Batch, Guide, Policy, Scored, Valued
from credence.learn.a_star_po import AStarPO, soft_value
from credence.learn.balance import TrajectoryBalance, VarGrad
from credence.learn.collect import Learner, ValueLearner
from credence.learn.loop import fit
from credence.learn.losses.balance import balance, log_variance
from credence.learn.losses.groups import leave_one_out, row_weights
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.values.path import PathConsistency
from credence.learn.values.subtb import SubTB
from credence.posterior.exact import enumerate_posterior
from credence.prior.flowing import Flowing, known_log_z, learnt_log_z, with_state_flow, with_table_flow
from credence.prior.policy import lora_policy
from credence.prior.train import scored
from tests import balancing
from tests.balancing import flowing
from tests.learning import (
    PROMPTS,
    REACHED,
    at_optimum,
    every_sequence,
    free_policy,
    mean_kl,
    somewhere,
    stored_draws,
)
from tests.tiny import llama
from tests.toys import toy_a, toy_two, two_prompts

CHECKS = ("balance_gradient", "balance_off_policy", "var_grad_two_prompts", "subtb_gradient")
INF = float("inf")


@pytest.mark.parametrize("check", CHECKS)
def test_gradients(check: str) -> None:
    getattr(balancing, f"check_{check}")(20)


def slope(loss: object, given: Scored) -> Tensor:
    given = replace(given, log_pi=given.log_pi.detach().requires_grad_())
    loss(given)[0].backward()  # pyright: ignore
    assert given.log_pi.grad is not None
    return given.log_pi.grad


@pytest.mark.parametrize("own", [True, False], ids=["on policy", "off policy"])
def test_var_grad_is_leave_one_out_reinforce_draw_by_draw(own: bool) -> None:
    """On the policy's draws, and on a uniform law's, where REINFORCE's weight π/q is left off: to the last digits."""
    policy = somewhere(2)
    if own:
        rows, log_q = policy.sample(Key(1), PROMPTS.take([0] * 4), 3)
        log_prior = toy_a().prior.score(PROMPTS.take([0] * 4), rows)
        lik = toy_a().log_lik(PROMPTS.take([0] * 4), rows)
        batch = Batch(PROMPTS.take([0] * 4), rows, log_q, log_prior, lik)
    else:
        batch = every_sequence(toy_a(), PROMPTS)
    given = scored(batch, policy.score(batch.prompts, batch.completions))
    unweighted = replace(given, log_q=given.log_pi.detach())
    found, wanted = slope(log_variance, given), slope(leave_one_out_gradient, unweighted)
    assert float(wanted.abs().max()) > 0.01
    assert torch.allclose(found, wanted, atol=1e-14, rtol=0)


@pytest.mark.parametrize("learner", [TrajectoryBalance(), VarGrad(), AStarPO()])
def test_nothing_is_left_at_the_posterior(learner: Learner) -> None:
    """Loss and gradient are 0 at p* and log Z, draw by draw, and log Z is told."""
    policy, batch = at_optimum(toy_a(), PROMPTS), every_sequence(toy_a(), PROMPTS)
    log_z = enumerate_posterior(toy_a(), PROMPTS).log_z
    given = scored(
        replace(batch, log_z=torch.tensor([log_z], dtype=torch.float64)), policy.score(PROMPTS, batch.completions)
    )
    loss, info = learner.loss(given)
    assert float(loss) < 1e-20
    assert float(slope(learner.loss, given).abs().max()) < 1e-12
    assert info["imbalance"] < 1e-10
    assert info["log_z"] == pytest.approx(log_z, abs=1e-10)


def test_a_balance_without_log_z_says_where_to_get_one() -> None:
    given = scored(every_sequence(toy_a(), PROMPTS), torch.zeros(31, 4, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"learnt_log_z.*VarGrad"):
        balance(given)


@pytest.mark.parametrize("loss", [balance, log_variance])
def test_an_impossible_draw_is_refused_with_remedies(loss: object) -> None:
    given = scored(every_sequence(toy_a(), PROMPTS), torch.zeros(31, 4, dtype=torch.float64))
    lik = given.log_lik.clone()
    lik[:2] = -INF
    hard = replace(given, log_lik=lik, log_z=torch.zeros(1, dtype=torch.float64))
    with pytest.raises(ContractError, match=r"2 of 31 .*Ended\(cut=-3\.0\).*DPG.*rejection, SMC"):
        loss(hard)  # pyright: ignore


def test_a_single_draw_has_no_variance() -> None:
    with pytest.raises(ConfigError, match="group=1"):
        VarGrad(group=1)
    given = scored(every_sequence(toy_a(), PROMPTS), torch.zeros(31, 4, dtype=torch.float64))
    lone = replace(given, prompt=torch.arange(31), prompts=31)
    with pytest.raises(ShapeError, match="single draw"):
        log_variance(lone)


def trained(learner: Learner | ValueLearner, policy: Policy, steps: int) -> None:
    fit(toy_a(), policy, PROMPTS, learner, Key(4), steps, stored=every_sequence(toy_a(), PROMPTS))


def fixed_return(given: Scored) -> tuple[Tensor, dict[str, float]]:
    """REINFORCE as it is taught: the return of when the draw was made, without π/q."""
    back = given.log_lik - (given.log_q - given.log_prior).sum(-1)
    log_pi = torch.where(given.mask, given.log_pi, 0.0).sum(-1)
    return -(row_weights(given) * leave_one_out(back, given) * log_pi).sum(), {}


class Taught(VarGrad):
    def loss(self, scored: Scored) -> tuple[Tensor, dict[str, float]]:
        return fixed_return(scored)


def test_uniform_draws_teach_the_posterior_where_reinforce_fails() -> None:
    """Every sequence once, as a uniform law drew it. Rejects a REINFORCE without π/q, which ends far from p*."""
    found = {}
    for name, learner in {"VarGrad": VarGrad(1, 100, 0.2), "taught": Taught(1, 100, 0.2)}.items():
        policy = free_policy(toy_a(), PROMPTS)
        trained(learner, policy, 110)
        found[name] = mean_kl(policy, toy_a(), PROMPTS)
    assert found["VarGrad"] < REACHED
    assert found["taught"] > 100 * REACHED


def test_trajectory_balance_learns_policy_and_log_z_of_each_prompt() -> None:
    policy = learnt_log_z(free_policy(toy_two(), two_prompts()), two_prompts(), 5.0)
    stored = every_sequence(toy_two(), two_prompts())
    fit(toy_two(), policy, two_prompts(), TrajectoryBalance(1, 100, 0.1), Key(4), 250, stored=stored)
    assert mean_kl(policy.inner, toy_two(), two_prompts()) < REACHED  # pyright: ignore
    wanted = [enumerate_posterior(toy_two(), two_prompts().take([b])).log_z for b in range(2)]
    assert policy.flow.root(two_prompts()).tolist() == pytest.approx(wanted, abs=0.02)


def test_a_wrong_log_z_moves_the_minimum_off_policy_only() -> None:
    """Held 1 nat too high on uniform draws TB ends elsewhere; on its own draws it is a baseline."""
    held = torch.tensor([enumerate_posterior(toy_a(), PROMPTS).log_z + 1.0])
    off = free_policy(toy_a(), PROMPTS)
    trained(TrajectoryBalance(1, 100, 0.1), known_log_z(off, PROMPTS, held), 150)
    assert mean_kl(off, toy_a(), PROMPTS) > 10 * REACHED
    own = free_policy(toy_a(), PROMPTS)
    wrapped = known_log_z(own, PROMPTS, held)
    fit(toy_a(), wrapped, PROMPTS, TrajectoryBalance(1, 256, 0.05, on_policy=True), Key(4), 150)
    assert mean_kl(own, toy_a(), PROMPTS) < 5 * REACHED


def test_a_star_po_reaches_the_posterior_from_single_draws() -> None:
    """V̂ of 300 prior draws is off by 0.05 nats or so; 64 prompts a step, of one draw each."""
    many = PROMPTS.take([0] * 64)
    draws = stored_draws(toy_a(), PROMPTS, Key(3), 300)
    policy = free_policy(toy_a(), PROMPTS)
    wrapped = known_log_z(policy, many, soft_value(draws).expand(64))
    fit(toy_a(), wrapped, many, AStarPO(64, 1, 0.1), Key(5), 150)
    assert mean_kl(policy, toy_a(), PROMPTS) < 2 * REACHED


def test_soft_value_is_log_z_of_weighted_draws() -> None:
    """From every sequence once with its uniform log_q it is exact; each prompt has its own."""
    wanted = [enumerate_posterior(toy_two(), two_prompts().take([b])).log_z for b in range(2)]
    assert soft_value(every_sequence(toy_two(), two_prompts())).tolist() == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("learner", [SubTB(1, 100, 0.2), PathConsistency(1, 100, 0.2, span=2)], ids=["SubTB", "paths"])
def test_paths_over_a_policy_reach_the_posterior_and_log_z(learner: ValueLearner) -> None:
    """A plain policy and values beside it, from a uniform law's draws."""
    policy = with_table_flow(free_policy(toy_a(), PROMPTS))
    trained(learner, policy, 150)
    assert mean_kl(policy.inner, toy_a(), PROMPTS) < REACHED  # pyright: ignore
    log_z = enumerate_posterior(toy_a(), PROMPTS).log_z
    assert float(policy.flow.root(PROMPTS).detach()) == pytest.approx(log_z, abs=0.02)


def test_whole_paths_over_a_policy_are_var_grad() -> None:
    """Full-path consistency is trajectory balance (SCIENCE 3.5): the same gradient, on draws that weigh the same."""
    made = flowing(1)
    batch = every_sequence(toy_a(), PROMPTS)
    equal = replace(batch, log_q=batch.log_prior)  # as if each were a draw of the prior
    found = []
    for backward, loss in (
        (made.value_backward, PathConsistency().value_loss),
        (made.forward_backward, VarGrad().loss),
    ):
        made.inner.logits.grad = None  # pyright: ignore
        backward(equal, loss)  # pyright: ignore
        found.append(made.inner.logits.grad.clone())  # pyright: ignore
    assert torch.allclose(found[0], 2 * 30 / 31 * found[1], atol=1e-12, rtol=0)


def test_long_pieces_alone_are_trajectory_balance() -> None:
    """λ = 1e12 leaves whole replies, whose V(root) is log Z."""
    made = flowing(3)
    batch = every_sequence(toy_a(), PROMPTS)
    found = []
    for backward, loss in (
        (made.value_backward, SubTB(decay=1e12).value_loss), (made.forward_backward, TrajectoryBalance().loss),
    ):  # fmt: skip
        made.inner.logits.grad = None  # pyright: ignore
        backward(batch, loss)  # pyright: ignore
        found.append(made.inner.logits.grad.clone())  # pyright: ignore
    assert torch.allclose(found[0], found[1], atol=1e-9, rtol=0)


def test_a_flow_changes_no_law_and_is_kept_with_the_policy() -> None:
    """Draws, scores, state and moments; another one given both goes on to the same bytes."""
    inner = somewhere(4)
    made = learnt_log_z(inner, PROMPTS, 7.0)
    assert isinstance(made, Policy)
    assert isinstance(made, Guide)
    ours, theirs = made.sample(Key(2), PROMPTS, 5), inner.sample(Key(2), PROMPTS, 5)
    assert ours[0].tokens() == theirs[0].tokens()
    assert torch.equal(made.score(PROMPTS, ours[0]), inner.score(PROMPTS, ours[0]))
    batch = every_sequence(toy_a(), PROMPTS)

    def go(policy: Flowing, steps: int) -> None:
        for _ in range(steps):
            policy.forward_backward(batch, TrajectoryBalance().loss)
            policy.step(0.1)

    go(made, 2)
    state, moments = made.state(), {name: value.clone() for name, value in made.moments().items()}
    assert set(state) == {"logits", "flow/log_z"}
    go(made, 2)
    last = made.state()
    for given, same in ((moments, True), (None, False)):
        other = learnt_log_z(free_policy(toy_a(), PROMPTS), PROMPTS, 7.0)
        other.restore(state, given)
        go(other, 2)
        assert all(torch.equal(value, last[name]) for name, value in other.state().items()) == same


def test_the_norm_is_of_both_gradients() -> None:
    made, batch = learnt_log_z(somewhere(4), PROMPTS), every_sequence(toy_a(), PROMPTS)
    made.forward_backward(batch, TrajectoryBalance().loss)
    log_z = made.flow.parameters["log_z"]
    assert log_z.grad is not None
    both = torch.cat([made.inner.logits.grad.flatten(), log_z.grad])  # pyright: ignore
    before = float(log_z.detach())
    assert made.step(0.01)["grad_norm"] == pytest.approx(float(both.norm()), abs=1e-12)
    assert abs(float(log_z.detach()) - before) == pytest.approx(0.3, rel=1e-3)  # Adam's first step: rate × lr


def test_a_known_log_z_stays() -> None:
    made = known_log_z(somewhere(4), PROMPTS, torch.tensor([0.7]))
    made.forward_backward(every_sequence(toy_a(), PROMPTS), TrajectoryBalance().loss)
    made.step(0.1)
    assert made.flow.root(PROMPTS).tolist() == [pytest.approx(0.7)]
    assert set(made.moments()) == {"step/logits", "exp_avg/logits", "exp_avg_sq/logits"}


def test_values_of_unfinished_texts_are_read_as_states() -> None:
    made = flowing(5)
    rows = enumerate_posterior(toy_a(), PROMPTS).completions
    begun = replace(rows.rows(~rows.ended), ids=rows.ids[~rows.ended][:, :2], mask=rows.mask[~rows.ended][:, :2])
    found = made.log_state(PROMPTS, begun)
    v, places = made.flow.parameters["v"], made.inner.places  # pyright: ignore
    assert found.tolist() == [float(v[places[(), tuple(row)]].detach()) for row in begun.tokens()]
    with pytest.raises(ConfigError, match='shape="state"'):
        made.log_value(PROMPTS, begun)


def test_what_a_flow_cannot_do_is_named() -> None:
    policy = free_policy(toy_a(), PROMPTS)
    for rate in (0.0, -1.0, INF, float("nan")):
        with pytest.raises(ConfigError, match="step size"):
            learnt_log_z(policy, PROMPTS, rate)
    for wrong in (torch.zeros(2), torch.tensor([INF])):
        with pytest.raises(ConfigError, match="one finite number"):
            known_log_z(policy, PROMPTS, wrong)
    made = learnt_log_z(policy, PROMPTS)
    with pytest.raises(ConfigError, match="has no log Z"):
        made.flow.root(two_prompts())
    with pytest.raises(ConfigError, match="no value of prefixes"):
        made.value_backward(every_sequence(toy_a(), PROMPTS), SubTB().value_loss)
    for decay in (0.0, INF, float("nan")):
        with pytest.raises(ConfigError, match="decay"):
            SubTB(decay=decay)


def lm_rows(on_policy: bool) -> tuple[Flowing, Batch]:
    prior = llama()
    policy = lora_policy(prior, Key(1), 2)
    made = with_state_flow(policy, prior)
    noise = {n: 0.2 * torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape) for n, x in made.state().items()}
    made.restore({n: x + noise[n] for n, x in made.state().items()})
    prompts = prior.codec.prompts([(1, 2, 6), (3,), (1, 2, 6)])
    rows, log_q = made.sample(Key(3), prompts, 3)
    log_prior, lik = prior.score(prompts, rows), torch.linspace(-2, 1, len(rows), dtype=torch.float64)
    return made, Batch(prompts, rows, log_q, log_prior, lik, on_policy=on_policy)


@pytest.mark.parametrize("on_policy", [True, False])
def test_a_language_model_s_flow_has_the_gradient_of_one_pass(on_policy: bool) -> None:
    """log Z and V from the frozen states of prompts and prefixes: whole pieces against plain autograd, to 1e-10."""
    made, batch = lm_rows(on_policy)
    head = list(made.flow.parameters.values())
    policy = made.inner
    own = policy.trainer.parameters  # pyright: ignore
    log_pi = policy.lm.log_probs(batch.prompts, batch.completions)  # pyright: ignore
    log_pi = torch.where(batch.completions.mask, log_pi.double(), 0.0)
    v = made.flow.along(batch.prompts, batch.completions)
    assert torch.allclose(v[::3, 0], made.flow.root(batch.prompts), atol=1e-9)
    given = replace(scored(batch, log_pi), log_z=v[::3, 0])
    seen: list[Valued] = []

    def keep(valued: Valued) -> tuple[Tensor, dict[str, float]]:
        seen.append(valued)
        value, info = SubTB().value_loss(valued)
        return value, dict(info)

    wanted = torch.autograd.grad(balance(given)[0], [*own, *head])
    policy.train_tokens = 12  # pyright: ignore
    made.forward_backward(batch, TrajectoryBalance().loss)
    for p, w in zip([*own, *head], wanted, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, w, atol=1e-9, rtol=0)
    policy.trainer.forget()  # pyright: ignore
    made.value_backward(batch, keep)
    ratio = torch.where(batch.completions.mask, log_pi.detach() - batch.log_prior, 0.0)
    assert torch.allclose(seen[0].chosen() - seen[0].soft(), ratio, atol=1e-9)
    assert torch.allclose(seen[0].state(), v, atol=1e-9)
    assert all(p.grad is not None for p in [*own, *head])
