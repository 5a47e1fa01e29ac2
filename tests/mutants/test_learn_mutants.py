"""Wrong learners; each must fail a check that the right one passes. The checks are those of tests/oracle, by seed.

Gradients are held to enumeration, without chance; the seed moves the policy at which they are taken. Left out on
purpose: a baseline that holds the row itself, which only scales the gradient by (G − 1)/G.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from credence.core.logspace import normalise
from credence.core.protocols import Scored
from credence.learn import dpg, reinforce
from credence.learn.losses import forward_kl, policy_gradient, prefix_baseline
from credence.learn.losses.groups import leave_one_out, sizes
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.prior import tabular
from tests.learning import (
    check_forward_gradient,
    check_own_log_z,
    check_reinforce_training,
    check_reverse_gradient,
)
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.oracle.test_prefix_baseline import check_prefix_gradient

Patch = pytest.MonkeyPatch


def returns_are(wrong: Callable[[Scored], torch.Tensor], patch: Patch) -> None:
    patch.setattr(policy_gradient, "returns", wrong)


def kl_dropped(scored: Scored) -> torch.Tensor:
    """The return is the evidence alone: a policy that forgets its prior."""
    return scored.log_lik


def k3_in_reward(scored: Scored) -> torch.Tensor:
    """ρ − 1 + log π/π0 in place of log π/π0: near the prior the two parts cancel."""
    k1 = (scored.log_pi.detach() - scored.log_prior).sum(-1)
    return scored.log_lik - (torch.exp(-k1) - 1 + k1)


def k2_in_reward(scored: Scored) -> torch.Tensor:
    """½(log π/π0)²: the part of its gradient that leads through π itself is missing."""
    k1 = (scored.log_pi.detach() - scored.log_prior).sum(-1)
    return scored.log_lik - k1**2 / 2


def std_normalised(patch: Patch) -> None:
    """Advantages divided by the group's standard deviation (GRPO): β varies from group to group."""

    def wrong(values: torch.Tensor, scored: Scored) -> torch.Tensor:
        centred = leave_one_out(values, scored)
        square = torch.zeros(scored.prompts, dtype=values.dtype).index_add(0, scored.prompt, centred**2)
        return centred / (torch.sqrt(square / sizes(scored)) + 1e-4)[scored.prompt]

    patch.setattr(policy_gradient, "leave_one_out", wrong)


def with_term(term: Callable[[torch.Tensor], torch.Tensor], patch: Patch) -> None:
    """The KL leaves the return and stands in the loss as an estimator, differentiated by autograd."""

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        flat = replace(scored, log_prior=scored.log_pi.detach())
        value, info = leave_one_out_gradient(flat)
        k1 = (scored.log_pi - scored.log_prior).sum(-1)
        weight = 1 / (sizes(scored)[scored.prompt] * scored.prompts)
        return value + (weight * term(k1)).sum(), dict(info)

    patch.setattr(reinforce, "leave_one_out_gradient", wrong)


def token_k2_as_loss(patch: Patch) -> None:
    """½ Σ_t ℓ_t² in the loss: each token's KL, and nothing of what it leads to (SCIENCE 2.5: myopic)."""

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        value, info = leave_one_out_gradient(replace(scored, log_prior=scored.log_pi.detach()))
        square = ((scored.log_pi - scored.log_prior) ** 2 / 2).sum(-1)
        weight = 1 / (sizes(scored)[scored.prompt] * scored.prompts)
        return value + (weight * square).sum(), dict(info)

    patch.setattr(reinforce, "leave_one_out_gradient", wrong)


def k1_as_loss(k1: torch.Tensor) -> torch.Tensor:
    """Its mean gradient is zero: no regularisation at all."""
    return k1


def size_as_loss(k1: torch.Tensor) -> torch.Tensor:
    """|k1| a reply: it pulls as hard however near the prior is."""
    return k1.abs()


def k3_as_loss(k1: torch.Tensor) -> torch.Tensor:
    """The gradient of the other KL, KL(π0‖π) (GRPO): another fixed point, SCIENCE 2.4."""
    return torch.exp(-k1) - 1 + k1


def end_unscored(patch: Patch) -> None:
    """The mask stops before the end token, so that nobody learns when to stop."""
    right = tabular.scored

    def wrong(batch: object, log_pi: torch.Tensor) -> Scored:
        given = right(batch, log_pi)  # pyright: ignore[reportArgumentType]
        ids = batch.completions.ids  # pyright: ignore[reportAttributeAccessIssue]
        mask = given.mask & (ids != 2)
        cut = [torch.where(mask, x, 0.0) for x in (given.log_pi, given.log_prior, given.log_q)]
        return replace(given, mask=mask, log_pi=cut[0], log_prior=cut[1], log_q=cut[2])

    patch.setattr(tabular, "scored", wrong)


