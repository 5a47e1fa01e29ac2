"""F7: what dividing by the group's standard deviation does to a 0/1 reward, and the law that GRPO ends at on TOY-A.

    .venv/bin/python scripts/figures/f7_group_relative.py

Exact over the number of successes k in a group of G: the expected gradient is E[√(m(1 − m))]/(p(1 − p)) ∇p with
m = k/G, against ∇p. With a KL to the first policy the success probability runs to the fixed point of
p = 1/(1 + (1 − p0)/p0 · exp(−1/(β√(p(1 − p) + ε)))), the posterior being the same without the root.
"""

import math
import sys
from typing import TYPE_CHECKING

from result import Figure, Found, Number, alone, keyed, titled

from credence.core.logspace import kl
from credence.posterior.exact import enumerate_posterior
from credence.report.canvas import Palette, sheet
from credence.testing.group_law import group_relative_law, rescaled
from credence.testing.toys import toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

RATIOS = {
    8: {0.05: 2.473, 0.1: 2.328, 0.5: 1.856, 0.9: 2.328},
    64: {0.05: 4.336, 0.1: 3.255, 0.5: 1.984, 0.9: 3.255},
}
AMPLIFIED = {(0.1, 2.0): (0.258286, 0.154828), (0.3, 5.0): (0.392292, 0.343599), (0.5, 5.0): (0.600694, 0.549834)}
LAWS = {(2, 2.0, True): 0.11773, (3, 2.0, True): 0.08468, (2, None, False): 0.17393}
"""(G, spread, 1/length) -> KL(law‖p*) in nats on TOY-A at β = 0.5; our own, first printed here."""


def ratio(p: float, size: int, scaled: bool) -> float:
    """Of the expected gradient to ∇p, over all numbers of successes."""
    total = 0.0
    for k in range(size + 1):
        m = k / size
        chance = math.comb(size, k) * p**k * (1 - p) ** (size - k)
        total += chance * (math.sqrt(m * (1 - m)) if scaled else m * (1 - m))
    return total / (p * (1 - p))


def settled(p0: float, beta: float, scaled: bool) -> float:
    """The success probability at rest."""
    p = p0
    for _ in range(10_000):
        spread = math.sqrt(p * (1 - p) + 1e-5) if scaled else 1.0
        p = 1 / (1 + (1 - p0) / p0 * math.exp(-1 / (beta * spread)))
    return p


def law(size: int, spread: float | None, length: bool) -> float:
    """KL(GRPO's law‖p*) in nats on TOY-A."""
    prompts, posterior = toy_prompts(), toy_a()
    exact = enumerate_posterior(posterior, prompts)
    policy = group_relative_law(posterior, prompts, rescaled(exact, size, spread), length)
    return float(kl(policy.score(prompts, exact.completions).sum(-1), exact.log_p))


def measure(seed: int) -> Found:
    numbers = [
        Number(f"std division, G = {size}, p = {p}: gradient over ∇p", wanted, 0.5001e-3, ratio(p, size, True))
        for size, each in RATIOS.items()
        for p, wanted in each.items()
    ]
    numbers += [
        Number(f"no division, G = {size}: gradient over ∇p", (size - 1) / size, 1e-10, ratio(0.3, size, False))
        for size in RATIOS
    ]
    for (p0, beta), (fixed, wanted) in AMPLIFIED.items():
        numbers += [
            Number(f"p0 = {p0}, β = {beta}: where std division ends", fixed, 1e-6, settled(p0, beta, True)),
            Number(f"p0 = {p0}, β = {beta}: the posterior", wanted, 1e-6, settled(p0, beta, False)),
        ]
    numbers += [
        Number(f"GRPO's law, G = {g}, spread {s}, 1/length {w}: KL to p*", wanted, 0.5001e-4, law(g, s, w))
        for (g, s, w), wanted in LAWS.items()
    ]
    p = [i / 100 for i in range(2, 99)]
    curves = {"p": p} | {str(size): [ratio(x, size, True) for x in p] for size in RATIOS}
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((6.6, 4.0), palette)
    for size, colour in (("8", palette.draw), ("64", palette.train)):
        ax.plot(found.curves["p"], found.curves[size], color=colour, label=f"G = {size}")
    ax.axhline(1.0, color=palette.muted, linestyle=(0, (1, 2)), label="the true gradient")
    titled(ax, palette, "Gradient under std division over ∇p, 0/1 reward", "success probability p")
    keyed(ax, palette, "upper center")
    return picture


FIGURE = Figure(
    "F7", "GRPO's division by the standard deviation, and the law that GRPO ends at",
    "Liu et al. 2025 (2503.20783); Mroueh 2025 (2503.06639)", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
