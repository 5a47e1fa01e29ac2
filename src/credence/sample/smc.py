"""Sequential Monte Carlo: particles that grow token by token, and are resampled where the evidence already tells."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import ess, log_mean_exp
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat
from credence.prior.steps import ROWS, row_numbers
from credence.sample.importance import PROBE, check_probe, log_z_from, probed
from credence.sample.particles import grow
from credence.sample.potential import Twist
from credence.sample.resample import Scheme, systematic
from credence.sample.rules import Rules
from credence.sample.segments import EVERY_TOKEN, Segments
from credence.sample.swarm import Swarm


@dataclass(frozen=True)
class SMC:
    """Twisted sequential Monte Carlo, in independent islands of particles.

    Intermediate targets σ_t ∝ π0(x_1:t) ψ_t(x_1:t), ψ the posterior's log_twist in nats, ψ_0 = 1; a particle gains
    π0(x_t) ψ_t / (q(x_t) ψ_{t−1}) a token. One that ends, or is cut by the horizon, takes exp(log_lik) in place of ψ_t,
    keeps its weight and stops growing. Where an island's ESS falls below threshold × particles and it still grows, its
    mean weight is banked into Ẑ, it is resampled, and its weights start again at 1.

    Guarantee: UNBIASED_Z. Ẑ is the mean of the islands' Ẑ; the n draws returned are resampled from all particles by
    Ẑ_island × w̄, in random order, and count equally. log_z_se comes from the spread of the islands: one SMC run has
    no standard error, so it is NaN when islands = 1. E[log Ẑ_island] ≤ log Z, and log Z − E[log Ẑ_island] bounds
    KL(law of one island's draw‖p*).

    A prompt whose particles all become impossible has log_z = -inf and Status.DEGENERATE; its draws have weight 0. A
    proposal that is zero where the posterior is not estimates Z·p*(q > 0): it is probed as Importance's, and the prompt
    has Status.UNREACHED.

    info, a prompt: ess_before_draws (of all its particles' final weights, before the n draws are resampled from them:
    afterwards every weight is equal and says nothing), ess_before_resampling (the smallest that an island came to at
    any step, before it was resampled), ancestors (first-generation particles that have possible descendants at the end,
    summed over islands), ancestors_island_mean (the same, a mean island), unique (distinct possible token sequences
    among the particles), resamplings (summed over islands), log_z_island_mean and log_z_island_sd (mean and standard
    deviation of log Ẑ_island; the latter is NaN for one island, inf where some but not all are dead), barred (growing
    particles that a twist of -inf stopped), and missed, with a proposal that is probed (estimate of p*(q = 0)). log_q:
    the proposal's, along each draw's own path.

    Args:
        particles: K of each island.
        islands: independent runs a prompt.
        threshold: resample where ESS < threshold × K; 0 never does (then this is importance sampling), 1 nearly always.
        proposal: a StepPrior to draw tokens from; the prior by default.
        scheme: of resampling: multinomial, stratified, systematic or residual (sample.resample says how they differ).
        twist: any object with log_twist(prompts, completions): replaces the posterior's own on unfinished texts, a
            learnt value for instance. The end weight stays exp(log_lik), so the target does not move.
        segments: where the twist is asked and resampling considered; after every token by default (sample.segments).
        probe: replies of the prior a prompt on which the reach of a proposal is tested; 0 tests nothing.

    Raises:
        ConfigError: a setting out of range, a prior or proposal that cannot be stepped, or whose completions differ.
        ContractError: a twist or log_lik that is NaN or +inf, or not one number a row. A twist of -inf where a
            completion is possible cannot be seen from inside one run: `diagnose.twists` looks for it, and conditional
            SMC refuses it when its path goes there.

    Cost: particles × islands draws a prompt, at most 256 rows (or one island) at a time, and the evidence on every
    prefix if it has something to say of prefixes; with a proposal, `probe` prior draws scored by it. Source: SCIENCE
    5.2; Zhao et al. 2024 (2404.17546). Tested in tests/statistical/test_draws.py and test_conditional.py, exactly with
    the optimal twist in tests/oracle/test_optimal_twist.py, its proposal's reach in tests/oracle/test_proposals.py,
    against wrong versions in tests/mutants/test_sample_mutants.py.
    """

    particles: int = 16
    islands: int = 4
    threshold: float = 0.5
    proposal: StepPrior | None = None
    scheme: Scheme = "systematic"
    twist: Twist | None = None
    segments: Segments = EVERY_TOKEN
    probe: int = PROBE
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def __post_init__(self) -> None:
        if self.islands < 1:
            raise ConfigError(f"SMC(islands={self.islands}): at least one island is needed.")
        check_probe(self.probe)
        self.rules()

    def rules(self) -> Rules:
        """How each island grows."""
        return Rules(self.particles, self.threshold, self.proposal, self.scheme, self.twist, self.segments)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major."""
        began = time.process_time()
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        rules = self.rules()
        per = max(1, ROWS // self.particles)
        total = len(prompts) * self.islands
        pieces: list[Swarm] = []
        for first in range(0, total, per):
            part = prompts.take([i // self.islands for i in range(first, min(first + per, total))])
            pieces.append(grow(key, posterior, part, rules, first))
        return probed(self._gather(key, prompts, n, pieces, began), self.proposal, posterior, self.probe)

    def _gather(self, key: Key, prompts: Prompts, n: int, pieces: list[Swarm], began: float) -> Draws:
        """Pool each prompt's particles and take its draws from them."""
        count = len(prompts)
        island_z = torch.cat([p.log_z + log_mean_exp(p.log_w.view(p.islands, -1)) for p in pieces])
        banked = torch.cat([p.log_z.repeat_interleave(p.particles) + p.log_w for p in pieces])
        prompt = torch.arange(count, device=banked.device)
        log_z, se, _ = log_z_from(island_z, prompt.repeat_interleave(self.islands), count)
        dead = torch.isneginf(log_z)
        pooled = banked.view(count, -1)
        rows, completions = _taken(key, pooled, n), _together(pieces)
        log_q = torch.cat([p.log_q for p in pieces])[:, : completions.ids.shape[1]]
        owner = prompt.repeat_interleave(self.islands * self.particles)
        possible = ~torch.isneginf(banked)
        ancestors = _ancestors(pieces, possible, owner, count)
        info = {
            "ess_before_draws": ess(pooled),
            "ess_before_resampling": torch.cat([p.least_ess for p in pieces]).view(count, -1).min(-1).values,
            "ancestors": ancestors,
            "ancestors_island_mean": ancestors / self.islands,
            "unique": _unique(completions, possible, owner, count),
            "resamplings": torch.cat([p.resamplings for p in pieces]).view(count, -1).sum(-1).double(),
            "log_z_island_mean": island_z.view(count, -1).mean(-1),
            "log_z_island_sd": _spread(island_z.view(count, -1)),
            "barred": torch.cat([p.barred for p in pieces]).view(count, -1).sum(-1).double(),
        }
        return Draws(
            prompts=prompts,
            completions=replace(completions.rows(rows), prompt=owner[rows]),
            log_q=log_q[rows],
            log_w=torch.where(dead, -torch.inf, 0.0).double().repeat_interleave(n),
            log_z=log_z,
            log_z_se=se,
            status=tuple(Status.DEGENERATE if d else Status.OK for d in dead.tolist()),
            cost=Cost(sum(p.tokens for p in pieces), time.process_time() - began),
            key=key,
            info=info,
            readings={name: torch.cat([p.readings[name] for p in pieces])[rows] for name in pieces[0].readings},
        )


def _taken(key: Key, pooled: Float[Tensor, "B P"], n: int) -> Int[Tensor, " R"]:
    """Rows of the n draws a prompt, by weight, in random order; where nothing is possible, any."""
    count, size = pooled.shape
    fair = torch.where(torch.isneginf(pooled).all(-1, keepdim=True), 0.0, pooled)
    prompt = torch.arange(count)
    lot = torch.from_numpy(key.fold("draws").uniform(prompt.numpy(), 0)).to(pooled.device)
    index = systematic(fair, lot, n)
    order = torch.from_numpy(key.fold("order").uniform(row_numbers(count, n).numpy(), 0)).view(count, n).argsort(-1)
    index = index.gather(1, order.to(index.device))
    return (index + size * prompt.to(index.device)[:, None]).flatten()


def _spread(island_z: Float[Tensor, "B I"]) -> Float[Tensor, " B"]:
    """Standard deviation of log Ẑ over islands: NaN for one island or where all are dead, inf where only some are."""
    count, islands = island_z.shape
    if islands == 1:
        return torch.full((count,), torch.nan, dtype=torch.float64, device=island_z.device)
    dead = torch.isneginf(island_z)
    sd = torch.where(dead, 0.0, island_z).std(-1)
    return torch.where(dead.all(-1), torch.nan, torch.where(dead.any(-1), torch.inf, sd))


def _together(pieces: list[Swarm]) -> Completions:
    """All particles as rows, cut to the width in use; `prompt` numbers the islands."""
    offsets = [0]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + piece.islands)
    merged = concat([p.completions(p.ids.shape[1]) for p in pieces], offsets)
    used = int(merged.mask.sum(-1).max())
    return replace(merged, ids=merged.ids[:, :used], mask=merged.mask[:, :used])


def _ancestors(
    pieces: list[Swarm], possible: Bool[Tensor, " R"], owner: Int[Tensor, " R"], count: int
) -> Float[Tensor, " B"]:
    """How many first-generation particles of each prompt have a possible descendant."""
    first, roots = 0, list[Tensor]()
    for piece in pieces:
        roots.append(piece.root + first)
        first += len(piece.root)
    return torch.bincount(owner[torch.cat(roots)[possible].unique()], minlength=count).double()


def _unique(
    completions: Completions, possible: Bool[Tensor, " R"], owner: Int[Tensor, " R"], count: int
) -> Float[Tensor, " B"]:
    """How many distinct token sequences each prompt's possible particles hold."""
    tokens = torch.where(completions.mask, completions.ids, -1)
    distinct = torch.cat([owner[:, None], tokens], 1)[possible].unique(dim=0)
    return torch.bincount(distinct[:, 0], minlength=count).double()
