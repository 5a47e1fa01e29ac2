"""F4: KL and win rate of best-of-n, exactly: they reach log n − (n − 1)/n and n/(n + 1) only where nothing ties.

    .venv/bin/python scripts/figures/f4_best_of_n.py

A fair coin for reward, TOY-A (31 replies, no two rewards equal, but each of finite mass), and a Gaussian reward.
"""

import math
import sys
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
from credence.sample.best_of_n import best_of_n_law, kl_bound
from credence.testing.toys import BETA, toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
COIN = {2: 0.1308, 4: 0.4594, 8: 0.6676}
BOUND = {2: 0.1931, 4: 0.6363, 8: 1.2044, 16: 1.8351, 64: 3.1745, 128: 3.8598, 256: 4.5491}
TOY = {2: (0.1798768, 0.4245216), 4: (0.5740813, 0.6914633), 16: (1.4363130, 0.9782441)}
GAUSSIAN = {4: 1.0294, 16: 1.7660, 64: 2.3437, 256: 2.8268}


def coin() -> Exact:
    """One token, 0 or 1, and a reward of its own value."""
    prior = TablePrior(lambda _: [0.0, 0.0], 2, frozenset({0, 1}), 1)
    posterior = Posterior(prior, Reward(lambda _, replies: [float(reply == (1,)) for reply in replies], 1.0))
    return enumerate_posterior(posterior, prior.codec.prompts())


def at(exact: Exact, of: int) -> tuple[float, float]:
    """KL(best-of-n‖π0) in nats, and how often it beats a prior draw, a tie counted as half a win."""
    law = best_of_n_law(exact, of)
    beats = (exact.log_lik[:, None] > exact.log_lik[None, :]).double()
    beats += 0.5 * (exact.log_lik[:, None] == exact.log_lik[None, :]).double()
    return float(kl(law, exact.log_prior)), float(torch.exp(law) @ beats @ torch.exp(exact.log_prior))


def measure(seed: int) -> Found:
    """Nothing here is drawn: the seed is not used."""
    laws = {"coin": coin(), "toy": enumerate_posterior(toy_a(), toy_prompts())}
    curves = {name: [at(exact, of) for of in SIZES] for name, exact in laws.items()}
    curves["continuous"] = [(kl_bound(of), of / (of + 1)) for of in SIZES]
    discrete = curves["coin"] + curves["toy"]
    numbers = [Number(f"coin KL, n = {of}", value, 1e-4, at(laws["coin"], of)[0]) for of, value in COIN.items()]
    numbers += [Number(f"bound, n = {of}", value, 1e-4, kl_bound(of)) for of, value in BOUND.items()]
    for of, (divergence, reward) in TOY.items():
        gained = BETA * float(torch.exp(best_of_n_law(laws["toy"], of)) @ laws["toy"].log_lik)
        numbers.append(Number(f"TOY-A KL, n = {of}", divergence, 1e-6, at(laws["toy"], of)[0]))
        numbers.append(Number(f"TOY-A E r, n = {of}", reward, 1e-6, gained))
    for of, reward in GAUSSIAN.items():
        found = best_of(of)
        numbers.append(Number(f"Gaussian E r, n = {of}", reward, 1e-4, found[0]))
        numbers.append(Number(f"Gaussian KL, n = {of}", kl_bound(of), 1e-6, found[1]))
        numbers.append(Number(f"Gaussian win rate, n = {of}", of / (of + 1), 1e-6, found[2]))
    above = [k - kl_bound(of) for of, (k, _) in zip(2 * SIZES, discrete, strict=True)]
    wins = [w - of / (of + 1) for of, (_, w) in zip(2 * SIZES, discrete, strict=True)]
    numbers.append(Number("KL beyond its bound, coin and TOY-A, n ≤ 64", 0.0, 1e-12, max(above), "≤"))
    numbers.append(Number("win rate beyond n/(n+1), coin and TOY-A, n ≤ 64", 0.0, 1e-12, max(wins), "≤"))
    numbers.append(Number("coin KL, n = 64: log 2", math.log(2), 1e-6, curves["coin"][-1][0]))
    return Found(tuple(numbers), {"n": list(SIZES), **{name: [list(x) for x in c] for name, c in curves.items()}})


def draw(found: Found, palette: Palette) -> "Picture":
    picture, panels = sheet((10.8, 3.9), palette, 1, 2)
    told = {
        "continuous": ("nothing ties: log n − (n − 1)/n", "nothing ties: n/(n + 1)", palette.ink, (0, (1, 2))),
        "toy": ("TOY-A, 31 replies", "TOY-A, 31 replies", palette.train, "-"),
        "coin": ("fair coin", "fair coin", palette.draw, "-"),
    }
    for which, ax in enumerate(panels):
        for name, (first, second, colour, dash) in told.items():
            values = [point[which] for point in found.curves[name]]
            ax.plot(found.curves["n"], values, color=colour, linestyle=dash, linewidth=2, label=(first, second)[which])
        ax.set_xscale("log", base=2)
        plain_ticks(ax.xaxis, (1, 2, 4, 8, 16, 32, 64))
        keyed(ax, palette)
    titled(panels[0], palette, "KL(best-of-n‖prior), nats", "n")
    titled(panels[1], palette, "How often it beats one prior draw", "n")
    return picture


FIGURE = Figure("F4", "KL and win rate of best-of-n against their bounds", "Beirami et al. 2024", measure, draw)

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
