"""The product of prior and experts as a law of whole sequences: draws a token at a time, and the weight they lack."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import ess, inverse_cdf, log_mean_exp
from credence.core.protocols import Guarantee, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to
from credence.evidence.experts import Experts
from credence.evidence.product import Product, measure
from credence.posterior.experts import besides, token_law
from credence.prior.loglinear import LogLinear
from credence.prior.steps import ROWS, row_numbers
from credence.sample.importance import log_z_from
from credence.sample.resample import systematic


@dataclass(frozen=True)
class SequenceProduct:
    """SMC on π0 · Π (π⁺/π⁻)^w · other evidence, with the law a token as its proposal.

    A particle at prefix s gains C(s) = Σ_v of the product over the next token, before that token is drawn; where an
    island's ESS falls below threshold × particles, its mean weight is banked into Ẑ, it is resampled systematically,
    and its weights start again at 1. Evidence besides the experts weighs at the end. threshold = 0 is importance
    sampling from the law a token.

    Guarantee: UNBIASED_Z, of the sequence law. The n draws returned are drawn from all particles by weight, with
    replacement, and count equally. log_z_se is the spread of the islands, NaN for one. A prompt whose particles all
    become impossible has no draw, log_z = -inf and Status.DEGENERATE.

    info, a prompt: ess (of all its particles at the end, draws), resamplings (summed over islands), unique (distinct
    possible sequences among the particles), kl_token (log Ẑ minus the islands' mean of log w, only where nothing was
    resampled: KL(law a token‖p*), nats; else NaN).
    log_q: nats under the law a token.

    Args:
        particles: K of each island.
        islands: independent runs a prompt.
        threshold: resample where ESS < threshold × K.

    Raises:
        ConfigError: a setting out of range; evidence without Experts (see posterior.experts).
        ShapeError: n below 1 or no prompt.
        DegeneracyError: an anti-expert cannot say what base and experts can.

    Cost: particles × islands draws a prompt, each token one pass of every distinct model, and a scoring pass of the n
    draws for their readings. Source: SCIENCE 5.4; Zhao et al. 2024 (2404.17546). Tested in
    tests/statistical/test_decoding.py, against wrong versions in tests/mutants/test_decoding_mutants.py.
    """

    particles: int = 16
    islands: int = 4
    threshold: float = 0.5
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def __post_init__(self) -> None:
        if self.particles < 1 or self.islands < 1 or not 0 <= self.threshold <= 1:
            raise ConfigError(
                f"SequenceProduct(particles={self.particles}, islands={self.islands}, threshold={self.threshold}): at "
                "least one particle, one island, and a threshold from 0 to 1 are needed."
            )

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major; none of a prompt without a possible particle."""
        began = time.process_time()
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        law, rest = token_law(posterior), besides(posterior)
        total, per = len(prompts) * self.islands, max(1, ROWS // self.particles)
        pieces: list[_Crowd] = []
        for first in range(0, total, per):
            part = prompts.take([i // self.islands for i in range(first, min(first + per, total))])
            pieces.append(_Crowd(key, law, part, self.particles, self.threshold, first))
            pieces[-1].grow()
        pooled = self._pooled(key, prompts, rest, pieces)
        out = pooled.resample(key.fold("draws"), n)
        experts = [factor for factor in _factors(posterior) if isinstance(factor, Experts)]
        readings = {**Product(tuple(experts)).readings(prompts, out.completions), **out.readings}
        passes = len(law.parts)
        tokens = sum(p.tokens for p in pieces) * passes + int(out.completions.mask.sum()) * passes
        return replace(out, key=key, readings=readings, cost=Cost(tokens, time.process_time() - began))

    def _pooled(self, key: Key, prompts: Prompts, rest: Product, pieces: "list[_Crowd]") -> Draws:
        """All particles of all islands, weighted."""
        count = len(prompts)
        completions = concat([p.completions() for p in pieces], [0] * len(pieces))
        device = completions.ids.device
        owner = torch.arange(count, device=device).repeat_interleave(self.islands * self.particles)
        completions = replace(completions, prompt=owner)
        log_w, readings = torch.cat([p.log_w for p in pieces]), {}
        if rest.factors:
            nats, readings = measure(rest, prompts, completions)
            log_w = log_w + nats
        banked = torch.cat([p.log_z for p in pieces])
        island_z = banked + log_mean_exp(log_w.view(-1, self.particles))
        island_prompt = torch.arange(count, device=device).repeat_interleave(self.islands)
        log_z, se, _ = log_z_from(island_z, island_prompt, count)
        pool = (banked.repeat_interleave(self.particles) + log_w).view(count, -1)
        resamplings = torch.cat([p.resamplings for p in pieces]).view(count, -1).sum(-1)
        mean = log_w.view(count, -1).mean(-1)
        gap = torch.where(torch.isneginf(mean), torch.inf, log_z - mean)
        info = {
            "ess": ess(pool),
            "resamplings": resamplings.double(),
            "unique": _unique(completions, ~torch.isneginf(pool.flatten()), count),
            "kl_token": torch.where(resamplings > 0, torch.nan, gap),
        }
        status = tuple(Status.DEGENERATE if d else Status.OK for d in torch.isneginf(log_z).tolist())
        log_q = torch.cat([pad_to(p.log_q, completions.ids.shape[1]) for p in pieces])
        return Draws(
            prompts, completions, log_q, pool.flatten(), log_z, se, status, Cost(), key, info, readings
        )  # fmt: skip


def _factors(target: Target) -> tuple[object, ...]:
    return target.evidence.factors if isinstance(target.evidence, Product) else (target.evidence,)


def _unique(completions: Completions, possible: Tensor, count: int) -> Float[Tensor, " B"]:
    """How many distinct token sequences each prompt's possible particles hold."""
    tokens = torch.where(completions.mask, completions.ids, -1)
    distinct = torch.cat([completions.prompt[:, None], tokens], 1)[possible].unique(dim=0)
    return torch.bincount(distinct[:, 0], minlength=count).double()


class _Crowd:
    """The particles of some islands, one prompt an island; R = islands · K rows, island-major."""

    def __init__(
        self, key: Key, law: LogLinear, prompts: Prompts, particles: int, threshold: float, first: int
    ) -> None:
        self.key, self.law, self.particles, self.threshold = key, law, particles, threshold
        self.state = law.start(prompts, particles)
        self.logits, mass = law.next_product(self.state)
        rows, device = len(prompts) * particles, mass.device
        self.ids = torch.zeros(rows, law.horizon, dtype=torch.long, device=device)
        self.log_q = torch.zeros(rows, law.horizon, dtype=torch.float64, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.log_w = mass.clone()  # log weights since the island was last resampled
        self.log_z = torch.zeros(len(prompts), dtype=torch.float64, device=device)
        self.resamplings = torch.zeros(len(prompts), dtype=torch.long, device=device)
        self.numbers = row_numbers(len(prompts), particles, first)
        self.islands = torch.arange(first, first + len(prompts)).numpy()
        self.growing = torch.arange(rows, device=device)  # the particle of each row of the state
        self.ends = torch.tensor(sorted(law.ends), device=device)
        self.tokens, self.close = 0, 0

    def completions(self) -> Completions:
        """All particles; `prompt` is not set."""
        width = int(self.length.max())
        mask = torch.arange(width, device=self.ids.device) < self.length[:, None]
        none = torch.zeros_like(self.length)
        return Completions(self.ids[:, :width], mask, self.ended, none, close_calls=self.close)

    def grow(self) -> None:
        """Token by token, to the end of every particle."""
        for t in range(self.law.horizon):
            self._say(t)
            kept = torch.nonzero(~self.ended[self.growing]).flatten()
            if t + 1 == self.law.horizon or len(kept) == 0:
                return
            if len(kept) < len(self.growing):
                self.state, self.growing = self.law.take(self.state, kept), self.growing[kept]
            self.state = self.law.extend(self.state, self.ids[self.growing, t])
            self.logits, mass = self.law.next_product(self.state)
            self.log_w[self.growing] += mass
            self._resample(t)
            if len(self.growing) == 0:  # only finished particles survived
                return

    def _say(self, t: int) -> None:
        lot = torch.from_numpy(self.key.fold("token").uniform(self.numbers[self.growing.cpu()].numpy(), t))
        token, log_q, margin = inverse_cdf(self.logits, lot.to(self.logits.device))
        self.ids[self.growing, t], self.log_q[self.growing, t] = token, log_q
        self.length[self.growing] = t + 1
        self.ended[self.growing] = torch.isin(token, self.ends)
        self.tokens += len(token)
        self.close += int((margin < 16 * torch.finfo(self.logits.dtype).eps).sum())

    def _resample(self, t: int) -> None:
        """Resample the islands that are due, and bring the state in line with the particles."""
        log_w = self.log_w.view(len(self.log_z), -1)
        growing = ~self.ended.view(len(self.log_z), -1).all(-1)
        possible = ~torch.isneginf(log_w).all(-1)
        due = growing & possible & (ess(log_w) < self.threshold * self.particles * (1 - 1e-9))
        if not bool(due.any()):
            return
        index = torch.arange(self.particles, device=log_w.device).repeat(len(due), 1)
        lot = torch.from_numpy(self.key.fold("resample").uniform(self.islands, t)).to(log_w.device)
        index[due] = systematic(log_w[due], lot[due])
        ancestor = (index + self.particles * torch.arange(len(due), device=log_w.device)[:, None]).flatten()
        self.log_z = torch.where(due, self.log_z + log_mean_exp(log_w), self.log_z)
        self.log_w = torch.where(due[:, None], 0.0, log_w).flatten()
        self.resamplings += due.long()
        self._copy(ancestor)

    def _copy(self, ancestor: Int[Tensor, " R"]) -> None:
        place = torch.zeros_like(ancestor)
        place[self.growing] = torch.arange(len(self.growing), device=place.device)
        for name in ("ids", "log_q", "length", "ended"):
            setattr(self, name, getattr(self, name)[ancestor])
        self.growing = torch.nonzero(~self.ended).flatten()
        source = place[ancestor[self.growing]]
        self.state, self.logits = self.law.take(self.state, source), self.logits[source]
