"""The reward–KL frontier from prior draws: the best reward that any law can have at each divergence from the prior."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError
from credence.core.logspace import normalise
from credence.diagnose.weights import pareto_k, pareto_threshold
from credence.posterior.path import solve_increasing

ROOM = 2.0
"""n draws express a divergence of at most log n; this many nats below it they still do so well (SCIENCE 8)."""


class Optimum(NamedTuple):
    """The posterior at one β, averaged over prompts: KL(p*_β‖π0) in nats, E[r] in reward units."""

    beta: float
    kl: float
    reward: float
    trusted: bool


class Pool(NamedTuple):
    """One prompt's draws, (n,) each: reward, nats of the other evidence, log weight as draws of the prior."""

    reward: Tensor
    other: Tensor
    measure: Tensor


def pools(
    rewards: Sequence[Tensor], other: Sequence[Tensor] | None = None, measure: Sequence[Tensor] | None = None
) -> list[Pool]:
    """Checked draws, one pool a prompt; arguments and errors as for `frontier`."""
    if not rewards or any(len(given) != len(rewards) for given in (other, measure) if given is not None):
        raise ShapeError("rewards, other and measure need one tensor a prompt, and at least one prompt.")
    out: list[Pool] = []
    for b, given in enumerate(rewards):
        r = given.detach().double().cpu()
        zero = torch.zeros_like(r)
        evidence = zero if other is None else other[b].detach().double().cpu()
        base = zero if measure is None else measure[b].detach().double().cpu()
        if r.ndim != 1 or r.numel() == 0 or evidence.shape != r.shape or base.shape != r.shape:
            raise ShapeError(f"prompt {b}: rewards, other and measure need one and the same axis of draws.")
        if bool(torch.isnan(r + evidence + base).any() | torch.isposinf(r).any()):
            raise ContractError(f"prompt {b}: NaN or +inf among rewards, other evidence or measure.")
        out.append(Pool(r, evidence, base))
    return out


def tilted(prompt: Pool, lam: float) -> tuple[float, float, Tensor]:
    """KL(p_λ‖π0), E[r] and the log weights of one prompt at λ = 1/β."""
    never = torch.isneginf(prompt.reward) | torch.isneginf(prompt.other) | torch.isneginf(prompt.measure)
    if bool(never.all()):
        raise DegeneracyError("every draw of a prompt is impossible under the evidence: it has no posterior to plot.")
    top = prompt.reward[~never].max()  # a constant changes nothing, and λ·r would lose digits where λ is large
    nats = torch.where(never, -math.inf, prompt.other + lam * (prompt.reward.masked_fill(never, 0.0) - top))
    share = torch.exp(normalise(prompt.measure + nats))
    log_z = torch.logsumexp(prompt.measure + nats, 0) - torch.logsumexp(prompt.measure, 0)
    kept = share > 0
    kl = float((share[kept] * nats[kept]).sum() - log_z)
    return max(kl, 0.0), float((share[kept] * prompt.reward[kept]).sum()), prompt.measure + nats


def carried(kl: float, log_w: Tensor) -> bool:
    """Whether these draws can be trusted at a divergence of `kl` nats: KL < log n − 2, and a tame tail."""
    n = log_w.numel()
    return kl < math.log(n) - ROOM and pareto_k(log_w) < pareto_threshold(n)


def frontier(
    rewards: Sequence[Tensor],
    betas: Sequence[float],
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
) -> list[Optimum]:
    """The posterior's reward and divergence at each β: w = exp(other + r/β), E = Σ w̄ r, KL = Σ w̄ log w − log mean w.

    No law lies above this curve, and its slope dE/dKL is β. A point is trusted only while KL < log n − 2 and
    k̂ < pareto_threshold(n) for *every* prompt, because the plotted mean is no better than its worst part.

    Args:
        rewards: r of prior draws, one tensor (n,) a prompt, n may differ; reward units; -inf forbids a draw.
        betas: reward units per nat, each above 0.
        other: nats of the other evidence of each draw, held fixed (such as Ended); none by default. With it the curve
            is the family π0·other·e^{r/β}, whose slope is β only where the other evidence is 0.
        measure: log weight of each draw as a draw from π0, where it came from elsewhere (`bounds.balance` with
            log π0 in the place of the joint), or log π0 for enumerated rows; equal by default.
        exact: the rows are the whole space and `measure` its prior, so every point is trusted.

    Raises:
        ConfigError: a β not finite and above 0. DegeneracyError: a prompt whose draws are all impossible.

    Source: SCIENCE 8. Test: the Gaussian square-root law, the slope and TOY-A's β in tests/unit/test_frontier.py.
    """
    if any(not (beta > 0 and math.isfinite(beta)) for beta in betas):
        raise ConfigError(f"betas {list(betas)}: each must be finite and above 0, in reward units per nat.")
    prompts = pools(rewards, other, measure)
    out: list[Optimum] = []
    for beta in betas:
        found = [tilted(p, 1 / beta) for p in prompts]
        kl = sum(f[0] for f in found) / len(found)
        reward = sum(f[1] for f in found) / len(found)
        out.append(Optimum(float(beta), kl, reward, exact or all(carried(k, w) for k, _, w in found)))
    return out


