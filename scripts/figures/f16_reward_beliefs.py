"""F16: what a belief over the reward does to over-optimisation in best-of-n, rule by rule, gold being known.

    .venv/bin/python scripts/figures/f16_reward_beliefs.py

The 1,093 replies, the gold and the judge of F13. A Bradley–Terry head with Laplace's belief learns gold from few of the
prior's pairs, and eight heads from the same pairs drawn anew with replacement. Each rule of `evidence.rules` and of
`evidence.ensemble` turns the belief into nats at β = 1; best-of-n picks by them. Its law and KL are exact at every n up
to 4,096, so that nothing varies but the pairs: forty sets of each size, and 95 % Student intervals over them.
"""

import math
import statistics
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from f13_over_optimisation import World
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.diagnose.intervals import student
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback, fit_head
from credence.evidence.preference import OneLook, bootstrap, opinions
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.report.canvas import Palette, sheet
from credence.sample.best_of_n import best_of_n_law

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

PAIRS, SETS, MEMBERS, K = (25, 50, 100, 200, 400), 40, 8, 1.0
SHOWN, AT = 50, 256
"""Pairs of the left panel; n at which rules are compared."""
SIZES = tuple(2**i for i in range(13))
ONE = ("plug_in", "pessimistic", "posterior_averaged", "predictive")
TOGETHER = ("pessimistic", "min")
RULES = (*ONE, *(f"ensemble {rule}" for rule in TOGETHER))
TITLES = {"plug_in": "plug-in", "pessimistic": "pessimistic", "posterior_averaged": "posterior-averaged",
          "predictive": "predictive", "ensemble pessimistic": "ensemble, pessimistic", "ensemble min": "ensemble, min",
          }  # fmt: skip


@dataclass(frozen=True)
class Path:
    """One proxy optimised: √KL and E[gold] at each n."""

    distance: Tensor
    gold: Tensor

    @property
    def peak(self) -> int:
        """Where gold is highest."""
        return int(self.gold.argmax())


def nats(world: World, key: Key, pairs: int) -> dict[str, Tensor]:
    """What each rule gives every reply, learnt from one set of pairs."""
    found = opinions(world.judged(key, pairs), world)
    head = fit_head(found, world.spread)
    out = {rule: Feedback(world, head, 1.0, rule, K).log_lik(world.prompts, world.rows) for rule in ONE}
    shared = OneLook(world)
    members = tuple(Feedback(shared, one) for one in bootstrap(found, world.spread, key.fold("members"), MEMBERS))
    out |= {f"ensemble {r}": Ensemble(members, r, K).log_lik(world.prompts, world.rows) for r in TOGETHER}
    return out


class Paths:
    """Best-of-n along any nats, exactly."""

    def __init__(self, world: World) -> None:
        nothing = Posterior(world.prior, Reward(lambda _, replies: [0.0] * len(replies), 1.0))
        self.world, self.exact = world, enumerate_posterior(nothing, world.prompts)
        assert torch.allclose(self.exact.log_prior, world.log_prior)

    def __call__(self, reward: Tensor) -> Path:
        exact = replace(self.exact, log_lik=reward)
        laws = torch.stack([best_of_n_law(exact, of) for of in SIZES])
        distance = kl(laws, self.world.log_prior.expand_as(laws)).clamp(min=0).sqrt()
        return Path(distance, torch.exp(laws) @ self.world.gold)


