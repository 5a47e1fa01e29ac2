"""Quasi-rejection: rejection with a bound that need not hold, so that quality is bought or sold against effort."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Target
from credence.core.types import Cost, Draws, Prompts
from credence.posterior.exact import Exact
from credence.sample.importance import PROBE, Importance, log_sum_exp_by, probed
from credence.sample.rejection import goal, keep, search

LEAST = 32
"""Draws of the proposal below which they say nothing of the distance from p*."""


@dataclass(frozen=True)
class QuasiRejection:
    """Propose x ~ q, accept it with probability min(1, w(x)/b), w = π0 · exp(log_lik)/q and b = exp(bound).

    Law: p_b ∝ q · min(w, b), which is p* wherever w ≤ b; see quasi_rejection_law. Guarantee: BIASED, with
    TV(p_b, p*) ≤ p*(w > b); both are estimated from the proposals. The acceptance is E_q[min(w, b)]/b. A larger bound
    is nearer to p* and dearer: diagnose.acceptance.acceptance_curve shows all bounds from one set of draws.

    Without a bound, one is chosen for each prompt before the search, from `pilot` draws that are never returned: the
    one at which `acceptance` of them would be accepted, or their largest weight where that is smaller.

    info: acceptance, proposals, accepted, above and excess as Rejection's, but a weight above the bound is no fault
    here; bound (nats); tv (estimate of TV(p_b, p*)) and tv_bound (of p*(w > b)) from all proposals made: both are too
    low where replies of great weight were never proposed. log_z is unbiased for Z, as Rejection's.

    Args:
        bound: log b in nats; chosen as said by default.
        acceptance: share of proposals to be accepted, where no bound is given.
        pilot: draws a prompt that choose the bound.
        most: proposals a prompt, at most.
        proposal: q; the prior by default.

    Raises:
        ConfigError: a setting out of range.

    Cost: b/E_q[min(w, b)] proposals a draw, and the pilot. Source: Eikema et al. 2022 (TMLR); SCIENCE 5. Tested
    against enumeration in tests/oracle/test_quasi_rejection.py and tests/statistical/test_draws.py.
    """

    bound: float | None = None
    acceptance: float = 0.1
    pilot: int = 128
    most: int = 4096
    proposal: Prior | None = None
    guarantee: ClassVar[Guarantee] = Guarantee.BIASED

    def __post_init__(self) -> None:
        if self.bound is not None and not math.isfinite(self.bound):
            raise ConfigError(f"bound={self.bound}: finite nats are needed (leave it out to have it chosen).")
        if not 0 < self.acceptance <= 1 or self.pilot < 1 or self.most < 1:
            raise ConfigError(
                f"QuasiRejection(acceptance={self.acceptance}, pilot={self.pilot}, most={self.most}): a share in "
                "(0, 1], at least one pilot draw and at least one proposal are needed."
            )

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """At most n draws of p_b a prompt, prompt-major."""
        began = time.process_time()
        bound, pilot = self._bounds(key.fold("pilot"), posterior, prompts)
        found = search(key, posterior, prompts, n, bound, self.most, self.proposal)
        out = keep(found, bound, key, n, goal(n))
        tv, tv_bound = _distance([found] if pilot is None else [found, pilot], bound)
        spent = 0 if pilot is None else pilot.cost.tokens
        info = {**out.info, "bound": bound, "tv": tv, "tv_bound": tv_bound}
        cost = Cost(found.cost.tokens + spent, time.process_time() - began)
        return probed(replace(out, cost=cost, info=info), self.proposal, posterior, PROBE)

    def _bounds(self, key: Key, posterior: Target, prompts: Prompts) -> tuple[Float[Tensor, " B"], Draws | None]:
        """The bound of each prompt in nats, and the draws that chose it."""
        if self.bound is not None:
            return torch.full((len(prompts),), self.bound, dtype=torch.float64), None
        drawn = Importance(self.proposal, probe=0).draw(key, posterior, prompts, self.pilot)
        each = [bound_for(drawn.log_w[drawn.of(b)], self.acceptance) for b in range(len(prompts))]
        return torch.tensor(each, dtype=torch.float64), drawn


def bound_for(log_w: Float[Tensor, " n"], acceptance: float) -> float:
    """log b at which mean(min(w, b))/b over these draws is `acceptance`, and no larger than their largest log w.

    0 where no draw has any weight; the least weight above 0 where fewer than that share have one. Tested in
    tests/oracle/test_quasi_rejection.py.
    """
    n, top = len(log_w), float(log_w.max())
    if top == -math.inf:
        return 0.0
    w = torch.exp(log_w.double() - top).sort().values
    below = w.cumsum(0).tolist()
    for k in range(1, n):  # b lies between the k-th and the next weight: (Σ_{i ≤ k} w_i + (n − k) b)/n = acceptance · b
        share, rest = acceptance * n - (n - k), float(w[k])
        if share > 0 and rest > 0 and below[k - 1] <= share * rest:
            return math.log(below[k - 1] / share if below[k - 1] > 0 else rest) + top
    return top


def quasi_rejection_law(exact: Exact, bound: float) -> Float[Tensor, " N"]:
    """log p_b of every completion of an enumerated prompt, in nats, the prior as proposal.

    Tested against SCIENCE 5's acceptance and TV in tests/oracle/test_quasi_rejection.py.
    """
    capped = exact.log_prior + exact.log_lik.clamp(max=bound)
    return capped - torch.logsumexp(capped, 0)


def _distance(drawn: Sequence[Draws], bound: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Estimates of TV(p_b, p*) and of p*(w > b) from all draws of q; NaN where they are few, or none has weight."""
    prompt, count = torch.cat([d.completions.prompt for d in drawn]), len(bound)
    log_w = torch.cat([d.log_w for d in drawn])
    at = bound.to(log_w)[prompt]
    every, capped = log_sum_exp_by(log_w, prompt, count), log_sum_exp_by(torch.minimum(log_w, at), prompt, count)
    dead = torch.isneginf(every)
    above = log_sum_exp_by(torch.where(log_w > at, log_w, -torch.inf), prompt, count)
    share = torch.exp(log_w - torch.where(dead, 0.0, every)[prompt])
    cut = torch.exp(torch.minimum(log_w, at) - torch.where(dead, 0.0, capped)[prompt])
    tv = 0.5 * torch.zeros_like(every).index_add(0, prompt, (share - cut).abs())
    unknown = dead | (torch.bincount(prompt, minlength=count) < LEAST)
    return torch.where(unknown, torch.nan, tv), torch.where(unknown, torch.nan, torch.exp(above - every))
