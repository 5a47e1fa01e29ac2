"""F13: a proxy reward goes on rising when what it stands for has turned: in closed form, and as a learnt reward model.

    .venv/bin/python scripts/figures/f13_over_optimisation.py

Closed form: one reply in a thousand is a hack, which the proxy takes for excellent, N(6, 2), and which is worth −2; for
all others gold is N(0, 1) and the proxy gold + N(0, 1). Along p_λ ∝ π0·exp(λ·proxy), λ = 1/β, everything is known.

Learnt: 1,093 replies of up to six of three letters. Gold likes a letter once or twice and dislikes more of it, which
the prior seldom says. A Bradley–Terry model learns it from 50, 500 or 5,000 of the prior's pairs, judged by gold; its
features, each letter's number and its square, can say gold exactly. All laws along the proxy are enumerated; twenty
proxies of each size, and where gold is highest along each.
"""

import itertools
import math
import statistics
import sys
from typing import TYPE_CHECKING, Any

import torch
from result import Figure, Found, Number, alone, keyed, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.types import Completions, Prompts
from credence.evidence.comparisons import Comparisons
from credence.evidence.feedback import Feedback, fit_head
from credence.evidence.preference import opinions
from credence.posterior.exact import as_completions, tree
from credence.prior.table import TablePrior
from credence.report.canvas import Palette, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

HACKS, LETTERS, LENGTH = 0.001, 3, 6
PAIRS, PROXIES = (50, 500, 5000), 20
LIKED = (0.6, 0.5, 0.3)
OVERDONE = (0.25, 0.2, 0.15)
LAMS = torch.linspace(0.0, 16.0, 401, dtype=torch.float64)
"""Positions on the path, 1/β in nats a logit."""
Tokens = tuple[int, ...]


def at(lam: float, hacks: float = HACKS) -> tuple[float, float, float]:
    """KL(p_λ‖π0) in nats, E[gold], E[proxy]."""
    tail = hacks * math.exp(6 * lam)
    log_z, hack = lam**2 + math.log(1 - hacks + tail), tail / (1 - hacks + tail)
    proxy = 2 * lam + 6 * hack
    return lam * proxy - log_z, (1 - hack) * lam - 2 * hack, proxy


def at_kl(nats: float) -> tuple[float, float, float]:
    """The same at a KL, which grows with λ."""
    low, high = 0.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[0] < nats else (low, middle)
    return at(low)


def rounding(nats: float) -> float:
    """How far gold at a KL of two decimals, itself of three, may be off by rounding."""
    return abs(at_kl(nats - 0.005)[1] - at_kl(nats + 0.005)[1]) / 2 + 0.5001e-3


def fitted(d: Tensor, gold: Tensor, form: Tensor) -> tuple[float, float, float]:
    """α and β of gold = d·(α − β·form) by least squares, and R²."""
    columns = torch.stack([d, -d * form], 1)
    found = torch.linalg.lstsq(columns, gold[:, None]).solution
    left = gold - (columns @ found)[:, 0]
    return float(found[0]), float(found[1]), float(1 - left.square().sum() / (gold - gold.mean()).square().sum())