def over_sets(values: list[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval."""
    half = student(len(values) - 1, 0.95) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half


def measure(seed: int) -> Found:
    world = World()
    walk, at = Paths(world), SIZES.index(AT)
    best = walk(world.gold)
    curves: dict[str, Any] = {"best": [best.distance.tolist(), best.gold.tolist()], "pairs": list(PAIRS)}
    gains: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES[1:]}
    later: dict[str, tuple[float, float]] = {}
    for pairs in PAIRS:
        sets = [nats(world, Key(seed).fold("f16", pairs, i), pairs) for i in range(SETS)]
        paths = {rule: [walk(one[rule]) for one in sets] for rule in RULES}
        for rule in RULES[1:]:
            both = list(zip(paths[rule], paths["plug_in"], strict=True))
            gains[rule].append(over_sets([float(a.gold[at] - b.gold[at]) for a, b in both]))
            if pairs == SHOWN:
                later[rule] = over_sets([float(a.distance[a.peak] - b.distance[b.peak]) for a, b in both])
        if pairs == SHOWN:
            for rule in RULES:
                gold = torch.stack([path.gold for path in paths[rule]])
                each = [over_sets(column.tolist()) for column in gold.T]
                far = torch.stack([path.distance for path in paths[rule]]).mean(0).tolist()
                curves[rule] = [far, [m for m, _ in each], [m - h for m, h in each], [m + h for m, h in each]]
                peaks = over_sets([float(path.distance[path.peak]) for path in paths[rule]])
                curves[f"{rule} peak"] = list(peaks)
    curves |= {f"{rule} gain": [list(x) for x in gains[rule]] for rule in RULES[1:]}
    curves |= {f"{rule} later": list(later[rule]) for rule in RULES[1:]}
    return Found(tuple(judged(gains, later)), curves)


def judged(gains: dict[str, list[tuple[float, float]]], later: dict[str, tuple[float, float]]) -> list[Number]:
    """Signs by whole intervals: careful rules gain and turn later, the posterior-averaged one loses and turns sooner.

    Whether predictive turns later is not claimed: it is held to hardly moving the turn.
    """
    shown, out = PAIRS.index(SHOWN), list[Number]()
    for what, found in ((f"gold at n = {AT}", {r: gains[r][shown] for r in gains}), ("√KL at gold's peak", later)):
        for rule, (mean, half) in found.items():
            if rule == "posterior_averaged":
                out.append(Number(f"{what}, {rule} − plug_in: upper end", 0.0, 0.0, mean + half, "≤"))
            elif rule == "predictive" and found is later:
                out.append(Number(f"{what}, {rule} − plug_in", 0.0, 0.05, mean))
            else:
                out.append(Number(f"{what}, plug_in − {rule}: upper end", 0.0, 0.0, half - mean, "≤"))
    return out


def look(rule: str, palette: Palette) -> dict[str, Any]:
    """Colour by what a rule does with doubt, dashes where an ensemble is the belief."""
    one = {"plug_in": palette.draw, "pessimistic": palette.target, "predictive": palette.train}
    together = rule.startswith("ensemble")
    colour = palette.target if together else one.get(rule, palette.muted)
    dash: Any = ((0, (1, 1.5)) if rule.endswith("min") else (0, (5, 2))) if together else "-"
    return {"color": colour, "linestyle": dash, "linewidth": 2}


def draw(found: Found, palette: Palette) -> "Picture":
    curves = found.curves
    picture, (first, second) = sheet((10.8, 4.4), palette, 1, 2)
    for rule in RULES:
        far, mean, low, high = curves[rule]
        first.plot(far, mean, label=TITLES[rule], **look(rule, palette))
        if not rule.startswith("ensemble"):
            first.fill_between(far, low, high, color=look(rule, palette)["color"], alpha=0.13, linewidth=0)
    first.plot(*curves["best"], color=palette.ink, linewidth=1.4, linestyle=(0, (4, 2)), label="gold itself")
    titled(first, palette, f"best of 1 to {SIZES[-1]:,}, {SHOWN} pairs", "√KL, nats", "gold")
    keyed(first, palette, "lower left")
    for i, rule in enumerate(RULES[1:]):
        x = [pairs * 1.03 ** (i - 2) for pairs in curves["pairs"]]
        mean, half = zip(*curves[f"{rule} gain"], strict=True)
        second.plot(x, mean, **look(rule, palette))
        for place, m, h in zip(x, mean, half, strict=True):
            second.plot([place, place], [m - h, m + h], color=look(rule, palette)["color"], linewidth=1.2, alpha=0.7)
    second.axhline(0, color=palette.draw, linewidth=2)
    second.set_xscale("log")
    plain_ticks(second.xaxis, curves["pairs"])
    titled(second, palette, f"gold at n = {AT}, less the plug-in's", "pairs learnt from")
    return picture


FIGURE = Figure(
    "F16", "which rule for a belief over the reward delays over-optimisation in best-of-n",
    "Coste et al. 2024 (2310.02743); Yang et al. 2024 (2402.13210)", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
