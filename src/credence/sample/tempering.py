"""Parallel tempering: chains all along the path from prior to posterior, which exchange their texts."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Guarantee, Target
from credence.core.types import Draws, Prompts
from credence.prior.steps import row_numbers
from credence.sample.record import Record, check_settings, planned
from credence.sample.suffix_mh import suffix_step
from credence.sample.texts import Texts, begin, stepped
from credence.sample.thermodynamic import area, ladder


@dataclass(frozen=True)
class ParallelTempering:
    """Ladders of chains: rung k walks p_λ ∝ π0 · exp(λ log_lik) by suffixes, λ from 0 to 1, and neighbours swap.

    Each step is a suffix move of every rung (SuffixMH; at λ = 0 a whole new text), then a swap of every other pair of
    neighbours i < j, taken with probability min(1, exp((λ_i − λ_j)(log_lik_j − log_lik_i))). New texts come in at the
    prior's end and climb to the posterior's, which a single chain would reach only through what lies between.

    Guarantee: CONSISTENT: the product of all p_λ is invariant, and the draws are the top rung's. log_z comes by
    thermodynamic integration, log Z = log π0(possible) + ∫ E_λ[log_lik] dλ, where the support does not jump: an
    impossible text is so at every λ. It is consistent in steps and rungs; log_z_se is from the spread of the ladders,
    NaN for one, and knows nothing of the error that few rungs leave (info: log_z_low, log_z_high).

    info, a prompt: as SuffixMH, of the top rung; swaps (share taken by the pair of neighbours that swaps least, after
    burn-in), log_z_low and log_z_high (nats, what the rungs allow).

    Args:
        chains: ladders a prompt.
        burn_in: steps before the first draw.
        thin: steps between two draws of a ladder.
        rungs: chains of a ladder, both ends counted.
        power: λ_k = (k/(rungs − 1))^power.

    Raises:
        ConfigError: a setting out of range, or a prior that cannot be stepped.

    Cost: rungs times SuffixMH's. Source: Geyer 1991; Friel, Hurn & Wyse 2014 (the integral); SCIENCE 5. Swaps are
    enumerated in tests/oracle/test_thermodynamic.py, the engine held in tests/statistical/test_chains.py.
    """

    chains: int = 4
    burn_in: int = 50
    thin: int = 5
    rungs: int = 6
    power: float = 2.0
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def __post_init__(self) -> None:
        check_settings("ParallelTempering", self.chains, self.burn_in, self.thin)
        ladder(self.rungs, self.power)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major."""
        record = Record(planned(self.chains, self.burn_in, self.thin, n, prompts), prompts)
        prior = stepped("ParallelTempering", posterior, None)
        at = torch.tensor(ladder(self.rungs, self.power), dtype=torch.float64)
        texts, record.tokens = begin(posterior, prior, key.fold("start"), prompts, self.chains * self.rungs)
        at, rows = at.to(texts.log_lik.device), row_numbers(len(prompts), self.chains * self.rungs)
        lam = at.repeat(len(prompts) * self.chains)
        nats: list[Tensor] = []
        swaps: list[Tensor] = []
        fresh = [texts.possible()]
        for step in range(1, record.plan.steps + 1):
            here = key.fold("step", step)
            move = suffix_step(here, posterior, prior, prompts, texts, rows, lam)
            texts, swapped = exchange(here, move.texts, at, rows, step % 2)
            record.add(step, texts.rows(lam == 1), move.accepted[lam == 1], move.tokens)
            fresh.append(move.proposed.possible()[lam == 0])
            if record.plan.counts(step):
                nats.append(texts.log_lik.view(len(prompts), self.chains, self.rungs))
                swaps.append(swapped.view(len(prompts), self.chains, self.rungs - 1))
        draws = record.draws(key, {"swaps": _least_swaps(torch.stack(swaps))})
        return _with_log_z(draws, at, torch.stack(nats, -1), [f.view(len(prompts), -1) for f in fresh])


