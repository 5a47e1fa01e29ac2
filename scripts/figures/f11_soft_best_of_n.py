"""F11: soft best-of-n comes to p* faster than 1/n on finite toys; hard best-of-n comes near a Gaussian's optimum.

    .venv/bin/python scripts/figures/f11_soft_best_of_n.py

Three replies, π0 = (.6, .3, .1), r = (0, 1, 2), β = .5; and TOY-A. For a Gaussian reward, E[r] of best-of-n over
√(2 KL), the most that any policy reaches at its KL.
"""

import math
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from gaussian import best_of
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled

from credence.core.logspace import kl
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.report.canvas import Palette, sheet
from credence.sample.soft_best_of_n import soft_best_of_n_law
from credence.testing.toys import toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
ATOMS = {1: 1.06094, 2: 0.61273, 4: 0.28813, 8: 0.10112, 16: 0.02513, 32: 0.00518}
TOY = {1: 0.5392897, 2: 0.2344971, 3: 0.1247049}
SHARE = {4: 0.912, 16: 0.922, 64: 0.930, 256: 0.937}


def atoms() -> Exact:
    """Three replies of one token."""
    prior = TablePrior(lambda _: [math.log(p) for p in (0.6, 0.3, 0.1)], 3, frozenset({0, 1, 2}), 1)
    posterior = Posterior(prior, Reward(lambda _, replies: [float(reply[0]) for reply in replies], 0.5))
    return enumerate_posterior(posterior, prior.codec.prompts())


def left(exact: Exact, of: int) -> float:
    """KL(p*‖soft best-of-n), nats."""
    return float(kl(exact.log_p, soft_best_of_n_law(exact, of)))


def jensen(exact: Exact, of: int) -> float:
    """E_p*[log(1 + (w/Z − 1)/n)], which KL(p*‖soft best-of-n) is at most."""
    return float(torch.exp(exact.log_p) @ torch.log1p(torch.expm1(exact.log_lik - exact.log_z) / of))


def measure(seed: int) -> Found:
    """Nothing here is drawn: the seed is not used."""
    laws = {"atoms": atoms(), "toy": enumerate_posterior(toy_a(), toy_prompts())}
    curves = {name: [left(exact, of) for of in SIZES] for name, exact in laws.items()}
    bounds = {f"{name} bound": [jensen(exact, of) for of in SIZES] for name, exact in laws.items()}
    numbers = [Number(f"three replies, n = {n}", value, 1e-5, left(laws["atoms"], n)) for n, value in ATOMS.items()]
    numbers += [Number(f"TOY-A, n = {n}", value, 1e-6, left(laws["toy"], n)) for n, value in TOY.items()]
    scaled = [n * value for n, value in zip(SIZES, curves["atoms"], strict=True)][1:]
    growth = max(b / a for a, b in pairwise(scaled))
    numbers.append(Number("n·KL, largest over the one before, n ≥ 2", 1.0, 0.0, growth, "≤"))
    square = SIZES[-1] ** 2 * curves["atoms"][-1]
    numbers.append(Number("n²·KL at n = 128", 4.2, 0.05, square))
    over = max(k - b for name in laws for k, b in zip(curves[name], bounds[f"{name} bound"], strict=True))
    numbers.append(Number("KL beyond Jensen's bound, both toys", 0.0, 1e-12, over, "≤"))
    gaussian = {n: best_of(n) for n in (2, 4, 8, 16, 32, 64, 128, 256)}
    numbers += [
        Number(
            f"best-of-n over the optimum, Gaussian, n = {n}", value, 1e-3, gaussian[n][0] / (2 * gaussian[n][1]) ** 0.5
        )
        for n, value in SHARE.items()
    ]
    plane = [[kl_, reward] for reward, kl_, _ in gaussian.values()]
    return Found(tuple(numbers), {"n": list(SIZES), **curves, **bounds, "gaussian": plane})


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (first, second) = sheet((10.8, 3.9), palette, 1, 2)
    for name, words, colour in (("atoms", "three replies", palette.draw), ("toy", "TOY-A", palette.train)):
        first.plot(found.curves["n"], found.curves[name], color=colour, marker="o", linewidth=2, label=words)
        first.plot(found.curves["n"], found.curves[f"{name} bound"], color=colour, linestyle=(0, (1, 2)),
                   label=f"{words}, Jensen's bound")  # fmt: skip
    first.set_xscale("log", base=2)
    first.set_yscale("log")
    plain_ticks(first.xaxis, found.curves["n"])
    plain_ticks(first.yaxis)
    titled(first, palette, "KL(p*‖soft best-of-n), nats", "n")
    keyed(first, palette, "lower left")
    grid = [0.02 * i for i in range(1, 250)]
    second.plot(grid, [math.sqrt(2 * x) for x in grid], color=palette.target, linewidth=2, label="optimum, √(2 KL)")
    second.plot([p[0] for p in found.curves["gaussian"]], [p[1] for p in found.curves["gaussian"]], color=palette.draw,
                linestyle="none", marker="o", label="best of 2, 4, …, 256")  # fmt: skip
    titled(second, palette, "E[r] of a Gaussian reward", "KL to the prior, nats")
    keyed(second, palette, "lower right")
    return picture


FIGURE = Figure(
    "F11", "how fast soft best-of-n comes to p*, and how near best-of-n comes to the optimum",
    "Verdun et al. 2025; Yang et al. 2024", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
