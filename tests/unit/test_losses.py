"""The pure losses and what they report, on numbers made by hand."""

import math
from dataclasses import replace

import pytest
import torch

from credence.core.errors import ContractError, ShapeError
from credence.core.protocols import Scored
from credence.learn.losses.forward_kl import posterior_weights, weighted_likelihood
from credence.learn.losses.groups import leave_one_out, log_sums, row_weights, sizes, summary, sums
from credence.learn.losses.policy_gradient import leave_one_out_gradient, returns

INF = math.inf


def nats(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scored(log_lik: list[float], log_pi: list[float], prompt: list[int], prompts: int, **more: torch.Tensor) -> Scored:
    """One token a row; the prior gives each row −2 nats, and rows were sampled from the policy unless log_q says."""
    pi = nats(*log_pi)[:, None]
    mask = torch.ones(len(log_pi), 1, dtype=torch.bool)
    made = Scored(
        pi.clone().requires_grad_(), torch.full_like(pi, -2), pi, nats(*log_lik), mask, torch.tensor(prompt), prompts
    )
    return replace(made, **more)  # pyright: ignore


def test_means_over_rows_then_over_prompts() -> None:
    """Groups of 2 and 1, and a prompt without rows."""
    given = scored([1, 3, 10], [-1, -1, -1], [0, 0, 2], 3)
    assert sizes(given).tolist() == [2, 0, 1]
    assert sums(given.log_lik, given).tolist() == [4, 0, 10]
    assert row_weights(given).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 3])
    assert log_sums(nats(0, math.log(3), -INF), given).tolist() == pytest.approx([math.log(4), -INF, -INF])
    assert log_sums(nats(-900, -900, 800), given).tolist() == pytest.approx([-900 + math.log(2), -INF, 800])
    said = summary(given)
    assert said["log_lik"] == pytest.approx((2 + 10) / 2)  # over the prompts that have rows
    assert said["kl_prior"] == pytest.approx(1)


def test_leave_one_out_knows_only_the_others() -> None:
    given = scored([0, 3, 9, 1, 2], [-1] * 5, [0, 0, 0, 1, 1], 2)
    assert leave_one_out(given.log_lik, given).tolist() == [-6, -1.5, 7.5, -1, 1]
    with pytest.raises(ShapeError, match="single draw"):
        leave_one_out_gradient(scored([0, 1, 2], [-1] * 3, [0, 0, 1], 2))


def test_the_kl_stands_in_the_return() -> None:
    """D = log_lik − log π/π0, by hand: 1 − (−1 + 2) = 0 and 0.5 − (−3 + 2) = 1.5."""
    given = scored([1, 0.5], [-1, -3], [0, 0], 1)
    assert returns(given).tolist() == [0, 1.5]
    loss, info = leave_one_out_gradient(given)
    loss.backward()
    assert given.log_pi.grad is not None
    assert given.log_pi.grad.flatten().tolist() == [0.75, -0.75]  # −A/2 with A = ∓1.5
    assert info["elbo"] == 0.75
    assert info["advantage_sd"] == pytest.approx(1.5 * math.sqrt(2))


def test_what_stands_behind_the_mask_counts_for_nothing() -> None:
    given = scored([1, 0.5], [-1, -3], [0, 0], 1)
    wide = [torch.cat([x.detach(), torch.zeros(2, 1)], 1) for x in (given.log_pi, given.log_prior, given.log_q)]
    mask = torch.tensor([[True, False]] * 2)
    padded = replace(given, log_pi=wide[0].requires_grad_(), log_prior=wide[1], log_q=wide[2], mask=mask)
    for loss in (leave_one_out_gradient, weighted_likelihood):
        assert float(loss(padded)[0].detach()) == float(loss(given)[0].detach())


def test_weights_have_mean_one_within_a_prompt() -> None:
    """Each prompt has its own Z: evidence that is 100 nats stronger everywhere changes nothing."""
    given = scored([0, math.log(3), 100, 100 + math.log(3)], [-2] * 4, [0, 0, 1, 1], 2)
    assert posterior_weights(given).tolist() == pytest.approx([0.5, 1.5, 0.5, 1.5])
    known = replace(given, log_z=nats(0, 100))
    assert posterior_weights(known).tolist() == pytest.approx([1, 3, 1, 3])


