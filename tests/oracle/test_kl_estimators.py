"""Where each public KL estimator ends, by exact expected gradients: the numbers of docs/coming-from-trl.md.

No draws: a tabular policy on TOY-A starts at the prior and follows the expected gradient over all 31 sequences, that of
groups without end. So what is left at the end is the estimator's own fixed point.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.toys import toy_prior, toy_prompts, toy_reward

STEPS, LR = 1200, 0.1
PAGE = (Path(__file__).parents[2] / "docs" / "coming-from-trl.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Here:
    """The policy at a step: log π and log π0 of each token (N, T), zero where there is none; p (N,); r (N,)."""

    log_pi: Tensor
    log_prior: Tensor
    p: Tensor
    reward: Tensor
    beta: float

    @property
    def k3(self) -> Tensor:
        """(N, T): ρ − 1 − log ρ with ρ = π0/π, the estimate of each token."""
        log_rho = self.log_prior - self.log_pi
        return log_rho.exp() - 1 - log_rho

    def policy_gradient(self, returned: Tensor) -> Tensor:
        """The loss whose gradient is −E[(return − its mean) ∇log π]."""
        fixed = returned.detach()
        return -(self.p * (fixed - self.p @ fixed) * self.log_pi.sum(-1)).sum()

    def std(self) -> Tensor:
        return (self.p @ self.reward**2 - (self.p @ self.reward) ** 2).sqrt()


def kl_in_the_return(at: Here) -> Tensor:
    return at.policy_gradient(at.reward - at.beta * (at.log_pi - at.log_prior).sum(-1))


def grpo_of_trl(at: Here) -> Tensor:
    return at.policy_gradient(at.reward / at.std()) + at.beta * at.p @ at.k3.sum(-1)


def k3_in_the_loss(at: Here) -> Tensor:
    return at.policy_gradient(at.reward) + at.beta * at.p @ at.k3.sum(-1)


def k3_of_the_sequence_in_the_loss(at: Here) -> Tensor:
    log_rho = (at.log_prior - at.log_pi).sum(-1)
    return at.policy_gradient(at.reward) + at.beta * at.p @ (log_rho.exp() - 1 - log_rho)


def k3_times_ratio(at: Here) -> Tensor:
    ratio = (at.log_pi - at.log_pi.detach()).exp()
    return at.policy_gradient(at.reward) + at.beta * at.p @ (ratio * at.k3).sum(-1)


def k3_in_the_reward(at: Here) -> Tensor:
    return at.policy_gradient(at.reward - at.beta * at.k3.sum(-1))


def zero_or_one(prompts: list, completions: list[tuple[int, ...]]) -> list[float]:
    return [float(r > 0.5) for r in toy_reward(prompts, completions)]


def end(loss: Callable[[Here], Tensor], fn: Callable[..., list[float]], beta: float) -> float:
    """KL(π‖p*) in nats where training stops."""
    exact = enumerate_posterior(Posterior(toy_prior(), Reward(fn, beta, bound=1.0)), toy_prompts())
    rows = {prefix: i for i, prefix in enumerate(exact.prefixes)}
    width = max(map(len, exact.sequences))
    mask = exact.completions.mask
    at = torch.tensor([[rows.get(s[:t], 0) for t in range(width)] for s in exact.sequences])
    token = torch.tensor([[s[t] if t < len(s) else 0 for t in range(width)] for s in exact.sequences])
    prior = torch.stack([exact.log_step[prefix] for prefix in exact.prefixes])
    logits = prior.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    log_prior = torch.where(mask, prior[at, token], 0.0)
    for _ in range(STEPS):
        log_pi = torch.where(mask, logits.log_softmax(-1)[at, token], 0.0)
        p = log_pi.detach().sum(-1).exp()
        optimizer.zero_grad()
        loss(Here(log_pi, log_prior, p, exact.log_lik * beta, beta)).backward()
        optimizer.step()
        schedule.step()
    final = torch.where(mask, logits.detach().log_softmax(-1)[at, token], 0.0).sum(-1)
    return float(final.exp() @ (final - exact.log_p))


@pytest.mark.parametrize(
    ("loss", "dense", "sparse"),
    [
        (kl_in_the_return, 0.0, 0.0),
        (grpo_of_trl, 0.0682, 0.0331),
        (k3_times_ratio, 0.0248, 0.0354),
        (k3_in_the_loss, 0.0510, 0.1694),
        (k3_in_the_reward, 0.4002, 0.1080),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_estimator_ends_where_the_page_says(loss: Callable[[Here], Tensor], dense: float, sparse: float) -> None:
    assert end(loss, toy_reward, 0.5) == pytest.approx(dense, abs=5e-5)
    assert end(loss, zero_or_one, 0.25) == pytest.approx(sparse, abs=5e-5)
    assert f"| {dense:.4f} | {sparse:.4f} |" in PAGE


def test_the_sequences_own_k3_in_the_loss_has_the_fixed_point_of_the_other_kl() -> None:
    """π = β π0/(ν − r), 0.0239 nats from p*: closed form of the fixed point against training."""
    assert end(k3_of_the_sequence_in_the_loss, toy_reward, 0.5) == pytest.approx(0.0239, abs=5e-5)
    exact = enumerate_posterior(Posterior(toy_prior(), Reward(toy_reward, 0.5, bound=1.0)), toy_prompts())
    reward = exact.log_lik * 0.5
    low, high = float(reward.max()), float(reward.max()) + 1  # Σ β π0/(ν − r) falls in ν, and is 1 in between
    for _ in range(60):
        middle = (low + high) / 2
        total = float((0.5 * exact.log_prior.exp() / (middle - reward)).sum())
        low, high = (middle, high) if total > 1 else (low, middle)
    law = 0.5 * exact.log_prior.exp() / (low - reward)
    assert float(law @ (law.log() - exact.log_p)) == pytest.approx(0.0239, abs=5e-5)
    assert "0.0239" in PAGE


@pytest.mark.parametrize(("start", "beta", "ends", "posterior"), [(0.1, 2.0, 0.258, 0.155), (0.3, 5.0, 0.392, 0.344)])
def test_dividing_by_the_standard_deviation_ends_elsewhere(
    start: float, beta: float, ends: float, posterior: float
) -> None:
    """A 0/1 reward: the gradient in the logit is zero where logit p = logit p0 + 1/(β√(p(1−p)))."""
    p = start
    for _ in range(200):
        p = 1 / (1 + math.exp(-math.log(start / (1 - start)) - 1 / (beta * math.sqrt(p * (1 - p)))))
    assert p == pytest.approx(ends, abs=5e-4)
    assert 1 / (1 + (1 - start) / start * math.exp(-1 / beta)) == pytest.approx(posterior, abs=5e-4)
    assert all(f"{value:.3f}" in PAGE for value in (ends, posterior))
