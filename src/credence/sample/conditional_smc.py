"""Conditional SMC: a run in which one particle follows a given completion, and a new one taken from its particles.

If the given completion is an exact posterior draw, so is the one taken, and log Ẑ of the run lies above log Z on
average: the other side of what plain SMC gives.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import log_mean_exp
from credence.core.protocols import Target
from credence.core.types import Completions, Prompts, concat
from credence.prior.steps import ROWS
from credence.sample.particles import grow
from credence.sample.resample import systematic
from credence.sample.retained import checked_path
from credence.sample.rules import Rules
from credence.sample.swarm import Swarm


@dataclass(frozen=True, eq=False)
class Sweep:
    """One conditional run a prompt.

    Attributes:
        completions: (B rows) the completion taken by weight from each run's particles, the retained one among them.
        log_q: (B, T) nats of its tokens under the proposal, along its own path.
        log_z: (B,) log Ẑ of the run, the retained particle counted: E[log Ẑ] ≥ log Z and E[1/Ẑ] = 1/Z where the
            retained completions are exact draws.
        moved: (B,) whether another path than the retained one was taken.
        readings: (B,) raw evidence values by name.
        tokens: model tokens spent.
    """

    completions: Completions
    log_q: Float[Tensor, "B T"]
    log_z: Float[Tensor, " B"]
    moved: Bool[Tensor, " B"]
    readings: dict[str, Tensor]
    tokens: int


def sweep(key: Key, posterior: Target, prompts: Prompts, path: Completions, rules: Rules) -> Sweep:
    """One conditional SMC run for each prompt, and a completion from it.

    Invariance: the extended law of SMC's variables times Ẑ/Z has p* as the marginal of the completion taken by weight;
    this draws the other variables given the completion, then takes it anew. Resampling is by its conditional form
    (sample.conditional_resample), so each scheme, an adaptive threshold, islands' order and segments keep it exact.

    Args:
        key: all of the run's randomness.
        posterior: prior and evidence.
        prompts: B; repeat a prompt for several runs.
        path: B retained completions, row b of prompt b.
        rules: how particles grow; at least 2 particles, or nothing ever moves.

    Raises:
        ShapeError: retained rows that are no completions of this prior, or not one a prompt.
        ContractError: a retained completion that the prior, the evidence or the twist calls impossible.
        ConfigError: a prior or proposal that cannot be stepped; a proposal that cannot say a retained completion.

    Cost: K replies a prompt. Source: Andrieu, Doucet & Holenstein 2010; Chopin & Singh 2015; SCIENCE 5.2.
    Test: chi-square of the output law and E[Z/Ẑ] = 1 in tests/statistical/test_conditional.py; log Ẑ = log Z exactly
    under the optimal twist and policy in tests/oracle/test_optimal_twist.py.
    """
    checked_path(prompts, path, posterior.prior)
    per = max(1, ROWS // rules.particles)
    swarms: list[Swarm] = []
    for first in range(0, len(prompts), per):
        index = range(first, min(first + per, len(prompts)))
        rows = torch.tensor(list(index), device=path.ids.device)
        swarms.append(grow(key, posterior, prompts.take(index), rules, first, path.rows(rows)))
    log_w = torch.cat([s.log_w.view(s.islands, -1) for s in swarms])
    kept = torch.cat([s.kept for s in swarms if s.kept is not None])
    lot = torch.from_numpy(key.fold("take").uniform(torch.arange(len(prompts)).numpy(), 0)).to(log_w.device)
    taken = systematic(log_w, lot, 1).squeeze(-1)
    rows = taken + rules.particles * torch.arange(len(prompts), device=log_w.device)
    merged = concat([s.completions(s.ids.shape[1]) for s in swarms], [0] * len(swarms)).rows(rows)
    used = int(merged.mask.sum(-1).max())
    return Sweep(
        replace(
            merged,
            ids=merged.ids[:, :used],
            mask=merged.mask[:, :used],
            prompt=torch.arange(len(prompts), device=rows.device),
        ),
        torch.cat([s.log_q for s in swarms])[rows, :used],
        torch.cat([s.log_z for s in swarms]) + log_mean_exp(log_w),
        taken != kept,
        {name: torch.cat([s.readings[name] for s in swarms])[rows] for name in swarms[0].readings},
        sum(s.tokens for s in swarms),
    )
