"""Drawing on prompts piece by piece, with progress, and reducing draws to numbers."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Batch, Policy, Sampler
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to
from credence.evidence.product import measure
from credence.posterior.posterior import Posterior
from credence.study.ruler import Drawn

Tick = Callable[[float], None]


def stack(parts: list[Draws], prompts: Prompts, key: Key) -> Draws:
    """Draws of consecutive pieces of prompts as one."""
    sizes = [len(p.prompts) for p in parts]
    offsets = [sum(sizes[:i]) for i in range(len(sizes))]
    completions = concat([p.completions for p in parts], offsets)
    return Draws(
        prompts,
        completions,
        torch.cat([pad_to(p.log_q, completions.ids.shape[1]) for p in parts]),
        torch.cat([p.log_w for p in parts]),
        torch.cat([p.log_z for p in parts]),
        torch.cat([p.log_z_se for p in parts]),
        tuple(s for p in parts for s in p.status),
        sum((p.cost for p in parts), Cost()),
        key,
        {name: torch.cat([p.info[name] for p in parts]) for name in parts[0].info},
        {name: torch.cat([p.readings[name] for p in parts]) for name in parts[0].readings},
    )


def draw_each(
    sampler: Sampler, key: Key, posterior: Posterior, prompts: Prompts, n: int, tick: Tick, size: int = 1
) -> Draws:
    """Draw for `size` prompts at a time, telling `tick` the share done."""
    parts: list[Draws] = []
    for i, piece in enumerate(prompts.split(size)):
        parts.append(sampler.draw(key.fold(i), posterior, piece, n))
        tick(min(1.0, (i + 1) * size / len(prompts)))
    return stack(parts, prompts, key)


def reduce(draws: Draws, reward: str) -> Drawn:
    """Prior draws by Importance() as numbers."""
    shape = (len(draws.prompts), -1)
    log_q = draws.log_q.sum(-1).view(shape)
    ended = draws.completions.ended.double().view(shape)
    return Drawn(log_q, log_q, draws.log_w.view(shape), draws.readings[reward].view(shape), ended)


def draw_policy(
    policy: Policy, key: Key, posterior: Posterior, prompts: Prompts, n: int, reward: str, tick: Tick
) -> tuple[Drawn, Completions, Tensor, Tensor]:
    """Draws of a policy as numbers; its completions, log q and prior log-probabilities (R, T) for showing."""
    rows: list[Completions] = []
    log_q: list[Tensor] = []
    log_prior: list[Tensor] = []
    for i, piece in enumerate(prompts.split(1)):
        completions, q = policy.sample(key.fold(i), piece, n)
        rows.append(completions)
        log_q.append(q)
        log_prior.append(posterior.prior.score(piece, completions))
        tick((i + 1) / len(prompts))
    merged = concat(rows, list(range(len(prompts))))
    width = merged.ids.shape[1]
    q, p = (torch.cat([pad_to(x, width) for x in values]) for values in (log_q, log_prior))
    log_lik, readings = measure(posterior.evidence, prompts, merged)
    drawn = Drawn(
        *(x.view(len(prompts), n) for x in (q.sum(-1), p.sum(-1), log_lik, readings[reward], merged.ended.double()))
    )
    return drawn, merged, q, p


def score_each(policy: Policy, prompts: Prompts, completions: Completions, tick: Tick) -> Tensor:
    """(R,) log π of rows, prompt by prompt."""
    out = torch.zeros(len(completions), dtype=torch.float64)
    for b in range(len(prompts)):
        rows = torch.nonzero(completions.prompt == b).flatten()
        out[rows] = policy.score(prompts, completions.rows(rows)).sum(-1)
        tick((b + 1) / len(prompts))
    return out


def memory(draws: Draws) -> Batch:
    """Prior draws by Importance() as what a learner may recall: q is the prior, log_w the evidence's nats."""
    return Batch(draws.prompts, draws.completions, draws.log_q, draws.log_q, draws.log_w, readings=draws.readings)


def main_reading(readings: Mapping[str, Tensor]) -> str:
    """The reading that reports call the reward: the first that is not merely whether the reply ended."""
    return next((name for name in readings if name != "ended"), "ended")
