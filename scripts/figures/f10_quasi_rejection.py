"""F10: what quasi-rejection accepts and how far it is from p*, bound by bound; and Pareto k̂ where the truth is known.

    .venv/bin/python scripts/figures/f10_quasi_rejection.py

TOY-A enumerated, beside the same curve from one set of 4,000 draws. Weights of Exp(1) draws towards Exp(θ) have
k = 1 − θ.
"""

import math
import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, titled

from credence.core.keys import Key
from credence.diagnose.acceptance import acceptance_curve
from credence.diagnose.weights import pareto_k
from credence.posterior.exact import enumerate_posterior
from credence.report.canvas import Palette, sheet
from credence.sample.importance import Importance
from credence.testing.toys import toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

DRAWS = 4000
RATES = (0.9, 0.7, 0.5, 0.3, 0.1)
TAILS, SIZE = 20, 10_000


def tails(seed: int) -> list[list[float]]:
    """k̂ of TAILS sets of SIZE weights for each θ: log w = log θ + (1 − θ)x, x of Exp(1)."""
    out: list[list[float]] = []
    for index, rate in enumerate(RATES):
        stream = Key(seed).fold("f10", index).generator()
        each = [torch.from_numpy(stream.standard_exponential(SIZE)) for _ in range(TAILS)]
        out.append([pareto_k(math.log(rate) + (1 - rate) * x) for x in each])
    return out


def measure(seed: int) -> Found:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    two, eight = acceptance_curve(exact.log_lik, [math.log(2), math.log(8)], exact.log_prior)
    grid = torch.linspace(math.log(0.3), math.log(9), 40, dtype=torch.float64).tolist()
    truth = acceptance_curve(exact.log_lik, grid, exact.log_prior)
    log_w = Importance().draw(Key(seed).fold("f10", "draws"), toy_a(), toy_prompts(), DRAWS).log_w
    drawn = acceptance_curve(log_w, grid)
    whole = float(exact.log_lik.max())
    mean_square = float(torch.exp(torch.logsumexp(exact.log_prior + 2 * exact.log_lik, 0)))
    numbers = [
        Number("acceptance at b = 2", 0.5803277, 1e-6, two.acceptance),
        Number("TV(p_b, p*) at b = 2", 0.2958843, 1e-6, two.tv),
        Number("p*(w > 2)", 0.7656466, 1e-6, two.tv_bound),
        Number("TV(p_b, p*) at b = 8", 0.0, 1e-12, eight.tv, "≤"),
        Number("TV beyond p*(w > b), 40 bounds", 0.0, 1e-12, max(p.tv - p.tv_bound for p in truth), "≤"),
        Number("rejection's rate Z/max w", 0.3241270413, 1e-9, math.exp(exact.log_z - whole)),
        Number("ESS/n of the prior's draws", 0.4403370304, 1e-9, math.exp(2 * exact.log_z) / mean_square),
    ]
    # Over 30 other sets of draws the error at a bound has a standard deviation of 0.0024 at most; the worst was 0.0048.
    worst = max(abs(a.tv - b.tv) for a, b in zip(drawn, truth, strict=True))
    numbers.append(Number("TV from 4,000 draws, worst of 40 bounds", 0.0, 0.012, worst, "≤"))
    found = tails(seed)
    for rate, each in zip(RATES, found, strict=True):
        numbers.append(Number(f"k̂ of Exp({rate:g})/Exp(1), mean of 20", 1 - rate, 0.15, sum(each) / TAILS))
    curves = {
        "exact": [[p.acceptance, p.tv, p.tv_bound] for p in truth],
        "drawn": [[p.acceptance, p.tv, p.tv_bound] for p in drawn],
        "tails": found,
    }
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (left, right) = sheet((10.8, 3.9), palette, 1, 2)
    share = [point[0] for point in found.curves["exact"]]
    left.plot(share, [p[2] for p in found.curves["exact"]], color=palette.muted, linestyle=(0, (1, 2)),
              label="p*(w > b), the bound on TV")  # fmt: skip
    left.plot(share, [p[1] for p in found.curves["exact"]], color=palette.target, linewidth=2, label="TV(p_b, p*)")
    left.plot([p[0] for p in found.curves["drawn"]], [p[1] for p in found.curves["drawn"]], color=palette.draw,
              linestyle="none", marker="o", markersize=3.5, label="the same from 4,000 draws")  # fmt: skip
    titled(left, palette, "Quasi-rejection on TOY-A, one bound a point", "share of draws accepted")
    keyed(left, palette, "upper left")
    for rate, each in zip(RATES, found.curves["tails"], strict=True):
        right.plot([1 - rate] * len(each), each, color=palette.train, linestyle="none", marker="o", markersize=3.5)
    right.plot([0, 1], [0, 1], color=palette.target, linewidth=1.5, label="k = 1 − θ")
    right.axhline(0.7, color=palette.muted, linestyle=(0, (1, 2)), label="0.7: trust ends")
    titled(right, palette, "Pareto k̂ of 20 sets of 10,000 weights", "true k")
    keyed(right, palette, "upper left")
    return picture


FIGURE = Figure(
    "F10", "quality against acceptance of quasi-rejection, and Pareto k̂ on known tails",
    "Eikema et al. 2022; Vehtari et al. 2024", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
