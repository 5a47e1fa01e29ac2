"""Importance sampling: draws of a proposal, weighted towards the posterior; and the estimate of Z that weights give.

Draws from the prior with weights exp(log_lik) are the common currency of this room: rejection and best-of-n are pure
functions of them (`rejection.accept`, `best_of_n.pick`), so that draws paid for once serve all three.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Target
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts
from credence.evidence.product import measure


def log_sum_exp_by(values: Float[Tensor, " R"], group: Int[Tensor, " R"], groups: int) -> Float[Tensor, " groups"]:
    """log Σ exp(values) within each group of rows; -inf for a group without rows or without a possible one."""
    top = torch.full((groups,), -torch.inf, dtype=torch.float64, device=values.device)
    top = top.scatter_reduce(0, group, values.double(), "amax")
    top = torch.where(torch.isneginf(top), 0.0, top)
    total = torch.zeros_like(top).index_add(0, group, torch.exp(values.double() - top[group]))
    return torch.log(total) + top


def log_z_from(
    log_w: Float[Tensor, " R"], group: Int[Tensor, " R"], groups: int
) -> tuple[Float[Tensor, " groups"], Float[Tensor, " groups"], Float[Tensor, " groups"]]:
    """log Ẑ = log mean w of each group, its standard error, and the effective sample size.

    se(log Ẑ) = sd(w) / (mean(w) √n) = √((n/ess − 1)/(n − 1)), the delta method: optimistic where few draws carry the
    weight. Checked against sd and mean in tests/unit/test_resample.py.

    Returns:
        log_z (-inf where every weight is zero, NaN without rows), se (NaN for fewer than two draws or no weight), ess
        in draws (0 without weight).
    """
    n = torch.zeros(groups, dtype=torch.float64, device=log_w.device).index_add(
        0, group, torch.ones(len(log_w), dtype=torch.float64, device=log_w.device)
    )
    once, twice = log_sum_exp_by(log_w, group, groups), log_sum_exp_by(2 * log_w, group, groups)
    dead = torch.isneginf(once)
    ess = torch.where(dead, 0.0, torch.exp(2 * once - twice))
    se = torch.sqrt(((n / ess - 1) / (n - 1)).clamp(min=0))
    unknown = dead | (n < 2)
    log_z = torch.where(n > 0, once - torch.log(n), torch.nan)
    return log_z, torch.where(unknown, torch.nan, se), ess


@dataclass(frozen=True)
class Importance:
    """Self-normalised importance sampling: n weighted draws a prompt from a proposal q.

    log w = log π0 + log_lik − log q; with the prior as proposal, log w = log_lik and nothing is scored.
    Guarantee: UNBIASED_Z; weighted means are consistent, their bias falls as 1/n. A prompt whose weights are all zero
    keeps its draws, with log_z = -inf and Status.DEGENERATE. info: ess, in draws.

    Args:
        proposal: where to draw from; the prior by default. It must speak the same tokens, end by the same ones and be
            cut at the same horizon, and reach everything that the posterior can, or Z is missed silently.

    Raises:
        ConfigError: the proposal ends by other tokens or is cut elsewhere.

    Cost: n draws a prompt; with a proposal of its own, n scorings by the prior too.
    Source: SCIENCE 5; tested in tests/statistical/test_draws.py.
    """

    proposal: Prior | None = None
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n weighted draws a prompt, prompt-major."""
        began = time.process_time()
        prior = posterior.prior
        proposal = prior if self.proposal is None else self.proposal
        if proposal is not prior:
            same_leaves(prior, proposal)
        completions, log_q = proposal.sample(key, prompts, n)
        log_w, readings = measure(posterior.evidence, prompts, completions)
        tokens = int(completions.mask.sum())
        if proposal is not prior:
            log_w = log_w + prior.score(prompts, completions).sum(-1) - log_q.sum(-1)
            tokens *= 2
        log_z, se, ess = log_z_from(log_w, completions.prompt, len(prompts))
        status = tuple(Status.DEGENERATE if dead else Status.OK for dead in torch.isneginf(log_z).tolist())
        cost = Cost(tokens, time.process_time() - began)
        return Draws(prompts, completions, log_q, log_w, log_z, se, status, cost, key, {"ess": ess}, readings)


def same_leaves(prior: Prior, proposal: Prior) -> None:
    """Refuse a proposal whose completions are not the prior's: other end tokens, or cut at another horizon.

    Raises:
        ConfigError: with both settings.
    """
    if prior.ends != proposal.ends or prior.horizon != proposal.horizon:
        raise ConfigError(
            f"the proposal ends by {sorted(proposal.ends)} within {proposal.horizon} tokens, the prior by "
            f"{sorted(prior.ends)} within {prior.horizon}: their completions differ, so no weight between them exists. "
            "Give the proposal the prior's end tokens and horizon."
        )
