"""How SMC's particles grow: one token a step, weighed, and resampled island by island.

An island is K particles that answer one prompt and are resampled among themselves only. All islands of a piece advance
together in one state of the model, which holds the rows that still grow and few others.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import ess, inverse_cdf, log_mean_exp
from credence.core.protocols import State, StepPrior, Target
from credence.core.types import Completions, Prompts
from credence.evidence.product import measure, twist
from credence.prior.steps import row_numbers
from credence.sample.resample import systematic

_KEEP = 0.75
"""Finished rows are dropped from the state once fewer than this share grow: copying a cache costs too."""


@dataclass(eq=False)
class Swarm:
    """The particles of some islands. R = islands · K rows, island-major; the prompts are one an island.

    Attributes:
        islands: how many.
        ids: (R, horizon) tokens.
        mask: (R, horizon).
        log_q: (R, horizon) nats under the proposal.
        ended: (R,).
        log_w: (R,) log weights since the island was last resampled.
        log_twist: (R,) log ψ of the text so far, log_lik once it is final.
        root: (R,) the first-generation particle that each descends from.
        log_z: (islands,) log of the mean weights banked at resamplings.
        resamplings: (islands,) how many there were.
        readings: (R,) raw evidence values of the final texts, by name.
        tokens: drawn so far.
        close: draws that lay within the logits' error of another token.
    """

    islands: int
    ids: Int[Tensor, "R T"]
    mask: Bool[Tensor, "R T"]
    log_q: Float[Tensor, "R T"]
    ended: Bool[Tensor, " R"]
    log_w: Float[Tensor, " R"]
    log_twist: Float[Tensor, " R"]
    root: Int[Tensor, " R"]
    log_z: Float[Tensor, " islands"]
    resamplings: Int[Tensor, " islands"]
    readings: dict[str, Tensor] = field(default_factory=dict)
    tokens: int = 0
    close: int = 0

    @staticmethod
    def born(islands: int, particles: int, horizon: int, device: torch.device) -> "Swarm":
        """Particles that have said nothing yet."""
        rows = islands * particles
        nats = torch.zeros(rows, dtype=torch.float64, device=device)
        return Swarm(
            islands,
            torch.zeros(rows, horizon, dtype=torch.long, device=device),
            torch.zeros(rows, horizon, dtype=torch.bool, device=device),
            torch.zeros(rows, horizon, dtype=torch.float64, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
            nats,
            nats.clone(),
            torch.arange(rows, device=device),
            torch.zeros(islands, dtype=torch.float64, device=device),
            torch.zeros(islands, dtype=torch.long, device=device),
        )

    @property
    def particles(self) -> int:
        """K."""
        return len(self.ended) // self.islands

    def completions(self, width: int) -> Completions:
        """The first `width` tokens of every row; row r answers the prompt of its island."""
        island = torch.arange(self.islands, device=self.ids.device).repeat_interleave(self.particles)
        return Completions(self.ids[:, :width], self.mask[:, :width], self.ended, island, close_calls=self.close)

    def pick(self, ancestor: Int[Tensor, " R"]) -> None:
        """Put a copy of row ancestor[r] in the place of each row r."""
        for name in ("ids", "mask", "log_q", "ended", "log_w", "log_twist", "root"):
            setattr(self, name, getattr(self, name)[ancestor])
        self.readings = {name: values[ancestor] for name, values in self.readings.items()}


def grow(
    key: Key, target: Target, prompts: Prompts, particles: int, threshold: float, proposal: StepPrior, first: int
) -> Swarm:
    """Grow one island a prompt to its end.

    Args:
        key: of the whole engine; island i of this piece draws as island first + i of all.
        target: prior and evidence.
        prompts: one an island, repeats allowed.
        particles: K.
        threshold: resample where ESS < threshold · K.
        proposal: draws the tokens.
        first: number of the first island.
    """
    prior = target.prior
    models = [proposal] if proposal is prior or not isinstance(prior, StepPrior) else [proposal, prior]
    states: list[State] = [model.start(prompts, particles) for model in models]
    logits = models[0].next_logits(states[0])
    swarm = Swarm.born(len(prompts), particles, proposal.horizon, logits.device)
    ends = torch.tensor(sorted(proposal.ends), device=logits.device)
    rows = row_numbers(len(prompts), particles, first)
    islands = torch.arange(first, first + len(prompts)).numpy()
    present = torch.arange(len(rows), device=logits.device)  # the particle of each row in the states
    for t in range(proposal.horizon):
        uniform = torch.from_numpy(key.fold("token").uniform(rows[present.cpu()].numpy(), t)).to(logits.device)
        token, log_q, margin = inverse_cdf(logits, uniform)
        log_p = log_q if len(models) == 1 else _log_prob(models[1].next_logits(states[1]), token)
        alive = ~swarm.ended[present]
        where = present[alive]
        swarm.ids[where, t], swarm.mask[where, t], swarm.log_q[where, t] = token[alive], True, log_q[alive]
        swarm.ended[where] = torch.isin(token[alive], ends)
        swarm.tokens += int(alive.sum()) * len(models)
        swarm.close += int((margin[alive] < 16 * torch.finfo(logits.dtype).eps).sum())
        last = t + 1 == proposal.horizon
        after = _log_potential(target, prompts, swarm, where, t + 1, last)
        _reweigh(swarm, where, log_p[alive] - log_q[alive], after)
        if last or bool(swarm.ended.all()):
            break
        lot = torch.from_numpy(key.fold("resample").uniform(islands, t)).to(logits.device)
        ancestor = _resample(swarm, lot, threshold)
        if bool(swarm.ended.all()):  # only finished particles survived
            break
        states, present = _follow(models, states, present, swarm.ended, ancestor)
        states = [m.extend(s, swarm.ids[present, t]) for m, s in zip(models, states, strict=True)]
        logits = models[0].next_logits(states[0])
    return swarm


def _log_prob(logits: Float[Tensor, "rows V"], token: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    return logits.gather(1, token[:, None]).squeeze(1).double() - torch.logsumexp(logits, -1).double()


def _log_potential(
    target: Target, prompts: Prompts, swarm: Swarm, where: Int[Tensor, " k"], width: int, last: bool
) -> Float[Tensor, " k"]:
    """log ψ of these rows' texts so far: log_lik where they are final, the twist where they still grow.

    The evidence sees each final text once; its readings are kept.
    """
    rows = swarm.completions(width).rows(where)
    final = rows.ended | last
    out = torch.zeros(len(where), dtype=torch.float64, device=where.device)
    if bool(final.any()):
        out[final], readings = measure(target.evidence, prompts, rows.rows(final))
        for name, values in readings.items():
            blank = torch.full((len(swarm.ended),), math.nan, dtype=torch.float64, device=where.device)
            swarm.readings.setdefault(name, blank)[where[final]] = values
    if not bool(final.all()):
        out[~final] = twist(target.evidence, prompts, rows.rows(~final))
    return out


def _reweigh(swarm: Swarm, where: Int[Tensor, " k"], log_ratio: Tensor, after: Tensor) -> None:
    """w ← w · π0(x_t) ψ_t / (q(x_t) ψ_{t−1}); what is impossible stays so."""
    old = swarm.log_w[where]
    gained = old + log_ratio + after - swarm.log_twist[where]
    swarm.log_w[where] = torch.where(torch.isneginf(old), old, gained)
    swarm.log_twist[where] = after


def _resample(swarm: Swarm, uniform: Float[Tensor, " islands"], threshold: float) -> Int[Tensor, " R"] | None:
    """Resample the islands that are due. Returns each row's ancestor, or None where no island was due."""
    log_w = swarm.log_w.view(swarm.islands, -1)
    growing = ~swarm.ended.view(swarm.islands, -1).all(-1)
    possible = ~torch.isneginf(log_w).all(-1)
    due = growing & possible & (ess(log_w) < threshold * swarm.particles * (1 - 1e-9))
    if not bool(due.any()):
        return None
    index = torch.arange(swarm.particles, device=log_w.device).repeat(swarm.islands, 1)
    index[due] = systematic(log_w[due], uniform[due])
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