def test_weights_divide_the_proposal_out() -> None:
    """π0/q = e for the first row, 1 for the second."""
    given = scored([0, 0], [-2, -2], [0, 0], 1, log_q=nats(-3, -2)[:, None])
    e = math.e
    assert posterior_weights(given).tolist() == pytest.approx([2 * e / (1 + e), 2 / (1 + e)])


def test_spared_draws_hold_less_than_their_share() -> None:
    """Of four draws, those below a quarter of the mean weight get no gradient; the others keep theirs to the digit."""
    given = scored([3.0, 2.5, 0.0, -1.0], [-1.0, -1.2, -0.7, -2.0], [0, 0, 0, 0], 1)
    slopes = []
    for spare in (False, True):
        leaf = given.log_pi.detach().clone().requires_grad_()
        weighted_likelihood(replace(given, log_pi=leaf), baseline=False, spare=spare)[0].backward()
        assert leaf.grad is not None
        slopes.append(leaf.grad.sum(-1))
    kept = posterior_weights(given) >= 1 / 4
    assert kept.tolist() == [True, True, False, False]
    assert torch.equal(slopes[1], torch.where(kept, slopes[0], 0.0))
    assert 0 < float(slopes[0][~kept].sum() / slopes[0].sum()) < 1 / 4


def test_impossible_draws_weigh_nothing() -> None:
    """Also where a whole prompt is impossible, with and without its log Z = -inf. Rejects -inf − -inf = NaN."""
    given = scored([-INF, 0, -INF, -INF], [-2] * 4, [0, 0, 1, 1], 2)
    for log_z in (None, nats(-math.log(2), -INF)):
        case = replace(given, log_z=log_z)
        assert posterior_weights(case).tolist() == pytest.approx([0, 2, 0, 0])
        loss, info = weighted_likelihood(case)
        loss.backward()
        assert not any(math.isnan(x) for x in (float(loss.detach()), *info.values()))
        assert info["elbo"] == -INF
        assert info["kl_posterior_estimate"] == INF
        assert info["kl_prior"] == 0
    assert given.log_pi.grad is not None
    assert bool(torch.isfinite(given.log_pi.grad).all())


def test_a_single_stored_draw_needs_log_z() -> None:
    given = scored([5], [-2], [0], 1)
    with pytest.raises(ShapeError, match="log_z"):
        weighted_likelihood(given)
    assert posterior_weights(replace(given, log_z=nats(5))).tolist() == [1]


def test_reverse_kl_refuses_impossible_draws_with_remedies() -> None:
    with pytest.raises(ContractError, match=r"reverse KL met 1 of 2 draws.*Ended\(cut=-3\.0\).*DPG.*rejection, SMC"):
        leave_one_out_gradient(scored([0, -INF], [-1, -1], [0, 0], 1))


def test_report_on_the_policy_s_own_draws() -> None:
    given = scored([1, 3], [-1, -2], [0, 0], 1, readings={"reward": nats(0.5, 0.7)})
    said = summary(given)
    gain = [1 - 1, 3 - 0]
    assert said["elbo"] == pytest.approx(1.5)
    assert said["log_lik"] == 2
    assert said["kl_prior"] == pytest.approx(0.5)
    assert said["kl_posterior_estimate"] == pytest.approx(math.log((1 + math.exp(gain[1])) / 2) - 1.5)
    assert said["reward"] == pytest.approx(0.6)


def test_report_on_draws_from_elsewhere_is_weighted() -> None:
    """π/q = 1 and 3, so the policy's means weigh rows 1/4 and 3/4; a row the policy never makes counts for nothing."""
    log_pi = nats(math.log(0.2), math.log(0.6), -2000)[:, None]
    q = torch.full_like(log_pi, math.log(0.2))
    given = scored([4, 8, -INF], [0, 0, 0], [0, 0, 0], 1, log_q=q)
    said = summary(replace(given, log_pi=log_pi))
    assert said["log_lik"] == pytest.approx(7)
    assert math.isfinite(said["elbo"])
    assert said["kl_prior"] == pytest.approx(0.25 * math.log(0.2) + 0.75 * math.log(0.6) + 2)
