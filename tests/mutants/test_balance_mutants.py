"""Wrong versions of f-DPG, balance and the fits of weighted draws; the checks are those of tests/balancing, by seed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from credence.core.protocols import Scored, Valued
from credence.learn import bond, expert_iteration, mpo, reward_weighted
from credence.learn.losses import balance, f_divergence
from credence.learn.losses.f_divergence import Divergence
from credence.learn.losses.forward_kl import log_posterior_weights
from credence.learn.losses.groups import leave_one_out, sizes
from credence.learn.values import subtb
from tests.balancing import (
    check_balance_gradient,
    check_balance_off_policy,
    check_bond_gradient,
    check_expert_gradient,
    check_f_gradient,
    check_f_two_prompts,
    check_mpo_gradient,
    check_subtb_gradient,
    check_var_grad_two_prompts,
    check_weighted_gradient,
)
from tests.mutants.runner import SEEDS, Mutant, kill, params

Patch = pytest.MonkeyPatch
right = f_divergence.pull


def signal_is(which: Divergence, wrong: Callable[[Tensor], Tensor], patch: Patch) -> None:
    """Another −f' for one divergence; gap = log p/π."""

    def pull(given: Divergence, log_p: Tensor, log_pi: Tensor) -> Tensor:
        return torch.exp(log_pi) * wrong(log_p - log_pi) if given is which else right(given, log_p, log_pi)

    patch.setattr(f_divergence, "pull", pull)


def z_dropped(patch: Patch) -> None:
    """π0 e^log_lik in place of p*: right for reverse KL up to a baseline, and for no other."""
    patch.setattr(
        f_divergence, "log_posterior_weights",
        lambda s: s.log_lik + (s.log_prior - s.log_q).sum(-1),
    )  # fmt: skip


def one_z_for_all(patch: Patch) -> None:
    """One self-normalised Z for the rows of all prompts."""

    def wrong(scored: Scored) -> Tensor:
        return log_posterior_weights(replace(scored, prompt=torch.zeros_like(scored.prompt), prompts=1))

    patch.setattr(f_divergence, "log_posterior_weights", wrong)


def ratio_dropped(patch: Patch) -> None:
    """Draws of another law taken for the policy's own: no π/q."""

    def wrong(scored: Scored, which: Divergence, baseline: bool = True) -> tuple[Tensor, dict[str, float]]:
        gap = log_posterior_weights(scored) - (scored.log_pi.detach() - scored.log_q).sum(-1)
        worth = right(which, gap, torch.zeros_like(gap))
        weight = 1 / (sizes(scored)[scored.prompt] * scored.prompts)
        return -(weight * worth * torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)).sum(), {}

    patch.setattr("credence.learn.f_dpg.f_gradient", wrong)


def gap_is(wrong: Callable[[Scored], Tensor], patch: Patch) -> None:
    patch.setattr(balance, "gap", wrong)


def log_ratio(scored: Scored) -> Tensor:
    return torch.where(scored.mask, scored.log_pi - scored.log_prior, 0.0).sum(-1)


def one_mean_for_all(patch: Patch) -> None:
    """The mean Δ of all prompts' draws together: a log Z that no prompt has."""

    def wrong(values: Tensor, scored: Scored) -> Tensor:
        return leave_one_out(values, replace(scored, prompt=torch.zeros_like(scored.prompt), prompts=1))

    patch.setattr(balance, "leave_one_out", wrong)


def own_row_in_mean(patch: Patch) -> None:
    """Σ(Δ − mean)²/n: (n − 1)/n of the variance."""

    def wrong(values: Tensor, scored: Scored) -> Tensor:
        n = sizes(scored)[scored.prompt]
        return leave_one_out(values, scored) * ((n - 1) / n).sqrt()

    patch.setattr(balance, "leave_one_out", wrong)


def absolute_mean(patch: Patch) -> None:
    """log Z dropped: Δ driven to 0, as if every prompt had Z = 1."""
    patch.setattr(balance, "leave_one_out", lambda values, scored: values)


def value_at_the_end(patch: Patch) -> None:
    """log_lik forgotten: pieces are held to a value of 0 at the end."""
    inner = subtb.SubTB.value_loss

    def wrong(self: subtb.SubTB, valued: Valued) -> tuple[Tensor, dict[str, float]]:
        value, info = inner(self, replace(valued, log_lik=torch.zeros_like(valued.log_lik)))
        return value, dict(info)

    patch.setattr(subtb.SubTB, "value_loss", wrong)


def decay_of_one(patch: Patch) -> None:
    """Every piece weighs the same."""
    inner = subtb.SubTB.value_loss
    patch.setattr(subtb.SubTB, "value_loss", lambda self, valued: inner(replace(self, decay=1.0), valued))


def losers_too(patch: Patch) -> None:
    """Expert iteration that fits every draw."""
    patch.setattr(expert_iteration, "log_win", lambda scored, of: torch.zeros_like(scored.log_lik))


def unshared(patch: Patch) -> None:
    """Those that pass are summed, not averaged: prompts with many of them count more."""
    patch.setattr(
        expert_iteration.ExpertIteration, "_passed", lambda self, s: torch.log((s.log_lik > self.above).double())
    )


