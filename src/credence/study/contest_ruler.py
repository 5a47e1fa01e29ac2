"""The ruler of a comparison: every engine and seed read off the same prior draws, each figure with its interval.

log Z of a prompt: each trained policy's draws are balanced with the prior's (as `Ruler` does with one), which gives an
unbiased Ẑ a policy, and these are averaged: a partition of unity, so unbiased whatever the policies are, at one scoring
of the prior's draws a policy. Intervals are over prompts and draws by the two-level bootstrap, in which log Z is formed
anew, and over seeds by Student's law of the seeds' own values; the two half widths are joined as independent errors
are. Seeds differ by their draws too, so this counts draws twice: it is a little wide, not narrow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from credence.core.keys import Key
from credence.diagnose.intervals import Group, bootstrap_all, student
from credence.report.schema import Estimate
from credence.study.measured import Measured
from credence.study.ruler import Drawn, Values

MEASURES = ("reward", "ended", "kl_prior", "kl_reverse", "kl_forward")
REWARD, ENDED, KL_PRIOR, KL_REVERSE, KL_FORWARD = range(len(MEASURES))
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Law:
    """One engine with one seed on the ruler."""

    engine: str
    seed: int
    found: Measured

    @property
    def pool(self) -> str:
        """Name of its draws."""
        return f"{self.engine} {self.seed}"


class ContestRuler:
    """What was drawn by all; `read` turns it into estimates by engine and measure.

    Args:
        prior: the reference: draws of the prior; log_law equals log_prior.
        laws: what each engine found with each seed; refusals left out.
    """

    def __init__(self, prior: Drawn, laws: Sequence[Law]) -> None:
        self.prior, self.laws = prior, laws
        self.engines = list(dict.fromkeys(law.engine for law in laws))
        self.trained = [i for i, law in enumerate(laws) if law.found.on_prior is not None]
        self.others = [i for i in range(len(laws)) if i not in self.trained]

    def groups(self) -> list[Group]:
        """One mapping of pools a prompt: prior draws with their law under each policy, all policies', every other's."""
        out: list[Group] = []
        policies = [self.laws[i].found for i in self.trained]
        for b in range(len(self.prior.log_lik)):
            columns = [self.prior.log_prior[b], self.prior.log_lik[b], self.prior.reward[b], self.prior.ended[b]]
            columns += [m.on_prior[b] for m in policies if m.on_prior is not None]
            pools = {"prior": torch.stack(columns, -1)}
            if policies:
                # Row i holds each policy's i-th draw: resampled together, which is right for equal keys and for others.
                pools["policies"] = torch.stack([m.drawn.columns(b) for m in policies if m.drawn is not None], 1)
            for i in self.others:
                rows = _rows(self.laws[i].found, b)
                if len(rows):
                    pools[self.laws[i].pool] = rows
            out.append(pools)
        return out

    def statistics(self, groups: Sequence[Group], seeds: bool = False) -> Values:
        """Every engine's measures, means over seeds, then prompts, by "engine/measure"; with `seeds` each seed's too.

        What is not known on some prompt is the mean over the others; what is known on none is NaN. The share of the
        gap is NaN where the prior has no finite gap above 0.
        """
        common, each = zip(*(self._prompt(group) for group in groups), strict=True)
        level: Floats = np.array(common)  # (B, 7): log Z, the posterior's three, the prior's three
        names = ("log_z", "posterior/reward", "posterior/ended", "posterior/kl_prior", "prior/reward", "prior/ended",
                 "prior/kl_reverse")  # fmt: skip
        out = {name: float(value) for name, value in zip(names, level.mean(0), strict=True)}
        out["prior/kl_forward"] = out["posterior/kl_prior"]
        gaps, table = level[:, 6], np.array(each).reshape(len(groups), len(self.laws), len(MEASURES))
        wanted = {engine: [i for i, law in enumerate(self.laws) if law.engine == engine] for engine in self.engines}
        if seeds:
            wanted |= {law.pool: [i] for i, law in enumerate(self.laws)}
        for name, index in wanted.items():
            own = _mean(table[:, index], 1)
            out |= {f"{name}/{m}": float(v) for m, v in zip(MEASURES, _mean(own, 0), strict=True)}
            known = ~np.isnan(own[:, KL_REVERSE])
            gap = float(gaps[known].mean()) if known.any() else math.nan
            out[f"{name}/gap_closed"] = 1 - out[f"{name}/kl_reverse"] / gap if 0 < gap < math.inf else math.nan
            out[f"{name}/closed"] = gap - out[f"{name}/kl_reverse"] if gap < math.inf else math.nan
        return out

    def _prompt(self, group: Group) -> tuple[Sequence[float], Floats]:
        """Of one prompt: log Z and the laws that are always there; each law's measures."""
        prior = group["prior"]
        lik = prior[:, 1]
        table = np.full((len(self.laws), len(MEASURES)), math.nan)
        if self.trained:
            log_z, target = self._policies(prior, group["policies"], table)
        else:
            log_z = float(torch.logsumexp(lik, 0)) - math.log(len(lik))
            share = torch.softmax(lik, 0) if log_z > -math.inf else torch.zeros_like(lik)
            target = [_dot(share, prior[:, c]) for c in (2, 3, 1)]
        moved = target[2] - log_z
        for i in self.others:
            if self.laws[i].pool in group:
                table[i] = _measures(self.laws[i], group[self.laws[i].pool], log_z, moved)
        return (log_z, target[0], target[1], moved, float(prior[:, 2].mean()), float(prior[:, 3].mean()),
                log_z - float(lik.mean())), table  # fmt: skip

    def _policies(self, prior: Tensor, drawn: Tensor, table: Floats) -> tuple[float, list[float]]:
        """log Z and the posterior's reward, ended and log_lik; fills in the rows of the policies."""
        n, m = math.log(len(prior)), math.log(len(drawn))
        law, before, lik = drawn[..., 0], drawn[..., 1], drawn[..., 2]  # (n, S)
        joint_0, joint = prior[:, 0] + prior[:, 1], before + lik
        under = prior[:, 4:]
        log_w = torch.cat([
            joint_0[:, None] - torch.logaddexp(n + prior[:, :1], m + under),
            joint - torch.logaddexp(n + before, m + law),
        ])  # fmt: skip
        each = torch.logsumexp(log_w, 0)
        log_z = float(torch.logsumexp(each, 0)) - math.log(len(each))
        alive = log_z > -math.inf
        share = torch.softmax(log_w.flatten(), 0).view(log_w.shape) if alive else torch.zeros_like(log_w)
        target = [
            _dot(share, torch.cat([prior[:, c, None].expand(-1, len(each)), drawn[..., d]]))
            for c, d in ((2, 3), (3, 4), (1, 2))
        ]
        own = torch.softmax(log_w, 0) if alive else torch.zeros_like(log_w)
        gap = torch.cat([joint_0[:, None] - under, joint - law])
        rows = table[self.trained]
        rows[:, REWARD], rows[:, ENDED] = drawn[..., 3].mean(0).numpy(), drawn[..., 4].mean(0).numpy()
        rows[:, KL_PRIOR] = (law - before).mean(0).numpy()
        rows[:, KL_REVERSE] = (log_z - (lik - law + before).mean(0)).numpy()
        rows[:, KL_FORWARD] = (torch.where(own > 0, own * gap, 0.0).sum(0) - log_z).numpy()
        table[self.trained] = rows
        return log_z, target

    def read(self, key: Key, resamples: int = 300) -> Mapping[str, Estimate]:
        """Every measure with its 95 % interval over prompts, draws and seeds; what has no value is left out.

        Tests: against enumeration and for coverage, tests/statistical/test_contest_ruler.py.
        """
        groups = self.groups()
        whole = self.statistics(groups, seeds=True)
        known = {name for name, value in self.statistics(groups).items() if value == value}

        def statistics(again: Sequence[Group]) -> Values:
            return {name: value for name, value in self.statistics(again).items() if name in known}

        out: dict[str, Estimate] = {}
        for name, (value, low, high) in bootstrap_all(statistics, groups, key, resamples=resamples).items():
            engine, _, measure = name.rpartition("/")
            seeds = [whole[f"{law.pool}/{measure}"] for law in self.laws if law.engine == engine]
            out[name] = widened(Estimate(value, low, high), seeds)
        return out