def closed_form() -> tuple[list[Number], dict[str, list[float]]]:
    lams = [i / 20_000 for i in range(1, 40_001)]
    best = max(lams, key=lambda lam: at(lam)[1])
    nats, gold, proxy = at(best)
    numbers = [
        Number("peak: λ", 0.699, 0.00699, best),
        Number("peak: KL, nats", 0.6859, 0.006859, nats),
        Number("peak: gold", 0.5311, 0.005311, gold),
        Number("peak: proxy", 1.7707, 0.017707, proxy),
        *(Number(f"gold at KL {nats}", wanted, rounding(nats), at_kl(nats)[1])
          for nats, wanted in ((2.39, 0.137), (8.05, -1.616))),
        Number("gold over proxy without hacks", 0.5, 1e-12, at(best, 0.0)[1] / at(best, 0.0)[2]),
    ]  # fmt: skip
    steps = torch.tensor([at(0.02 + 1.18 * i / 199) for i in range(200)], dtype=torch.float64)
    d = steps[:, 0].sqrt()
    alpha, beta, share = fitted(d, steps[:, 1], d)
    numbers += [
        Number("gold = d(α − β d): α", 1.186, 0.5001e-3, alpha),
        Number("gold = d(α − β d): β", 0.695, 0.5001e-3, beta),
        Number("gold = d(α − β d): R²", 0.994, 0.5001e-3, share),
        Number("gold = d(α − β log d): R²", 0.883, 0.5001e-3, fitted(d, steps[:, 1], torch.log(d))[2]),
    ]
    curves: dict[str, list[float]] = {}
    for name, hacks in (("", HACKS), ("honest ", 0.0)):
        shown = [at(i / 100, hacks) for i in range(1, 281)]
        curves[f"{name}d"] = [math.sqrt(x[0]) for x in shown]
        curves |= {f"{name}gold": [x[1] for x in shown], f"{name}proxy": [x[2] for x in shown]}
    return numbers, curves


def logits(said: Tokens) -> list[float]:
    """A letter that was said is seldom said again, so that overdone replies are rare but possible."""
    return [(0.6, 0.3, 0.0)[k] - 2.5 * said.count(k) for k in range(LETTERS)] + [-0.9 + 0.25 * len(said)]


def counts(completions: Completions) -> Tensor:
    """(R, 3) how often each letter is said."""
    return torch.stack([((completions.ids == k) & completions.mask).sum(-1) for k in range(LETTERS)], 1).double()


