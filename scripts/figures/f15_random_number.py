"""F15: "say a number from 0 to 100", each as often. Balance learns it off policy; a reward for validity cannot say it.

    .venv/bin/python scripts/figures/f15_random_number.py

A prior over at most three digits that likes small and round numbers: 1,111 replies, 101 valid. Uniform over these
is the posterior of the evidence −log π0 on them and −8 nats elsewhere: trajectory balance with a learnt log Z, and
VarGrad, reach it from each reply once, as a uniform law would draw them, and draw nothing themselves. A reward
1[valid] at a small β tends to π0 given valid, however well it is trained: as skewed as the prior.
"""

import math
import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Policy
from credence.evidence.reward import Reward
from credence.learn.balance import TrajectoryBalance, VarGrad
from credence.learn.loop import fit
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.flowing import learnt_log_z
from credence.prior.table import TablePrior
from credence.prior.tabular import tabular_policy
from credence.report.canvas import Palette, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

END, HORIZON, OFF, BETA = 10, 4, -8.0, 0.2
FIRST = (0.3, 1.2, 0.9, 0.8, 0.4, 0.5, 0.1, 0.9, 0.0, -0.2)
LATER = (1.0, 0.1, 0.4, 0.2, 0.1, 0.9, 0.0, 0.5, -0.1, -0.1)
ENDS = (-3.0, 1.6, 3.4)
Tokens = tuple[int, ...]


def logits(said: Tokens) -> list[float]:
    """Small digits first, zeros and fives later; two digits are the usual length, three the most."""
    if len(said) == len(ENDS):
        return [-math.inf] * 10 + [0.0]
    return [*(LATER if said else FIRST), ENDS[len(said)]]


def is_valid(said: Tokens) -> bool:
    """ "0" to "100" with its end, and no zero before a digit."""
    digits = said[:-1]
    plain = said[-1] == END and len(digits) > 0 and (len(digits) == 1 or digits[0] > 0)
    return plain and int("".join(map(str, digits))) <= 100


def nats(said: Tokens) -> float:
    """log π0 of a whole reply."""
    rows = torch.log_softmax(torch.tensor([logits(said[:t]) for t in range(len(said))], dtype=torch.float64), -1)
    return float(rows[torch.arange(len(said)), torch.tensor(said)].sum())


def of(reward: str) -> Posterior:
    """Evidence whose posterior is uniform over the valid; or the reward 1[valid]."""

    def even(_: object, replies: list[Tokens]) -> list[float]:
        return [-nats(x) if is_valid(x) else OFF for x in replies]

    def valid(_: object, replies: list[Tokens]) -> list[float]:
        return [float(is_valid(x)) for x in replies]

    prior = TablePrior(logits, END + 1, END, HORIZON)
    return Posterior(prior, Reward(even, 1.0) if reward == "even" else Reward(valid, BETA))


def each_once(posterior: Posterior, exact: Exact) -> Batch:
    """Every possible reply, as a uniform law over them would draw it."""
    rows = exact.completions.rows(torch.nonzero(exact.completions.ended & ~torch.isneginf(exact.log_prior)).flatten())
    prompts = posterior.prior.codec.prompts()
    log_prior = posterior.prior.score(prompts, rows)
    log_q = torch.zeros_like(log_prior)
    log_q[:, 0] = -math.log(len(rows))
    return Batch(prompts, rows, log_q, log_prior, posterior.log_lik(prompts, rows))


def uniform(mask: Tensor) -> Tensor:
    """log of the even law over the valid."""
    return torch.log(mask.double() / mask.sum())


def measure(seed: int) -> Found:
    targets = {name: of(name) for name in ("even", "valid")}
    exact = {name: enumerate_posterior(target, target.prior.codec.prompts()) for name, target in targets.items()}
    prompts, rows = targets["even"].prior.codec.prompts(), exact["even"].completions
    mask = torch.tensor([is_valid(s) for s in exact["even"].sequences])
    wanted = uniform(mask)

    def law(policy: Policy) -> Tensor:
        return policy.score(prompts, rows).sum(-1)

    stored, laws = each_once(targets["even"], exact["even"]), {}
    table = tabular_policy(targets["even"].prior, prompts)
    flowing = learnt_log_z(table, prompts, 3.0)
    fit(targets["even"], flowing, prompts, TrajectoryBalance(1, 1200, 0.5), Key(seed), 450, stored=stored)
    laws["TB"] = law(flowing)
    table = tabular_policy(targets["even"].prior, prompts)
    fit(targets["even"], table, prompts, VarGrad(1, 1200, 0.3), Key(seed), 200, stored=stored)
    laws["VarGrad"] = law(table)
    table = tabular_policy(targets["valid"].prior, prompts)
    fit(targets["valid"], table, prompts, Reinforce(1, 512, 0.2), Key(seed), 250)
    laws["RL"] = law(table)
    skew = torch.where(mask, exact["even"].log_prior, -torch.inf)
    skew = skew - torch.logsumexp(skew, 0)
    far = float(kl(wanted, skew))
    numbers = []
    for name in ("TB", "VarGrad"):
        numbers.append(Number(f"KL(uniform‖π), {name}", 0.0, 1e-3, float(kl(wanted, laws[name])), "≤"))
        numbers.append(Number(f"invalid mass, {name}", 0.0, 1e-3, 1 - float(laws[name][mask].exp().sum()), "≤"))
    numbers.append(
        Number("KL(uniform‖π) of RL over that of π0 given valid", 1.0, 0.05, float(kl(wanted, laws["RL"])) / far)
    )
    curves = {"number": [_read(s) for s, m in zip(exact["even"].sequences, mask.tolist(), strict=True) if m]}
    curves |= {name: [float(p) for p in x[mask].exp()] for name, x in {**laws, "π0 given valid": skew}.items()}
    return Found(tuple(numbers), curves)


def _read(said: Tokens) -> int:
    return int("".join(map(str, said[:-1])))


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((10.8, 3.9), palette)
    order = sorted(range(101), key=lambda i: found.curves["number"][i])
    for name, colour, dash in (
        ("π0 given valid", palette.prior, "-"), ("RL", palette.draw, (0, (1, 1))), ("VarGrad", palette.train, "-"),
        ("TB", palette.target, (0, (4, 2))),
    ):  # fmt: skip
        ax.plot([found.curves[name][i] for i in order], color=colour, linestyle=dash, linewidth=1.8, label=name)
    ax.set_yscale("log")
    plain_ticks(ax.yaxis, (0.002, 0.005, 0.01, 0.02, 0.05))
    titled(ax, palette, "P(number)", "number")
    keyed(ax, palette, "upper right")
    return picture


FIGURE = Figure("F15", "uniform numbers by balance off policy, and what a reward for validity gives", "Hu et al. 2024",
                measure, draw)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
