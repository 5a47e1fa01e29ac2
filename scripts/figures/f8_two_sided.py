"""F8: log Z of TOY-A from both sides: SMC below on average, conditional SMC on exact draws above, thousands of runs.

    .venv/bin/python scripts/figures/f8_two_sided.py

K particles grow from the prior, untwisted, and are resampled multinomially at every token; E[Ẑ] = Z there, and
E[1/Ẑ] = 1/Z in the conditional runs. The engine does not resample equal weights, as the published runs did, so it is
given a twist of a ten-thousandth of a nat that no two prefixes share. Plain importance sampling of K draws bounds log Z
too, and is enumerated. With the optimal twist, and the policy that it makes as proposal, every run is exact.
"""

import math
import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.posterior.exact import Exact, enumerate_posterior
from credence.prior.table import TablePrior
from credence.report.canvas import Palette, sheet
from credence.sample.conditional_smc import sweep
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from credence.testing.statistics import copies
from credence.testing.toys import EOS, HORIZON, code, toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

RUNS = {2: 16_000, 8: 4000, 32: 2000}
"""By particles: the published numbers come from 2,000 runs each, and have themselves an error of 0.02 at K = 2."""
PUBLISHED = {2: (0.437, 1.170), 8: (0.731, 0.954), 32: (0.827, 0.881)}
IMPORTANCE = {1: (0.2340166, 1.3913864), 2: (0.4936215, 1.1580046), 3: (0.6046615, 1.0635627)}


class Unequal:
    """No help: some 1e-4 nats, another number for each prefix."""

    def log_twist(self, prompts: Prompts, completions: Completions) -> Tensor:
        nats = [1e-4 * math.sin(1 + code(tuple(row))) for row in completions.tokens()]
        return torch.tensor(nats, dtype=torch.float64)


class OptimalTwist:
    """log ψ*(prefix) = log E_π0[exp(log_lik) | prefix]."""

    def __init__(self, exact: Exact) -> None:
        self.exact = exact

    def log_twist(self, prompts: Prompts, completions: Completions) -> Tensor:
        return torch.tensor([self.exact.log_value[tuple(row)] for row in completions.tokens()], dtype=torch.float64)


def importance(exact: Exact, draws: int) -> tuple[float, float]:
    """E[log mean of K weights], all of them the prior's, and with one exact draw among them, over all 31^K tuples."""
    total, share = exact.log_lik, torch.exp(exact.log_prior)
    for _ in range(draws - 1):
        total = torch.logaddexp(total[..., None], exact.log_lik)
        share = share[..., None] * torch.exp(exact.log_prior)
    first = torch.exp(exact.log_p - exact.log_prior).view(-1, *[1] * (draws - 1))
    mean = total - math.log(draws)
    return float((share * mean).sum()), float((first * share * mean).sum())


def both_sides(key: Key, particles: int) -> tuple[Tensor, Tensor]:
    """log Ẑ of plain runs, and of as many that hold on to an exact draw."""
    posterior, runs = toy_a(), RUNS[particles]
    wide = copies(toy_prompts(), runs)
    smc = SMC(particles, 1, 1.0, scheme="multinomial", twist=Unequal())
    below = smc.draw(key.fold("below"), posterior, wide, 1).log_z
    exact = Rejection(most=100 * runs).draw(key.fold("exact"), posterior, toy_prompts(), runs).completions
    path = Completions(exact.ids, exact.mask, exact.ended, torch.arange(runs))
    return below, sweep(key.fold("above"), posterior, wide, path, smc.rules()).log_z


def mean_one(name: str, ratio: Tensor) -> Number:
    """E[ratio] = 1, within four standard errors."""
    return Number(name, 1.0, 4 * float(ratio.std()) / math.sqrt(len(ratio)), float(ratio.mean()))


def measure(seed: int) -> Found:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    numbers = [Number("log Z", 0.8520967561, 1e-9, exact.log_z)]
    curves: dict[str, list[float]] = {"log_z": [exact.log_z], "particles": list(RUNS), "draws": list(IMPORTANCE)}
    for draws, bounds in IMPORTANCE.items():
        for side, wanted, value in zip(("lower", "upper"), bounds, importance(exact, draws), strict=True):
            numbers.append(Number(f"importance {side}, K = {draws}", wanted, 1e-6, value))
            curves.setdefault(f"importance {side}", []).append(value)
    for particles in RUNS:
        below, above = both_sides(Key(seed).fold("f8", particles), particles)
        for side, wanted, runs in zip(("lower", "upper"), PUBLISHED[particles], (below, above), strict=True):
            numbers.append(Number(f"SMC {side}, K = {particles}", wanted, 0.04, float(runs.mean())))
            curves.setdefault(side, []).append(float(runs.mean()))
            curves.setdefault(f"{side} se", []).append(float(runs.std()) / math.sqrt(RUNS[particles]))
        numbers.append(Number(f"lower beyond log Z, K = {particles}", exact.log_z, 0.0, float(below.mean()), "≤"))
        numbers.append(Number(f"log Z beyond upper, K = {particles}", float(above.mean()), 0.0, exact.log_z, "≤"))
        numbers.append(mean_one(f"E[Ẑ]/Z, K = {particles}", torch.exp(below - exact.log_z)))
        numbers.append(mean_one(f"E[Z/Ẑ], exact draw kept, K = {particles}", torch.exp(exact.log_z - above)))
    policy = TablePrior(lambda said: exact.soft_optimal(said).tolist(), 3, EOS, HORIZON)
    best = SMC(2, 1, 1.0, policy, "multinomial", OptimalTwist(exact))
    optimal = best.draw(Key(seed).fold("f8", "optimal"), toy_a(), copies(toy_prompts(), 200), 1).log_z
    off = float((optimal - exact.log_z).abs().max())
    numbers.append(Number("largest |log Ẑ − log Z| of 200 runs, optimal twist", 0.0, 1e-10, off, "≤"))
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((7.2, 4.4), palette)
    told = (("lower", "SMC, mean log Ẑ", palette.train), ("upper", "conditional SMC on exact draws", palette.draw))
    for side, words, colour in told:
        error = [4 * x for x in found.curves[f"{side} se"]]
        ax.errorbar(found.curves["particles"], found.curves[side], error, color=colour, marker="o", linewidth=2,
                    capsize=3, label=words)  # fmt: skip
        plain = found.curves[f"importance {side}"]
        words = "importance sampling, enumerated" if side == "lower" else None
        ax.plot(found.curves["draws"], plain, color=palette.muted, marker="s", linestyle=(0, (4, 2)), label=words)
    ax.axhline(found.curves["log_z"][0], color=palette.target, linewidth=1.5, label="log Z")
    ax.set_xscale("log", base=2)
    plain_ticks(ax.xaxis, (1, 2, 4, 8, 16, 32))
    titled(ax, palette, "log Z of TOY-A from below and above, ± 4 standard errors", "particles, or draws", "nats")
    keyed(ax, palette)
    return picture


FIGURE = Figure(
    "F8", "log Z between SMC and conditional SMC on exact draws; no error under the optimal twist", "Zhao et al. 2024",
    measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