class World:
    """All replies, their gold, and what a reward model can see of them: each letter's number and its square."""

    def __init__(self) -> None:
        self.prior = TablePrior(logits, LETTERS + 1, LETTERS, LENGTH)
        self.prompts = self.prior.codec.prompts()
        self.rows = as_completions(tree(self.prior, self.prompts)[0], self.prior.ends)
        self.log_prior = self.prior.score(self.prompts, self.rows).sum(-1)
        said = counts(self.rows)
        self.gold = said @ torch.tensor(LIKED).double() - said**2 @ torch.tensor(OVERDONE).double()
        self.gold = self.gold - torch.exp(self.log_prior) @ self.gold
        phi = torch.cat([said, said**2], 1)
        self.centre = torch.exp(self.log_prior) @ phi
        self.spread = (torch.exp(self.log_prior) @ (phi - self.centre) ** 2).sqrt()

    def __call__(self, prompts: Prompts, completions: Completions) -> Tensor:
        """The features, centred under the prior."""
        said = counts(completions)
        return torch.cat([said, said**2], 1) - self.centre

    def judged(self, key: Key, pairs: int) -> Comparisons:
        """Pairs of the prior's own replies, each judged once by a Bradley–Terry judge of gold."""
        rng = key.generator()
        chance = torch.exp(self.log_prior).numpy()
        drawn = torch.from_numpy(rng.choice(len(chance), (pairs, 2), p=chance / chance.sum()))
        first = torch.from_numpy(rng.uniform(size=pairs)) < torch.sigmoid(
            self.gold[drawn[:, 0]] - self.gold[drawn[:, 1]]
        )
        rows = self.rows.rows(drawn.flatten())
        rows = Completions(rows.ids, rows.mask, rows.ended, torch.arange(pairs).repeat_interleave(2))
        return Comparisons(self.prompts.take([0] * pairs), rows, torch.stack([first, ~first], 1).double())

    def proxy(self, key: Key, pairs: int) -> Tensor:
        """The reward model's nats of every reply at β = 1."""
        head = fit_head(opinions(self.judged(key, pairs), self), self.spread)
        return Feedback(self, head).log_lik(self.prompts, self.rows)

    def along(self, reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """√KL, E[gold], E[reward] of p_λ at each λ."""
        law = torch.log_softmax(self.log_prior + LAMS[:, None] * reward, -1)
        distance = kl(law, self.log_prior.expand_as(law)).clamp(min=0).sqrt()  # rounding at λ = 0
        return distance, torch.exp(law) @ self.gold, torch.exp(law) @ reward


def fall(values: Tensor) -> float:
    """The largest step down."""
    return float((values[:-1] - values[1:]).max())


def learnt(seed: int) -> tuple[list[Number], dict[str, list[Any]]]:
    """Where gold is highest along each proxy, by the number of pairs; each proxy's (√KL, gold) as a curve."""
    world, curves, falls, peaks = World(), dict[str, list[Any]](), list[float](), list[float]()
    shown: dict[int, list[list[list[float]]]] = {pairs: [] for pairs in PAIRS}
    for pairs in PAIRS:
        found: list[tuple[float, float]] = []
        for i in range(PROXIES):
            d, gold, proxy = world.along(world.proxy(Key(seed).fold("f13", pairs, i), pairs))
            top = int(gold.argmax())
            found.append((float(d[top]) ** 2, float(gold[top] - gold[-1])))
            falls.append(fall(proxy))
            shown[pairs].append([d[::8].tolist(), gold[::8].tolist()])
        nats, lost = zip(*found, strict=True)
        peaks.append(statistics.mean(nats))
        curves |= {f"{pairs} pairs": shown[pairs], f"{pairs} peaks": list(nats), f"{pairs} lost": list(lost)}
    d, gold, _ = world.along(world.gold)
    curves |= {"best d": d.tolist(), "best": gold.tolist()}
    numbers = [
        Number(f"learnt: mean KL at gold's peak, {a} pairs − {b} pairs", 0.0, 0.0, peaks[i] - peaks[i + 1], "≤")
        for i, (a, b) in enumerate(itertools.pairwise(PAIRS))
    ]
    return [
        *numbers,
        Number("learnt: largest fall of a proxy along its own path", 0.0, 1e-12, max(falls), "≤"),
        Number("learnt: largest fall of gold along its own path", 0.0, 1e-12, fall(gold), "≤"),
    ], curves


def measure(seed: int) -> Found:
    numbers, curves = closed_form()
    more, shown = learnt(seed)
    return Found((*numbers, *more), {**curves, **shown})


def draw(found: Found, palette: Palette) -> "Picture":
    curves = found.curves
    picture, (first, second) = sheet((10.8, 4.1), palette, 1, 2)
    first.plot(curves["d"], curves["proxy"], color=palette.draw, linewidth=2, label="proxy")
    first.plot(curves["d"], curves["gold"], color=palette.target, linewidth=2, label="gold")
    first.plot(curves["honest d"], curves["honest gold"], color=palette.target, linewidth=2, linestyle=(0, (1, 2)),
               label="gold without hacks")  # fmt: skip
    first.set_xlim(0, 2.8)
    first.set_ylim(-2.2, 6)
    titled(first, palette, "One reply in a thousand is a hack", "√KL, nats", "reward")
    keyed(first, palette, "upper left")
    for pairs, colour in zip(PAIRS, (palette.draw, palette.train, palette.target), strict=True):
        for i, (d, gold) in enumerate(curves[f"{pairs} pairs"]):
            second.plot(d, gold, color=colour, linewidth=1.1, alpha=0.75, label="" if i else f"{pairs:,} pairs")
    second.plot(curves["best d"], curves["best"], color=palette.ink, linewidth=2, linestyle=(0, (4, 2)),
                label="gold itself")  # fmt: skip
    second.set_xlim(0, 3.2)
    second.set_ylim(-2.6, 0.5)
    titled(second, palette, "Gold along twenty learnt proxies of each size", "√KL, nats", "gold")
    keyed(second, palette, "lower left")
    return picture


FIGURE = Figure(
    "F13", "over-optimisation: gold turns while its proxy rises, and the later the more a proxy has learnt from",
    "Gao, Schulman & Hilton 2023 (2210.10760)", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
