"""F1: Schulman's table of the KL estimators k1, k2 and k3, from ten million draws.

    .venv/bin/python scripts/figures/f1_kl_estimators.py

q = N(0, 1) is drawn from, p = N(μ, 1), ℓ = log q/p = μ²/2 − μx, KL(q‖p) = μ²/2. k1 = ℓ, k2 = ℓ²/2, k3 = e^−ℓ − 1 + ℓ.
Closed forms, over the KL: bias 0, μ²/4, 0; standard deviation 2/μ, 2√(½ + μ²/4), 2√(e^μ² − 1 − μ²)/μ².
"""

import math
import sys
from typing import TYPE_CHECKING

import numpy as np
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled

from credence.core.keys import Key
from credence.report.canvas import Palette, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

MEANS = (0.1, 1.0)
CHUNKS, CHUNK = 10, 1_000_000
NAMES = ("k1", "k2", "k3")


def closed(mu: float) -> tuple[tuple[float, float], ...]:
    """(bias, standard deviation) of each estimator, over the KL."""
    square = mu * mu
    return (
        (0.0, 2 / mu),
        (square / 4, 2 * math.sqrt(0.5 + square / 4)),
        (0.0, 2 * math.sqrt(math.expm1(square) - square) / square),
    )


def drawn(mu: float, key: Key) -> list[tuple[float, float]]:
    """(bias, standard deviation) over the KL, from CHUNKS × CHUNK draws of q."""
    stream, kl = key.generator(), mu * mu / 2
    total, squares = np.zeros(3), np.zeros(3)
    for _ in range(CHUNKS):
        log_ratio = kl - mu * stream.standard_normal(CHUNK)
        each = np.stack([log_ratio, log_ratio**2 / 2, np.expm1(-log_ratio) + log_ratio]) / kl - 1
        total, squares = total + each.sum(1), squares + (each**2).sum(1)
    mean = total / (CHUNKS * CHUNK)
    return list(zip(mean.tolist(), np.sqrt(squares / (CHUNKS * CHUNK) - mean**2).tolist(), strict=True))


def measure(seed: int) -> Found:
    numbers: list[Number] = []
    curves: dict[str, list[float]] = {"mu": list(MEANS)}
    for index, mu in enumerate(MEANS):
        found = drawn(mu, Key(seed).fold("f1", index))
        for name, (bias, sd), (bias_found, sd_found) in zip(NAMES, closed(mu), found, strict=True):
            error = sd / math.sqrt(CHUNKS * CHUNK)
            numbers.append(Number(f"{name} sd/KL, μ = {mu:g}", sd, 0.01 * sd, sd_found))
            numbers.append(Number(f"{name} bias/KL, μ = {mu:g}", bias, 4 * error, bias_found))
            curves.setdefault(f"{name} sd", []).append(sd_found)
            curves.setdefault(f"{name} bias", []).append(bias_found)
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    """Closed forms as lines, draws as marks."""
    picture, (left, right) = sheet((10.8, 3.9), palette, 1, 2)
    grid = np.geomspace(0.05, 1.6, 120)
    for index, (name, colour) in enumerate(zip(NAMES, (palette.draw, palette.train, palette.target), strict=True)):
        dash = ("-", "-", (0, (4, 2)))[index]
        for ax, which, kind in ((left, 1, "sd"), (right, 0, "bias")):
            ax.plot(grid, [closed(float(mu))[index][which] for mu in grid], color=colour, linestyle=dash, label=name)
            ax.plot(found.curves["mu"], found.curves[f"{name} {kind}"], "os^"[index], color=colour, markersize=7)
    left.set_xscale("log")
    left.set_yscale("log")
    plain_ticks(left.xaxis, (0.1, 0.2, 0.5, 1.0))
    plain_ticks(left.yaxis, (2.0, 5.0, 10.0, 20.0, 40.0))
    titled(left, palette, "Standard deviation over the KL", "μ")
    titled(right, palette, "Bias over the KL", "μ")
    for ax in (left, right):
        keyed(ax, palette)
    return picture


FIGURE = Figure(
    "F1", "bias and spread of the KL estimators k1, k2, k3 on two Gaussians", "Schulman 2020", measure, draw
)

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
