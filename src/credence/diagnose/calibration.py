"""Whether stated uncertainty is right: simulation-based calibration of posterior draws, and coverage of intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Prior, Sampler, Target
from credence.core.types import Draws, Finding, Prompts
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior

ALARM = 1e-6
"""Chance that a calibrated engine is called miscalibrated."""


def ranks(truth: Tensor, draws: Tensor, key: Key) -> Int[Tensor, " N"]:
    """How many of each run's L draws lie below its truth, ties broken at random.

    It is uniform on 0..L where truth (N,) and draws (N, L) follow one law.

    Raises:
        ShapeError: axes that do not fit.
    """
    if truth.ndim != 1 or draws.ndim != 2 or len(draws) != len(truth):
        raise ShapeError(f"truth {tuple(truth.shape)} and draws {tuple(draws.shape)}: (N,) and (N, L) are needed.")
    rng = key.generator()
    own = torch.from_numpy(rng.random(len(truth)))[:, None]
    others = torch.from_numpy(rng.random(tuple(draws.shape)))
    below = draws < truth[:, None]
    return (below | ((draws == truth[:, None]) & (others < own))).sum(1)


@dataclass(frozen=True)
class Calibration:
    """Ranks of the truth among posterior draws.

    Attributes:
        counts: (L + 1,) runs a rank.
        chi_square: Σ (count − N/(L + 1))² / (N/(L + 1)), of L degrees of freedom where draws are calibrated.
        p: P(χ² ≥ chi_square).
    """

    counts: tuple[int, ...]
    chi_square: float
    p: float

    def finding(self, alarm: float = ALARM) -> Finding:
        """ok unless p < alarm; ∩-shaped ranks say that draws are too wide, ∪-shaped ones too narrow, a slope biased."""
        ok = self.p >= alarm
        said = "uniform" if ok else "not uniform: draws are too wide (∩), too narrow (∪) or biased (a slope)"
        runs = sum(self.counts)
        return Finding(
            "sbc", self.chi_square, None, None, ok, f"Ranks of the truth in {runs} runs are {said}; p = {self.p:.2g}."
        )


def calibration(rank: Int[Tensor, " N"], draws: int) -> Calibration:
    """Chi-square of ranks in 0..draws against the uniform law.

    Raises:
        ShapeError: fewer than 5 runs expected a rank.
    """
    if len(rank) < 5 * (draws + 1):
        raise ShapeError(f"{len(rank)} runs for {draws + 1} ranks: at least {5 * (draws + 1)} are needed.")
    counts = torch.bincount(rank, minlength=draws + 1).double()
    expected = len(rank) / (draws + 1)
    value = float(((counts - expected) ** 2 / expected).sum())
    return Calibration(tuple(int(c) for c in counts), value, chi_square_tail(value, draws))


def chi_square_tail(value: float, degrees: int) -> float:
    """P(χ² ≥ value); compared with scipy's in tests/unit/test_testing_statistics.py."""
    half = torch.tensor([degrees / 2, value / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


Channel = Callable[[Any], Sequence[float]]
"""A decoded completion -> log-probability of each of K observations that it may give rise to; they sum to one."""


def sbc(
    prior: Prior,
    prompts: Prompts,
    channel: Channel,
    engine: Sampler,
    statistic: Callable[[Any], float],
    key: Key,
    runs: int = 2000,
    draws: int = 9,
    effort: int | None = None,
) -> Calibration:
    """Simulation-based calibration: x ~ π0, o ~ p(o|x), then `draws` of the engine; x ranks uniformly among them.

    It needs no enumeration, and it sees what no agreement between engines can: evidence counted twice, a wrong β, a
    likelihood that is not the one the data came from (SCIENCE 1.2, 6.3).

    Args:
        prior: both the truth and the engine's prior.
        prompts: one.
        channel: p(o|x).
        engine: on trial. Weighted draws are resampled by weight, which is exact only as `effort` grows; draws of a run
            that share ancestors (SMC) are not independent: give draws=1 for them.
        statistic: of a decoded completion; what is ranked.
        key: of everything.
        runs: at least 5 (draws + 1).
        draws: L, posterior draws a run.
        effort: draws that the engine is asked for, of which L are resampled; L by default.

    Raises:
        ShapeError: not one prompt, or too few runs.
        ContractError: a channel whose probabilities do not sum to one.
        DegeneracyError: the engine gave fewer draws than it was asked for.

    Cost: runs × effort draws. Source: Talts et al. 2018; SCIENCE 8. Test: tests/statistical/test_calibration.py.
    """
    if len(prompts) != 1:
        raise ShapeError(f"{len(prompts)} prompts: calibration is of one at a time.")
    truth = prior.sample(key.fold("truth"), prompts, runs)[0].texts(prior.codec)
    observed = _observations([channel(text) for text in truth], key.fold("observation"))
    rank = torch.zeros(runs, dtype=torch.long)
    for o in sorted(set(observed.tolist())):
        here = torch.nonzero(observed == o).flatten()
        target = Posterior(prior, observation(channel, o))
        found = _drawn(engine, target, prompts.take([0] * len(here)), key.fold("draws", o), draws, effort or draws)
        values = torch.tensor([statistic(text) for text in found.texts()], dtype=torch.float64).view(len(here), draws)
        own = torch.tensor([statistic(truth[i]) for i in here.tolist()], dtype=torch.float64)
        rank[here] = ranks(own, values, key.fold("ties", o))
    return calibration(rank, draws)


def observation(channel: Channel, o: int) -> Reward:
    """The evidence of having observed o: log p(o|x) nats, at most 0."""

    def fn(prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
        return [float(channel(text)[o]) for text in completions]

    return Reward(fn, 1.0, name=f"observation {o}", bound=0.0)


def _observations(log_p: Sequence[Sequence[float]], key: Key) -> Tensor:
    table = torch.tensor([list(row) for row in log_p], dtype=torch.float64).exp()
    worst = float((table.sum(1) - 1).abs().max())
    if not worst < 1e-9:
        raise ContractError(
            f"the channel's probabilities of one completion sum to 1 ± {worst:.3g}: they must be a law."
        )
    uniform = torch.from_numpy(key.generator().random(len(table)))[:, None]
    return torch.searchsorted(table.cumsum(1), uniform).squeeze(1).clamp(max=table.shape[1] - 1)


def _drawn(engine: Sampler, target: Target, prompts: Prompts, key: Key, draws: int, effort: int) -> Draws:
    found = engine.draw(key, target, prompts, effort)
    least = int(torch.bincount(found.completions.prompt, minlength=len(prompts)).min())
    if least < effort or bool(torch.isneginf(found.log_z).any()):
        raise DegeneracyError(
            f"the engine gave {least} of {effort} draws in some run: nothing can be ranked. Let it work longer "
            "(Rejection(most=...)), or use evidence that allows more."
        )
    equal = float(found.log_w.max()) == float(found.log_w.min())
    return found if equal and effort == draws else found.resample(key.fold("resample"), draws)


def coverage(low: Tensor, high: Tensor, truth: Tensor, level: float) -> Finding:
    """Whether intervals (N,) hold the truth as often as they say: hits within the binomial 99 % band of `level`.

    A right level is called wrong with a chance of 1 % at most.

    Raises:
        ShapeError: axes that do not fit. ContractError: a NaN.
    """
    if not low.shape == high.shape == truth.shape or low.ndim != 1 or not len(low):
        raise ShapeError("low, high and truth need one and the same axis of runs.")
    if bool((torch.isnan(low) | torch.isnan(high) | torch.isnan(truth)).any()):
        raise ContractError("an interval has a NaN for an end: its engine gave no standard error (one run has none).")
    runs = len(truth)
    hits = int(((low <= truth) & (truth <= high)).sum())
    least, most = binomial_band(runs, level)
    ok = least <= hits <= most
    said = "as often as they say" if ok else "too rarely" if hits < least else "too often: they are wider than need be"
    return Finding(
        "coverage", hits / runs, math.sqrt(level * (1 - level) / runs), level, ok,
        f"{runs} intervals of {level:.0%} hold the truth {hits} times ({least} to {most} expected): {said}.",
    )  # fmt: skip


def binomial_band(runs: int, level: float, band: float = 0.99) -> tuple[int, int]:
    """The equal-tailed range of hits that holds at least `band` of the binomial law of `runs` trials at `level`."""
    if not (0 < level < 1 and 0 < band < 1 and runs >= 1):
        raise ConfigError(
            f"runs={runs}, level={level}, band={band}: at least one run, and shares in (0, 1), are needed."
        )
    k = torch.arange(runs + 1, dtype=torch.float64)
    choose = torch.lgamma(torch.tensor(runs + 1.0)) - torch.lgamma(k + 1) - torch.lgamma(runs - k + 1)
    mass = torch.exp(choose + k * math.log(level) + (runs - k) * math.log1p(-level))
    tail = (1 - band) / 2
    return int((mass.cumsum(0) <= tail).sum()), runs - int((mass.flip(0).cumsum(0) <= tail).sum())


def log_z_coverage(
    engine: Sampler, posterior: Posterior, prompts: Prompts, key: Key, runs: int = 400, n: int = 16, level: float = 0.95
) -> Finding:
    """Whether log Ẑ ± z·se holds log Z as often as its level, over independent runs on an enumerable target.

    log Ẑ is low by about se²/2 and its error is a delta method's, so small efforts cover less than they say; this shows
    how small.

    Args:
        engine: gives log_z and log_z_se.
        posterior: enumerable.
        prompts: each is run `runs` times; all runs count together.
        key: of the draws.
        runs: of each prompt.
        n: draws a run.
        level: nominal coverage.

    Raises:
        ContractError: the engine gives no standard error.

    Test: tests/statistical/test_calibration.py.
    """
    truth = [enumerate_posterior(posterior, prompts.take([b])).log_z for b in range(len(prompts))]
    found = engine.draw(key, posterior, prompts.take([b for b in range(len(prompts)) for _ in range(runs)]), n)
    half = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64))) * found.log_z_se
    exact = torch.tensor(truth, dtype=torch.float64).repeat_interleave(runs)
    return coverage(found.log_z - half, found.log_z + half, exact, level)
