"""How SMC's particles grow: one token a step, weighed, and resampled island by island.

An island is K particles that answer one prompt and are resampled among themselves only. All islands of a piece advance
together in one state of the model, which holds the rows that still grow and few others.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import ess, inverse_cdf, log_mean_exp
from credence.core.protocols import State, StepPrior, Target
from credence.core.types import Completions, Prompts
from credence.prior.steps import row_numbers
from credence.sample.conditional_resample import resample_keeping
from credence.sample.potential import log_potential
from credence.sample.resample import lots, resample
from credence.sample.retained import forced, log_prob, still_possible
from credence.sample.rules import Rules
from credence.sample.swarm import Swarm

_KEEP = 0.75
"""Finished rows are dropped from the state once fewer than this share grow: copying a cache costs too."""


def grow(
    key: Key, target: Target, prompts: Prompts, rules: Rules, first: int, path: Completions | None = None
) -> Swarm:
    """Grow one island a prompt to its end.

    Args:
        key: of the whole engine; island i of this piece draws as island first + i of all.
        target: prior and evidence.
        prompts: one an island, repeats allowed.
        rules: how.
        first: number of the first island.
        path: conditional SMC: the completion that one particle of each island follows, whatever the others do, and
            that survives every resampling. It starts in a place at random.

    Raises:
        ConfigError: a prior or proposal that cannot be stepped, or whose completions differ.
        ContractError: evidence or twist that breaks its law; a path that has no weight, and why.
    """
    models = rules.models(target.prior)
    states: list[State] = [model.start(prompts, rules.particles) for model in models]
    logits = models[0].next_logits(states[0])
    swarm = Swarm.born(len(prompts), rules.particles, models[0].horizon, logits.device)
    islands = torch.arange(first, first + len(prompts))
    if path is not None:
        start = torch.from_numpy(key.fold("kept").uniform(islands.numpy(), 0)).to(logits.device)
        swarm.kept = (start * rules.particles).long()
    ends = torch.tensor(sorted(models[0].ends), device=logits.device)
    rows = row_numbers(len(prompts), rules.particles, first)
    present = torch.arange(len(rows), device=logits.device)  # the particle of each row in the states
    horizon = models[0].horizon
    for t in range(horizon):
        uniform = torch.from_numpy(key.fold("token").uniform(rows[present.cpu()].numpy(), t)).to(logits.device)
        token, log_q, margin = inverse_cdf(logits, uniform)
        if path is not None:
            token, log_q, margin = forced(swarm, path, t, present, logits, (token, log_q, margin))
        log_p = log_q if len(models) == 1 else log_prob(models[1].next_logits(states[1]), token)
        alive = ~swarm.ended[present]
        where = present[alive]
        swarm.ids[where, t], swarm.mask[where, t], swarm.log_q[where, t] = token[alive], True, log_q[alive]
        swarm.ended[where] = torch.isin(token[alive], ends)
        swarm.tokens += int(alive.sum()) * len(models)
        swarm.close += int((margin[alive] < 16 * torch.finfo(logits.dtype).eps).sum())
        last = t + 1 == horizon
        after = _potential(target, rules, prompts, swarm, where, t, last)
        _reweigh(swarm, where, log_p[alive] - log_q[alive], after)
        if path is not None:
            still_possible(swarm, prompts, where, log_p[alive], t, last)
        if last or bool(swarm.ended.all()):
            break
        ancestor = _resample(swarm, rules, key, first, t)
        if bool(swarm.ended.all()):  # only finished particles survived
            break
        states, present = _follow(models, states, present, swarm.ended, ancestor)
        states = [m.extend(s, swarm.ids[present, t]) for m, s in zip(models, states, strict=True)]
        logits = models[0].next_logits(states[0])
    swarm.least_ess = torch.minimum(swarm.least_ess, ess(swarm.log_w.view(swarm.islands, -1)))
    return swarm


def _potential(
    target: Target, rules: Rules, prompts: Prompts, swarm: Swarm, where: Int[Tensor, " k"], t: int, last: bool
) -> Float[Tensor, " k"]:
    """log ψ of these rows, whose last token is the t-th: asked anew where a segment ends, else as it was.

    The evidence sees each final text once; its readings are kept.
    """
    swarm.since[where] += 1
    final = swarm.ended[where] | last
    closed = final | rules.segments.closed(swarm.ids[where, t], swarm.since[where])
    after = swarm.log_twist[where]
    if not bool(closed.any()):
        return after
    rows = swarm.completions(t + 1).rows(where[closed])
    after[closed], readings = log_potential(target.evidence, rules.twist, prompts, rows, final[closed])
    for name, values in readings.items():
        blank = torch.full((len(swarm.ended),), math.nan, dtype=torch.float64, device=where.device)
        swarm.readings.setdefault(name, blank)[where[final]] = values
    barred = where[torch.isneginf(after) & ~final & ~torch.isneginf(swarm.log_w[where])]
    swarm.barred += torch.bincount(barred // swarm.particles, minlength=swarm.islands)
    swarm.since[where[closed]] = 0
    swarm.fresh[where[closed]] = True
    return after


def _reweigh(swarm: Swarm, where: Int[Tensor, " k"], log_ratio: Tensor, after: Tensor) -> None:
    """w ← w · π0(x_t) ψ_t / (q(x_t) ψ_{t−1}); what is impossible stays so."""
    old = swarm.log_w[where]
    gained = old + log_ratio + after - swarm.log_twist[where]
    swarm.log_w[where] = torch.where(torch.isneginf(old), old, gained)
    swarm.log_twist[where] = after


def _resample(swarm: Swarm, rules: Rules, key: Key, first: int, t: int) -> Int[Tensor, " R"] | None:
    """Resample the islands that are due. Returns each row's ancestor, or None where no island was due."""
    log_w = swarm.log_w.view(swarm.islands, -1)
    ended = swarm.ended.view(swarm.islands, -1)
    dead = torch.isneginf(log_w)
    looked = (swarm.fresh.view(swarm.islands, -1) | ended | dead).all(-1)
    now = ess(log_w)
    swarm.least_ess = torch.where(looked, torch.minimum(swarm.least_ess, now), swarm.least_ess)
    swarm.fresh[looked.repeat_interleave(swarm.particles)] = False
    due = looked & ~ended.all(-1) & ~dead.all(-1) & (now < rules.threshold * swarm.particles * (1 - 1e-9))
    if not bool(due.any()):
        return None
    lot = lots(rules.scheme, key.fold("resample"), swarm.islands, swarm.particles, t, first).to(log_w.device)
    index = torch.arange(swarm.particles, device=log_w.device).repeat(swarm.islands, 1)
    if swarm.kept is None:
        index[due] = resample(rules.scheme, log_w[due], lot[due])
    else:
        islands = torch.arange(first, first + swarm.islands).numpy()
        place = torch.from_numpy(key.fold("kept").uniform(islands, t + 1)).to(log_w.device)
        index[due], swarm.kept[due] = resample_keeping(rules.scheme, log_w[due], swarm.kept[due], lot[due], place[due])
    ancestor = (index + swarm.particles * torch.arange(swarm.islands, device=log_w.device)[:, None]).flatten()
    swarm.log_z, reset = _settle(swarm.log_z, log_w, due)
    swarm.log_w = reset.flatten()
    swarm.resamplings += due.long()
    swarm.pick(ancestor)
    return ancestor


def _settle(
    log_z: Float[Tensor, " islands"], log_w: Float[Tensor, "islands K"], due: Bool[Tensor, " islands"]
) -> tuple[Float[Tensor, " islands"], Float[Tensor, "islands K"]]:
    """Bank the mean weight of the islands that are due and start their weights again at 1."""
    banked = torch.where(due, log_z + log_mean_exp(log_w), log_z)
    return banked, torch.where(due[:, None], 0.0, log_w)


def _follow(
    models: list[StepPrior],
    states: list[State],
    present: Int[Tensor, " k"],
    ended: Bool[Tensor, " R"],
    ancestor: Int[Tensor, " R"] | None,
) -> tuple[list[State], Int[Tensor, " j"]]:
    """Bring the states in line with the particles: by index, growing rows only, and only when something changed."""
    growing = torch.nonzero(~ended).flatten()
    if ancestor is None and len(growing) >= _KEEP * len(present):
        return states, present
    place = torch.zeros(len(ended), dtype=torch.long, device=present.device)
    place[present] = torch.arange(len(present), device=present.device)
    source = place[growing if ancestor is None else ancestor[growing]]
    return [model.take(state, source) for model, state in zip(models, states, strict=True)], growing