def widened(estimate: Estimate, seeds: Sequence[float]) -> Estimate:
    """An interval over prompts and draws, and what seeds add to it: t · sd/√S on either side, joined in quadrature.

    One seed adds nothing: what another would have done is not known, and whoever shows the interval says so.
    """
    known = [value for value in seeds if math.isfinite(value)]
    if len(known) < 2 or not math.isfinite(estimate.value):
        return estimate
    half = student(len(known) - 1, 0.95) * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    value = estimate.value
    return Estimate(
        value, value - math.hypot(value - estimate.low, half), value + math.hypot(estimate.high - value, half)
    )


def _rows(found: Measured, b: int) -> Tensor:
    """One prompt's draws of a law that is no trained policy: (U, 5) log_lik, reward, ended, elbo, forward bound."""
    if found.drawn is not None:
        d = found.drawn
        return torch.stack([d.log_lik[b], d.reward[b], d.ended[b], d.log_lik[b], d.log_lik[b]], -1)
    if found.units is None:
        return torch.zeros(0, 5, dtype=torch.float64)
    rows = found.units[found.units[:, 0] == b][:, 1:]
    forward = math.nan if found.forward is None else float(found.forward[b])
    return torch.cat([rows, torch.full((len(rows), 1), forward, dtype=torch.float64)], 1)


def _measures(law: Law, rows: Tensor, log_z: float, moved: float) -> list[float]:
    """Of one prompt. An unknown elbo makes both divergences unknown; an exact law is p*, a dense one here the prior."""
    lik, reward, ended, elbo, forward = (_nanmean(rows[:, c]) for c in range(5))
    if law.found.drawn is not None:
        return [reward, ended, 0.0, log_z - lik, moved]
    if law.found.exact:
        return [reward, ended, lik - log_z, 0.0, 0.0]
    return [reward, ended, lik - elbo, log_z - elbo, forward]


def _nanmean(values: Tensor) -> float:
    known = ~torch.isnan(values)
    return float(values[known].mean()) if bool(known.any()) else math.nan


def _mean(values: Floats, axis: int) -> Floats:
    """The mean over what is known along an axis; NaN where nothing is."""
    known = ~np.isnan(values)
    count, total = known.sum(axis), np.where(known, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _dot(share: Tensor, values: Tensor) -> float:
    """Σ share · values, where what weighs nothing counts nothing, were it infinite."""
    return float(torch.where(share > 0, share * values, 0.0).sum())