def swap_log_alpha(
    low: Float[Tensor, "*n"], high: Float[Tensor, "*n"], lower: Float[Tensor, "*n"], upper: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """log min(1, exp((λ_i − λ_j)(log_lik_j − log_lik_i))) of exchanging the texts at λ_i = lower and λ_j = upper.

    An impossible text moves down for a possible one at once; nothing else exchanges with it.

    Args:
        low: log_lik of the text at the lower position.
        high: log_lik of the text at the upper one.
        lower: λ_i.
        upper: λ_j.
    """
    ratio = ((lower - upper) * (high - low)).clamp(max=0.0)
    return torch.where(torch.isneginf(low), -torch.inf, torch.where(torch.isneginf(high), 0.0, ratio))


def exchange(
    key: Key, texts: Texts, at: Float[Tensor, " K"], rows: Int[Tensor, " R"], parity: int
) -> tuple[Texts, Float[Tensor, "L P"]]:
    """Swap neighbours k, k+1 of every ladder with k ≡ parity (mod 2).

    Returns the texts, and of each ladder and pair 1 where it swapped, 0 where not, NaN where it was not its turn.
    """
    rungs = len(at)
    nats = torch.where(texts.possible(), texts.log_lik, -torch.inf).view(-1, rungs)
    uniform = torch.from_numpy(key.fold("swap").uniform(rows.numpy(), 0)).to(nats.device).view(-1, rungs)[:, :-1]
    pair = torch.arange(rungs - 1, device=nats.device)
    turn: Bool[Tensor, " P"] = pair % 2 == parity
    log_accept = swap_log_alpha(nats[:, :-1], nats[:, 1:], at[:-1].expand(len(nats), -1), at[1:].expand(len(nats), -1))
    swapped = (torch.log(uniform) < log_accept) & turn
    source = torch.arange(rungs, device=nats.device).expand(len(nats), -1).clone()
    source[:, :-1] += swapped.long()
    source[:, 1:] -= swapped.long()
    first = torch.arange(len(nats), device=nats.device)[:, None] * rungs
    return texts.rows((first + source).flatten()), torch.where(turn, swapped.double(), torch.nan)


def _least_swaps(swapped: Float[Tensor, "S B C P"]) -> Float[Tensor, " B"]:
    """The share of swaps taken by the pair that swaps least; NaN if a pair never had its turn."""
    return swapped.transpose(0, 1).flatten(1, 2).nanmean(1).amin(-1)


def _with_log_z(draws: Draws, at: Tensor, nats: Float[Tensor, "B C K S"], fresh: list[Tensor]) -> Draws:
    """Add log Z: the share of prior draws that are possible, and the area under the rungs' means.

    The variances are taken over all ladders' steps together: within one short ladder they would come out too small.
    """
    possible = torch.cat(fresh, -1)
    share = possible.double().mean(-1)
    dead = torch.isneginf(draws.log_z)
    live = torch.where(torch.isneginf(nats).any(-1, keepdim=True), torch.nan, nats)
    ladders, positions = nats.shape[1], at.tolist()
    under = area(positions, live.mean((1, 3)), live.transpose(1, 2).flatten(2).var(-1, unbiased=False))
    each = area(positions, live.mean(-1), torch.zeros_like(live[..., 0])).value
    spread = each.var(-1) / ladders if ladders > 1 else torch.full_like(share, torch.nan)
    error = torch.sqrt(spread + (1 - share) / (share * possible.shape[1]))
    base = torch.log(share)
    return replace(
        draws,
        log_z=torch.where(dead, -torch.inf, base + under.value),
        log_z_se=torch.where(dead, torch.nan, error),
        info={
            **draws.info,
            "log_z_low": torch.where(dead, -torch.inf, base + under.low),
            "log_z_high": torch.where(dead, -torch.inf, base + under.high),
        },
    )