def continuous_ranks(patch: Patch) -> None:
    """(n − 1) log F + log n: best-of-n without ties and atoms."""

    def wrong(scored: Scored, of: int) -> Tensor:
        v = torch.exp((scored.log_prior - scored.log_q).sum(-1))
        f = (v[None, :] * (scored.log_lik[None, :] <= scored.log_lik[:, None])).sum(1) / v.sum()
        return (of - 1) * torch.log(f) + torch.log(torch.tensor(float(of), dtype=torch.float64))

    patch.setattr(bond, "log_best_of", wrong)


def unweighted_ranks(patch: Patch) -> None:
    """Quantiles of the stored rows, not of the prior that they are weighted to."""
    inner = bond.log_best_of
    patch.setattr(bond, "log_best_of", lambda scored, of: inner(replace(scored, log_prior=scored.log_q), of))


def divided_by_proposal(patch: Patch) -> None:
    """Weights π0/q·e^log_lik: importance sampling to p*, under another name."""
    inner = reward_weighted.likelihood

    def wrong(scored: Scored, log_w: Tensor) -> tuple[Tensor, dict[str, float]]:
        value, info = inner(scored, log_w + (scored.log_prior - scored.log_q).sum(-1))
        return value, dict(info)

    patch.setattr(reward_weighted, "likelihood", wrong)


def eta_of_beta(patch: Patch) -> None:
    """η = 1 whatever ε: the tilt is not solved."""
    patch.setattr(mpo.MPO, "_solve", lambda self, scored: 1.0)


def dual_without_normaliser(patch: Patch) -> None:
    """KL read as the mean of λ·log_lik under q, its log-mean-exp forgotten."""

    def wrong(scored: Scored, log_w: Tensor) -> float:
        return float((torch.exp(log_w) * scored.log_lik).mean())

    patch.setattr(mpo, "distance", wrong)


MUTANTS = (
    Mutant("forward KL's f' for t, not 1/t", check_f_gradient,
           partial(signal_is, Divergence.FORWARD_KL, lambda gap: torch.expm1(-gap))),
    Mutant("reverse KL of f-DPG upside down", check_f_gradient,
           partial(signal_is, Divergence.REVERSE_KL, lambda gap: -gap)),
    Mutant("total variation without its half", check_f_gradient,
           partial(signal_is, Divergence.TOTAL_VARIATION, torch.sign)),
    Mutant("Jensen-Shannon of 1/t", check_f_gradient,
           partial(signal_is, Divergence.JENSEN_SHANNON, lambda gap: -torch.nn.functional.softplus(-gap))),
    Mutant("Jensen-Shannon with the other KL's sign", check_f_gradient,
           partial(signal_is, Divergence.JENSEN_SHANNON, lambda gap: torch.nn.functional.softplus(-gap))),
    Mutant("chi squared by t, not 2t", check_f_gradient,
           partial(signal_is, Divergence.CHI_SQUARED, lambda gap: -torch.expm1(-gap))),
    Mutant("forward chi squared by 1/t", check_f_gradient,
           partial(signal_is, Divergence.CHI_SQUARED_FORWARD, torch.expm1)),
    Mutant("f-DPG without Z", check_f_gradient, z_dropped),
    Mutant("f-DPG with one Z for all prompts", check_f_two_prompts, one_z_for_all),
    Mutant("f-DPG off policy without π/q", check_f_gradient, ratio_dropped),
    Mutant("balance without the prior", check_balance_gradient,
           partial(gap_is, lambda s: torch.where(s.mask, s.log_pi, 0.0).sum(-1) - s.log_lik)),
    Mutant("balance without the evidence", check_balance_gradient, partial(gap_is, log_ratio)),
    Mutant("balance off policy with the evidence's sign turned", check_balance_off_policy,
           partial(gap_is, lambda s: log_ratio(s) + s.log_lik)),
    Mutant("VarGrad with one mean for all prompts", check_var_grad_two_prompts, one_mean_for_all),
    Mutant("VarGrad divided by n", check_balance_gradient, own_row_in_mean),
    Mutant("VarGrad with log Z dropped", check_balance_off_policy, absolute_mean),
    Mutant("sub-trajectories that end at 0", check_subtb_gradient, value_at_the_end),
    Mutant("sub-trajectories without decay", check_subtb_gradient, decay_of_one),
    Mutant("expert iteration on all draws", check_expert_gradient, losers_too),
    Mutant("expert iteration by sums of those that pass", check_expert_gradient, unshared),
    Mutant("BOND without atoms", check_bond_gradient, continuous_ranks),
    Mutant("BOND with the rows' own quantiles", check_bond_gradient, unweighted_ranks),
    Mutant("RWR weighted to the prior", check_weighted_gradient, divided_by_proposal),
    Mutant("MPO with a fixed tilt", check_mpo_gradient, eta_of_beta),
    Mutant("MPO's KL without its normaliser", check_mpo_gradient, dual_without_normaliser),
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