def per_token_mean(patch: Patch) -> None:
    """Each row divided by its length: long replies count for less."""
    right = leave_one_out_gradient

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        length = scored.mask.sum(-1, keepdim=True)
        shorter = replace(scored, log_pi=scored.log_pi.detach() + (scored.log_pi - scored.log_pi.detach()) / length)
        value, info = right(shorter)
        return value, dict(info)

    patch.setattr(reinforce, "leave_one_out_gradient", wrong)


def baseline_without_ratio(patch: Patch) -> None:
    """Baseline 1 where π/q belongs: right on policy only."""
    right = forward_kl.weighted_likelihood

    def wrong(scored: Scored, baseline: bool = True, spare: bool = False) -> tuple[torch.Tensor, dict[str, float]]:
        _, info = right(scored, False)
        log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
        weight = 1 / (sizes(scored)[scored.prompt] * scored.prompts)
        return -(weight * (forward_kl.posterior_weights(scored) - float(baseline)) * log_pi).sum(), dict(info)

    patch.setattr(dpg, "weighted_likelihood", wrong)


def one_z_for_all(patch: Patch) -> None:
    """Weights normalised over all prompts together (DPG for CDPG): easy prompts take the hard ones' share."""

    def wrong(scored: Scored) -> torch.Tensor:
        log_w = scored.log_lik + (scored.log_prior - scored.log_q).sum(-1)
        return torch.exp(normalise(log_w)) * len(log_w)

    patch.setattr(forward_kl, "posterior_weights", wrong)


def fitted_on_itself(patch: Patch) -> None:
    """The baseline's coefficients are fitted to the row's own return too: it knows what it is to predict."""
    right = prefix_baseline._fitted_elsewhere

    def wrong(told: torch.Tensor, wanted: torch.Tensor, scored: Scored) -> torch.Tensor:
        whole = replace(scored, prompt=scored.prompt * 0 + 1, prompts=2)  # nobody is left out at place 0
        return right(told, wanted, whole)[:1].expand(scored.prompts, -1)

    patch.setattr(prefix_baseline, "_fitted_elsewhere", wrong)


def token_in_its_own_baseline(patch: Patch) -> None:
    """The log-ratio of the prefix holds the token itself."""
    right = prefix_baseline._beside

    def wrong(x: torch.Tensor, scored: Scored) -> torch.Tensor:
        return right(torch.cat([x[:, 1:], x[:, -1:]], 1), scored)

    patch.setattr(prefix_baseline, "_beside", wrong)


MUTANTS = (
    Mutant("prefix baseline fitted on the row itself", check_prefix_gradient, fitted_on_itself),
    Mutant("a token in its own prefix baseline", check_prefix_gradient, token_in_its_own_baseline),
    Mutant("KL dropped from the return", check_reverse_gradient, partial(returns_are, kl_dropped)),
    Mutant("KL dropped from the return, training", check_reinforce_training, partial(returns_are, kl_dropped)),
    Mutant("k3 in the reward", check_reverse_gradient, partial(returns_are, k3_in_reward)),
    Mutant("k3 in the reward, training", check_reinforce_training, partial(returns_are, k3_in_reward)),
    Mutant("k2 in the reward", check_reverse_gradient, partial(returns_are, k2_in_reward)),
    Mutant("|k1| as loss", check_reverse_gradient, partial(with_term, size_as_loss)),
    Mutant("k1 as loss", check_reverse_gradient, partial(with_term, k1_as_loss)),
    Mutant("k3 as loss", check_reverse_gradient, partial(with_term, k3_as_loss)),
    Mutant("k3 as loss, training", check_reinforce_training, partial(with_term, k3_as_loss)),
    Mutant("k2 of each token as loss", check_reverse_gradient, token_k2_as_loss),
    Mutant("end token unscored in training", check_reinforce_training, end_unscored),
    Mutant("mean per token", check_reverse_gradient, per_token_mean),
    Mutant("advantages over their standard deviation", check_reverse_gradient, std_normalised),
    Mutant("off-policy baseline without π/q", check_forward_gradient, baseline_without_ratio),
    Mutant("one Z for all prompts", check_own_log_z, one_z_for_all),
)


LONG = ("KL dropped from the return, training", "k3 in the reward, training", "k3 as loss, training")
"""Left to the slow part: what they break is broken by a quicker mutant too, or the time is not there."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
