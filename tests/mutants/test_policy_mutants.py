"""Wrong policy-gradient learners, schedules and stores; each must fail a check that the right one passes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn import grpo, ppo, rao_blackwell, replay, schedules
from credence.learn.losses import clipped, group_relative, policy_gradient
from credence.learn.losses.groups import row_weights, summary
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.policy_gradients import (
    check_controller,
    check_corrected,
    check_off_policy,
    check_ppo,
    check_rao_blackwell,
    check_replay,
)

Patch = pytest.MonkeyPatch
Told = tuple[torch.Tensor, Info]


def rao_blackwell_is(wrong: Callable[[Scored, float], Told], patch: Patch) -> None:
    patch.setattr(rao_blackwell, "rao_blackwell_gradient", wrong)


def with_kl_as_loss(scored: Scored, share: float) -> Told:
    """Σ_t KL_t differentiated, the evidence by REINFORCE, nothing of the future's KL: myopic (SCIENCE 2.5)."""
    value, info = leave_one_out_gradient(replace(scored, log_prior=scored.log_pi.detach()))
    assert scored.kl is not None
    return value + (row_weights(scored) * scored.kl.sum(-1)).sum(), info


def detached_kl(scored: Scored, share: float) -> Told:
    """The KL of the place itself carries no gradient."""
    assert scored.kl is not None
    return policy_gradient.rao_blackwell_gradient(replace(scored, kl=scored.kl.detach()), share)


def next_kl_free(scored: Scored, share: float) -> Told:
    """A token pays for the KL of places after the next one only: u > t + 1."""
    value, info = policy_gradient.rao_blackwell_gradient(scored, share)
    assert scored.kl is not None
    ahead = torch.nn.functional.pad(share * scored.kl.detach(), (0, 1))[:, 1:]
    paid = (ahead * torch.where(scored.mask, scored.log_pi, 0.0)).sum(-1)
    return value - (row_weights(scored) * paid).sum(), info


def future_forgotten(patch: Patch) -> None:
    """The gain of a token is its own only: no return-to-go."""
    right = clipped.gae
    patch.setattr(clipped, "gae", lambda gain, value, mask, trace: right(gain, value, mask, 0.0))


def value_one_late(patch: Patch) -> None:
    """The baseline of a token is the value after it, which knows the token."""
    right = clipped.gae

    def wrong(gain: Any, value: Any, mask: Any, trace: float) -> torch.Tensor:
        ahead = torch.nn.functional.pad(value, (0, 1))[:, 1:]
        return right(gain, ahead, mask, trace)

    patch.setattr(clipped, "gae", wrong)


def kl_not_paid(patch: Patch) -> None:
    """Tokens earn the evidence and pay no KL."""
    right = clipped.gains
    patch.setattr(clipped, "gains", lambda scored: right(replace(scored, log_prior=scored.log_q)))


def whitened(patch: Patch) -> None:
    """Advantages over their standard deviation: β differs from batch to batch."""
    right = clipped.surrogate

    def wrong(scored: Scored, advantage: torch.Tensor, clip: float) -> tuple[torch.Tensor, torch.Tensor]:
        return right(scored, advantage / advantage[scored.mask].std(), clip)

    patch.setattr(clipped, "surrogate", wrong)


def token_mean(patch: Patch) -> None:
    """Means over tokens where sums belong."""
    right = clipped.surrogate

    def wrong(scored: Scored, advantage: torch.Tensor, clip: float) -> tuple[torch.Tensor, torch.Tensor]:
        terms, cut = right(scored, advantage, clip)
        return terms / scored.mask.sum(-1, keepdim=True), cut

    patch.setattr(clipped, "surrogate", wrong)


def rows_as_they_come(patch: Patch) -> None:
    """Rows of another law without π/q."""
    patch.setattr(policy_gradient, "off_policy", lambda scored: torch.ones_like(scored.log_lik))


def grpo_with(patch: Patch, **change: Any) -> None:
    """A switch of the published form left on in the corrected one."""
    right = group_relative.group_relative_gradient

    def wrong(scored: Scored, spread: Any, length: bool, k3: bool, clip: float) -> Told:
        given = {"spread": spread, "length": length, "k3": k3, "clip": clip} | change
        return right(scored, **given)

    patch.setattr(grpo, "group_relative_gradient", wrong)


def k1_in_loss(patch: Patch) -> None:
    """log π/π0 differentiated: its mean gradient is zero, so nothing regularises."""

    def wrong(scored: Scored, spread: Any, length: bool, k3: bool, clip: float) -> Told:
        advantage = group_relative.centred(scored.log_lik, scored)
        log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
        return -(row_weights(scored) * (advantage - 1) * log_pi).sum(), summary(scored)

    patch.setattr(grpo, "group_relative_gradient", wrong)


def wrong_way(patch: Patch) -> None:
    """The controller makes the evidence stronger where the KL is too large."""
    right = schedules.ToKL.__call__

    def wrong(self: schedules.ToKL, step: int, record: Any) -> Any:
        turned = {**record, "kl_prior": 2 * self.kl - record["kl_prior"]} if "kl_prior" in record else record
        return right(self, step, turned)

    patch.setattr(schedules.ToKL, "__call__", wrong)


def ages(patch: Patch) -> None:
    """Nothing is ever too old."""
    right = replay.Replay.join

    def wrong(self: replay.Replay, key: Any, step: int, batch: Any, prompts: Any) -> Any:
        self.age = 10**6
        return right(self, key, step, batch, prompts)

    patch.setattr(replay.Replay, "join", wrong)


def log_q_lost(patch: Patch) -> None:
    """Past rows come back without the law that they were drawn from."""
    right = replay.Replay.add

    def wrong(self: replay.Replay, step: int, index: Any, batch: Any) -> None:
        right(self, step, index, replace(batch, log_q=torch.zeros_like(batch.log_q)))

    patch.setattr(replay.Replay, "add", wrong)


MUTANTS = (
    Mutant("KL of each token as loss, myopic", check_rao_blackwell, partial(rao_blackwell_is, with_kl_as_loss)),
    Mutant("KL of each token without its gradient", check_rao_blackwell, partial(rao_blackwell_is, detached_kl)),
    Mutant("KL of the next place not paid", check_rao_blackwell, partial(rao_blackwell_is, next_kl_free)),
    Mutant("PPO without return-to-go", check_ppo, future_forgotten),
    Mutant("PPO's value knows the token", check_ppo, value_one_late),
    Mutant("PPO pays no KL", check_ppo, kl_not_paid),
    Mutant("PPO's advantages whitened", check_ppo, whitened),
    Mutant("PPO's loss a mean over tokens", check_ppo, token_mean),
    Mutant("rows of another law taken as they come", check_off_policy, rows_as_they_come),
    Mutant("corrected GRPO over the group's spread", check_corrected, partial(grpo_with, spread=2.0)),
    Mutant("corrected GRPO with a length weight", check_corrected, partial(grpo_with, length=True)),
    Mutant("corrected GRPO with k3 in the loss", check_corrected, partial(grpo_with, k3=True)),
    Mutant("corrected GRPO with k1 in the loss", check_corrected, k1_in_loss),
    Mutant("the controller turns the wrong way", check_controller, wrong_way),
    Mutant("replay of any age", check_replay, ages),
    Mutant("replay without log q", check_replay, log_q_lost),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)


def test_ppo_is_patched_where_it_is_used() -> None:
    """clipped_gradient looks its helpers up in its own module."""
    assert ppo.clipped_gradient is clipped.clipped_gradient
