"""β for a budget: how strong evidence may be for a KL or a reward, and how far prior draws can be trusted to say so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import ess
from credence.core.types import Finding
from credence.diagnose.frontier import Optimum, Pool, beta_for_kl, beta_for_reward, carried, frontier, pools, tilted
from credence.diagnose.intervals import Group, bootstrap_all
from credence.diagnose.weights import LEAST_ESS, pareto_k

Interval = tuple[float, float, float]
"""Value, low, high."""

_KEY = Key(0)

Kind = Literal["kl", "reward"]

_STEPS = 49
"""Points on the curve around the answer, on which each resample is solved."""
_SPAN = 16.0
"""Times that λ may be smaller or larger in a resample before it counts as beyond all bounds."""


@dataclass(frozen=True)
class At:
    """One prompt at the β found: KL(p*‖π0) in nats, E_p*[r], and what its n draws are worth there."""

    kl: float
    reward: float
    ess: float
    pareto_k: float
    draws: int
    trusted: bool


@dataclass(frozen=True)
class Budget:
    """The answer, with 95 % intervals over prompts and draws.

    Attributes:
        beta: reward units per nat; where rewards are nats already, 1/tau of the tempering.
        kl: mean over prompts of KL(p*‖π0) at beta, nats.
        reward: mean over prompts of E_p*[r] at beta.
        prior_reward: the same without this reward (λ = 0), the other evidence held fixed.
        prompts: each prompt at beta.
        reach: the strongest evidence that every prompt's draws can be trusted with; None where there is none.
    """

    beta: Interval
    kl: Interval
    reward: Interval
    prior_reward: float
    prompts: tuple[At, ...]
    reach: Optimum | None

    @property
    def trusted(self) -> bool:
        """Whether every prompt is."""
        return all(at.trusted for at in self.prompts)

    def finding(self) -> Finding:
        """How far it can be trusted."""
        bad = [b for b, at in enumerate(self.prompts) if not at.trusted]
        least = min(at.ess for at in self.prompts)
        far = (
            "they carry no β at all"
            if self.reach is None
            else f"all of them carry β down to {self.reach.beta:.4g}: KL {self.reach.kl:.3g} nats, "
            f"E[r] {self.reach.reward:.3g}"
        )
        said = (
            f"the draws of {len(bad)} of {len(self.prompts)} prompts cannot be trusted here (KL, k̂ or ESS)"
            if bad
            else "every prompt's draws can be trusted here"
        )
        return Finding("beta", self.beta[0], None, LEAST_ESS, not bad, f"ESS at least {least:.1f}; {said}; {far}.")


def budget(
    kind: Kind,
    goal: float,
    rewards: Sequence[Tensor],
    other: Sequence[Tensor] | None = None,
    measure: Sequence[Tensor] | None = None,
    exact: bool = False,
    key: Key = _KEY,
    resamples: int = 400,
) -> Budget:
    """Solve for β, and say how far prior draws can be trusted with the answer.

    A prompt is trusted while KL < log n − 2, k̂ below its limit, and ESS at least 30.

    Args:
        kind: what is bounded: "kl", the mean of KL(p*‖π0) in nats, or "reward", the mean of E_p*[r].
        goal: its value.
        rewards: as for `frontier`, one tensor a prompt. Nats in their place make λ = 1/β the power of a tempering.
        other: nats of other evidence, held fixed.
        measure: as for `frontier`.
        exact: the rows are the whole space: no interval, all trusted.
        key: of the bootstrap.
        resamples: bootstrap repetitions.

    Raises:
        ConfigError: the goal cannot be had from these draws; the message says what can.
        DegeneracyError: a prompt whose draws are all impossible.

    Cost: under a second for 16 prompts × 256 draws. Source: SCIENCE 1.2, 8. Test: TOY-A's golden β, and the interval
    against enumeration, in tests/unit/test_budget.py.
    """
    solve = beta_for_kl if kind == "kl" else beta_for_reward
    beta = solve(rewards, goal, other, measure, exact)
    found = pools(rewards, other, measure)
    at = tuple(_look(pool, beta, exact) for pool in found)
    kl, reward = sum(a.kl for a in at) / len(at), sum(a.reward for a in at) / len(at)
    without = sum(tilted(pool, 0.0)[1] for pool in found) / len(found)
    if exact:
        reach = frontier(rewards, [beta], other, measure, exact)[0]
        return Budget((beta, beta, beta), (kl, kl, kl), (reward, reward, reward), without, at, reach)
    spans = _intervals(kind, goal, found, beta, key, resamples)
    low, high = (math.exp(-spans["log_lam"][i]) for i in (2, 1))
    around = (beta, min(low, beta), max(high, beta))
    return Budget(around, spans["kl"], spans["reward"], without, at, _reach(found, beta))


def _look(pool: Pool, beta: float, exact: bool = False) -> At:
    kl, reward, log_w = tilted(pool, 1 / beta)
    k, worth = pareto_k(log_w), float(ess(log_w))
    good = exact or (carried(kl, log_w) and worth >= LEAST_ESS)
    return At(kl, reward, worth, k, log_w.numel(), good)


def _reach(found: Sequence[Pool], beta: float) -> Optimum | None:
    """The strongest evidence, to about 1 %, with which every prompt is trusted.

    Looked for from the strong end: KL and ESS get worse with λ, but k̂ of nearly equal weights is that of r's own tail.
    """

    def good(lam: float) -> bool:
        return all(_look(pool, 1 / lam).trusted for pool in found)

    grid = [2 ** (i / 4) / beta for i in range(24, -25, -1)]
    low = next((lam for lam in grid if good(lam)), None)
    if low is None:
        return None
    high = low * 2**0.25
    for _ in range(4):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if good(middle) else (low, middle)
    each = [_look(pool, 1 / low) for pool in found]
    return Optimum(1 / low, sum(a.kl for a in each) / len(each), sum(a.reward for a in each) / len(each), True)


def _curve(pool: Tensor, lams: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p_λ‖π0) and E[r] of one prompt's (n, 3) rows at each λ: (L,) each."""
    reward, other, measure = pool.unbind(1)
    never = torch.isneginf(pool).any(1)
    if bool(never.all()):  # a resample of impossible draws alone
        return torch.full_like(lams, math.nan), torch.full_like(lams, math.nan)
    shifted = reward.masked_fill(never, 0.0) - reward[~never].max()
    nats = torch.where(never, -math.inf, other + lams[:, None] * shifted)
    log_w = measure + nats
    total = torch.logsumexp(log_w, 1, keepdim=True)
    share = torch.where(torch.isneginf(total), 0.0, torch.exp(log_w - total))
    kl = (share * nats.masked_fill(never, 0.0)).sum(1) - total.squeeze(1) + torch.logsumexp(measure, 0)
    return kl.clamp(min=0), (share * reward.masked_fill(never, 0.0)).sum(1)


