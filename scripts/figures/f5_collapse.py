"""F5: KL-regularised RL is variational inference: J/β = log Z − KL(π‖p*), and what is left of p* as β falls to 0.

    .venv/bin/python scripts/figures/f5_collapse.py

TOY-A. A policy with a free row of logits a prefix climbs E[r] − β KL(π‖π0) by exact gradients (Adam on the enumerated
objective), and by leave-one-out REINFORCE on draws at three β. At β = 0 nothing holds it: it ends on one reply.
"""

import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import entropy, kl
from credence.learn.loop import fit
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import enumerate_posterior
from credence.prior.tabular import tabular_policy
from credence.report.canvas import Palette, sheet
from credence.testing.toys import toy_a, toy_prior, toy_prompts, toy_reward

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

BETAS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
ENTROPIES = {0.25: 0.46412, 0.5: 1.21369, 1.0: 1.70316}
STEPS = 6000
PROMPTS = toy_prompts()
EXACT = enumerate_posterior(toy_a(), PROMPTS)
REWARD = torch.tensor(toy_reward((), EXACT.sequences), dtype=torch.float64)


def climbed(beta: float) -> Tensor:
    """(31,) log π after exact gradients of E[r] − β KL(π‖π0) from the prior, the step size falling to 0."""
    policy = tabular_policy(toy_prior(), PROMPTS)
    place, token = policy.locate(PROMPTS, EXACT.completions)
    logits, mask = policy.logits, EXACT.completions.mask
    adam = torch.optim.Adam([logits], lr=0.1, betas=(0.9, 0.999))
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / STEPS)
        log_pi = torch.where(mask, torch.log_softmax(logits, -1)[place, token], 0.0).sum(-1)
        loss = (torch.exp(log_pi) * (beta * (log_pi - EXACT.log_prior) - REWARD)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return policy.score(PROMPTS, EXACT.completions).sum(-1)


def sampled(beta: float, key: Key) -> Tensor:
    """(31,) log π after 200 steps of leave-one-out REINFORCE on 64 draws each."""
    policy = tabular_policy(toy_prior(), PROMPTS)
    fit(toy_a(beta), policy, PROMPTS, Reinforce(1, 64, 0.1), key, 200)
    return policy.score(PROMPTS, EXACT.completions).sum(-1)


def measure(seed: int) -> Found:
    numbers: list[Number] = []
    curves: dict[str, list[float]] = {"beta": list(BETAS), "entropy": [], "target": [], "reward": []}
    for beta in BETAS:
        log_pi = climbed(beta)
        mean, spread = float(torch.exp(log_pi) @ REWARD), float(entropy(log_pi))
        curves["entropy"].append(spread)
        curves["reward"].append(mean)
        if beta == 0:
            curves["target"].append(0.0)
            numbers += [Number("β = 0: entropy", 0.0, 1e-2, spread, "≤"), Number("β = 0: E[r]", 0.98936, 1e-3, mean)]
            continue
        exact = enumerate_posterior(toy_a(beta), PROMPTS)
        curves["target"].append(float(entropy(exact.log_p)))
        gap = float(kl(log_pi, exact.log_p))
        elbo = (mean - beta * float(kl(log_pi, exact.log_prior))) / beta
        numbers += [
            Number(f"β = {beta}: J/β − (log Z − KL(π‖p*))", 0.0, 1e-12, abs(elbo - (exact.log_z - gap)), "≤"),
            Number(f"β = {beta}: KL(π‖p*), exact gradients", 0.0, 1e-6 if beta >= 0.25 else 1e-3, gap, "≤"),
        ]
        if beta in ENTROPIES:
            off = float(kl(sampled(beta, Key(seed).fold("f5")), exact.log_p))
            numbers += [
                Number(f"β = {beta}: entropy", ENTROPIES[beta], 1e-4, spread),
                Number(f"β = {beta}: KL(π‖p*), REINFORCE on draws", 0.0, 1e-2, off, "≤"),
            ]
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((6.6, 4.2), palette)
    shown = [max(beta, 0.02) for beta in found.curves["beta"]]
    ax.plot(shown, found.curves["target"], color=palette.muted, linewidth=6, alpha=0.4, label="H(p*)")
    ax.plot(shown, found.curves["entropy"], color=palette.train, marker="o", label="H(π), exact gradients")
    ax.plot(shown, found.curves["reward"], color=palette.draw, marker="s", label="E[r]")
    ax.set_xscale("log")
    plain_ticks(ax.xaxis, (0.05, 0.1, 0.25, 0.5, 1.0))
    titled(ax, palette, "TOY-A: entropy in nats and reward after training", "β; the leftmost point is β = 0")
    keyed(ax, palette, "upper left")
    return picture


FIGURE = Figure(
    "F5", "KL-regularised RL reaches p*; without the KL it ends on one reply",
    "Korbak, Perez & Buckley 2022 (2205.11275)", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