def beta_for_kl(
    rewards: Sequence[Tensor],
    kl: float,
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
) -> float:
    """The β at which the mean over prompts of KL(p*_β‖π0) is `kl` nats: a budget turned into evidence.

    Arguments are those of `frontier`. Without other evidence the divergence grows with 1/β, so the answer is unique.

    Raises:
        ConfigError: the budget lies outside what these draws reach: from that of the other evidence alone to that of
            the best draw of each prompt, and (unless `exact`) below log n − 2.
    """
    prompts = pools(rewards, other, measure)
    if not (kl > 0 and math.isfinite(kl)):
        raise ConfigError(f"kl={kl}: a budget in nats must be finite and above 0 (0 is the prior itself).")
    room = math.inf if exact else math.log(min(p.reward.numel() for p in prompts)) - ROOM

    def mean_kl(lam: float) -> float:
        return sum(tilted(p, lam)[0] for p in prompts) / len(prompts)

    least, most = mean_kl(0.0), min(mean_kl(_strong(prompts, lambda lam: mean_kl(lam) > room)), room)
    if not least < kl <= most:
        raise ConfigError(
            f"kl={kl:g} nats cannot be had from these draws: they reach from {least:.4g} to {max(most, least):.4g} "
            "(n draws a prompt say nothing beyond log n − 2). Ask for less, or take more draws."
        )
    high = _strong(prompts, lambda lam: mean_kl(lam) >= kl)
    return 1 / solve_increasing(mean_kl, kl, 0.0, high, high * 1e-14)


def beta_for_reward(
    rewards: Sequence[Tensor],
    goal: float,
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
) -> float:
    """The β at which the mean over prompts of E_p*[r] is `goal`, in reward units.

    Arguments are those of `frontier`. dE/dλ = Var_p*[r] ≥ 0 whatever the other evidence, so the answer is unique.

    Raises:
        ConfigError: the goal lies outside what these draws reach: from the mean under the other evidence alone to that
            of the best draw of each prompt, and (unless `exact`) to where KL(p*‖π0) is log n − 2.
    """
    prompts = pools(rewards, other, measure)
    if not math.isfinite(goal):
        raise ConfigError(f"reward={goal}: a finite number of reward units is needed.")
    room = math.inf if exact else math.log(min(p.reward.numel() for p in prompts)) - ROOM

    def kl(lam: float) -> float:
        return sum(tilted(p, lam)[0] for p in prompts) / len(prompts)

    def mean(lam: float) -> float:
        return sum(tilted(p, lam)[1] for p in prompts) / len(prompts)

    least, far = mean(0.0), _strong(prompts, lambda lam: kl(lam) > room)
    if kl(far) > room:
        far = solve_increasing(kl, room, 0.0, far, far * 1e-9) if kl(0.0) < room else 0.0
    most = mean(far)
    if not least < goal <= most:
        raise ConfigError(
            f"reward={goal:g} cannot be had from these draws: they reach from {least:.4g}, the mean without this "
            f"reward, to {most:.4g} (n draws a prompt say nothing beyond a KL of log n − 2). Ask for less, or take "
            "more draws."
        )
    high = min(far, _strong(prompts, lambda lam: mean(lam) >= goal))
    return 1 / solve_increasing(mean, goal, 0.0, high, high * 1e-14)


def _strong(prompts: Sequence[Pool], reached: Callable[[float], bool]) -> float:
    """A λ at which the goal is reached, or beyond which nothing changes: all weight is on the best draws."""
    finite = [p.reward[torch.isfinite(p.reward)] for p in prompts]
    spread = max(float(r.max() - r.min()) if r.numel() else 0.0 for r in finite)
    if spread == 0:
        return 1.0
    high = 1 / spread
    while not reached(high) and high * spread < 1e12:
        high *= 2
    return high