def _intervals(
    kind: Kind, goal: float, found: Sequence[Pool], beta: float, key: Key, resamples: int
) -> Mapping[str, Interval]:
    """log λ at the goal, and KL and E[r] at the λ found, each over resampled prompts and draws."""
    logs = np.linspace(-math.log(_SPAN), math.log(_SPAN), _STEPS) - math.log(beta)
    lams = torch.from_numpy(np.exp(logs))

    def statistics(groups: Sequence[Group]) -> Mapping[str, float]:
        curves = [_curve(group["prior"], lams) for group in groups]
        kl, reward = (torch.stack([c[i] for c in curves]).mean(0).numpy() for i in (0, 1))
        middle = _STEPS // 2
        crossed = _crossing(logs, kl if kind == "kl" else reward, goal)
        return {"log_lam": crossed, "kl": float(kl[middle]), "reward": float(reward[middle])}

    rows: list[Group] = [{"prior": torch.stack(list(pool), 1)} for pool in found]
    return bootstrap_all(statistics, rows, key, resamples=resamples)


def _crossing(at: NDArray[np.float64], values: NDArray[np.float64], goal: float) -> float:
    """Where a growing curve reaches the goal; ∓inf beyond the curve's ends, NaN where there is no curve."""
    if np.isnan(values).any():
        return math.nan
    grown = np.maximum.accumulate(values)
    if goal <= grown[0]:
        return -math.inf
    return math.inf if goal > grown[-1] else float(np.interp(goal, grown, at))
