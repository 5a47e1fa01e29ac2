"""F9: soft Q-learning, soft SARSA and path consistency come to p* on TOY-A; linear values come elsewhere.

    .venv/bin/python scripts/figures/f9_soft_values.py

One reply is a walk of at most four tokens, so each engine's policy is judged exactly: KL(π‖p*) = (J* − J(π))/β. Soft
Q-learning tries tokens uniformly with whole steps; expected soft SARSA sweeps the tree backwards once; sampled soft
SARSA walks by its own policy with steps N^−0.7; path consistency fits V and log π until every piece of every path
balances, V(s) − V(s') = Σ (r − β log π/π0).
"""

import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.soft import log_soft_policy, soft_value
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import ValueEngine, learn_values
from credence.learn.world import TableWorld
from credence.posterior.exact import enumerate_posterior
from credence.posterior.mdp import MDP, token_mdp
from credence.posterior.soft_values import solve, worth
from credence.report.canvas import Palette, sheet
from credence.testing.toys import BETA, toy_a, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

ROOT = 0.4260483780
LOOKS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)
"""Tokens tried; a walk is two and a half of them on average."""
WALKS = 3

Toy = tuple[MDP, Tensor, list[tuple[int, ...]]]


def gap(toy: Toy, log_pi: Tensor) -> Tensor:
    """KL(π‖p*) in nats of each of N policies."""
    mdp, log_prior, _ = toy
    return (solve(mdp, log_prior, BETA).j - worth(mdp, log_pi, log_prior, BETA).j) / BETA


def walked(toy: Toy, engine: ValueEngine, key: Key, looks: tuple[int, ...]) -> tuple[list[list[float]], float]:
    """KL(π‖p*) at each look of each of three independent walks, and V(root) of the first at the end."""
    mdp, log_prior, prefixes = toy
    learnt = learn_values(engine, TableWorld(mdp, key.fold("world"), WALKS), log_prior, BETA, key, list(looks))
    root = prefixes.index(())
    assert learnt.values is not None
    return [gap(toy, law).tolist() for law in learnt.log_pi], float(
        soft_value(learnt.values[0, root], log_prior[root], BETA)
    )


def swept(toy: Toy) -> tuple[float, float]:
    """KL(π‖p*) and V(root) after one backward sweep of expected soft SARSA with whole steps."""
    mdp, log_prior, prefixes = toy
    values, never = torch.zeros_like(log_prior), torch.zeros(mdp.actions, dtype=torch.long)
    for s in sorted(range(mdp.states), key=lambda s: -len(prefixes[s])):
        to = mdp.state[s, :, 0]
        values[s] = SoftSarsa().aim(
            mdp.reward[s, :, 0], mdp.ends[s, :, 0], values[to], log_prior[to], never, BETA, 1.0
        )  # fmt: skip
    root = float(soft_value(values, log_prior, BETA)[prefixes.index(())])
    return float(gap(toy, log_soft_policy(values, log_prior, BETA)[None])[0]), root


def balanced(toy: Toy) -> tuple[float, float]:
    """KL(π‖p*) and V(root) where all pieces of all paths balance best, in squares, by L-BFGS from π0 and V = 0."""
    mdp, log_prior, prefixes = toy
    value = torch.zeros(mdp.states, dtype=torch.float64, requires_grad=True)
    logits = log_prior.clone().requires_grad_()
    exact = enumerate_posterior(toy_a(), toy_prompts())
    place = {prefix: s for s, prefix in enumerate(prefixes)}
    pieces = [
        (x[:i], x[:j], [(place[x[:t]], x[t]) for t in range(i, j)])
        for x in exact.sequences
        for j in range(1, len(x) + 1)
        for i in range(j)
    ]
    pieces = list({(start, stop): piece for start, stop, piece in pieces}.items())
    width = max(len(steps) for _, steps in pieces)
    state = torch.tensor([[s for s, _ in steps] + [0] * (width - len(steps)) for _, steps in pieces])
    token = torch.tensor([[a for _, a in steps] + [0] * (width - len(steps)) for _, steps in pieces])
    real = torch.tensor([[True] * len(steps) + [False] * (width - len(steps)) for _, steps in pieces])
    begin = torch.tensor([place[start] for (start, _), _ in pieces])
    inside = torch.tensor([stop in place for (_, stop), _ in pieces])
    onto = torch.tensor([place.get(stop, 0) for (_, stop), _ in pieces])
    paid = torch.tensor([0.0 if stop in place else BETA * exact.log_value[stop] for (_, stop), _ in pieces])
    optimizer = torch.optim.LBFGS([value, logits], max_iter=4000, max_eval=6000, tolerance_grad=1e-14,
                                  tolerance_change=1e-18, history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

    def imbalance() -> Tensor:
        optimizer.zero_grad()
        log_ratio = (torch.log_softmax(logits, -1) - log_prior)[state, token]
        gained = paid.double() - BETA * torch.where(real, log_ratio, 0.0).sum(-1)
        off = ((value[begin] - torch.where(inside, value[onto], 0.0) - gained) ** 2).sum()
        off.backward()
        return off

    optimizer.step(imbalance)
    law = torch.log_softmax(logits.detach(), -1)
    return float(gap(toy, law[None])[0]), float(value.detach()[place[()]])


def linear(toy: Toy) -> tuple[float, float]:
    """TV and KL to p* of π0·e^{V/β} with V = E_π0[r | prefix], as controlled decoding has it."""
    mdp, log_prior, prefixes = toy
    exact = enumerate_posterior(toy_a(), toy_prompts())
    values = torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(len(max(prefixes, key=len)) + 1):
        ahead = mdp.look_ahead(values, 1.0)
        values = (log_prior.exp() * ahead).sum(-1)
    law = log_soft_policy(ahead, log_prior, BETA)
    place = {prefix: s for s, prefix in enumerate(prefixes)}
    log_q = torch.stack([sum(law[place[x[:t]], x[t]] for t in range(len(x))) for x in exact.sequences])
    return 0.5 * float((log_q.exp() - exact.log_p.exp()).abs().sum()), float(kl(log_q, exact.log_p))


def measure(seed: int) -> Found:
    toy, key = token_mdp(toy_a(), toy_prompts(), BETA), Key(seed).fold("f9")
    q, q_root = walked(toy, SoftQ(power=0.0, explore=1.0), key.fold("q"), LOOKS)
    sampled, _ = walked(toy, SoftSarsa(expected=False), key.fold("sarsa"), LOOKS)
    (sweep, sweep_root), (path, path_root), (tv, off) = swept(toy), balanced(toy), linear(toy)
    numbers = (
        Number("soft Q-learning, walks: worst KL(π‖p*)", 0.0, 1e-10, max(q[-1]), "≤"),
        Number("soft Q-learning, walks: V(root)", ROOT, 1e-9, q_root),
        Number("expected soft SARSA, one sweep: KL(π‖p*)", 0.0, 1e-10, sweep, "≤"),
        Number("expected soft SARSA, one sweep: V(root)", ROOT, 1e-9, sweep_root),
        Number("sampled soft SARSA, 25,600 tokens: worst KL(π‖p*)", 0.0, 1e-3, max(sampled[-1]), "≤"),
        Number("path consistency, fitted: KL(π‖p*)", 0.0, 1e-10, path, "≤"),
        Number("path consistency, fitted: V(root)", ROOT, 1e-6, path_root),
        Number("linear values: TV to p*", 0.2018775, 1e-6, tv),
        Number("linear values: KL to p*", 0.0931181, 1e-6, off),
    )
    return Found(numbers, {"tokens": list(LOOKS), "q": q, "sampled": sampled, "linear": [off]})


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((7.2, 4.4), palette)
    for name, words, colour in (
        ("q", "soft Q-learning, whole steps", palette.train),
        ("sampled", "sampled soft SARSA, N^−0.7", palette.draw),
    ):
        for run in range(WALKS):
            values = [max(look[run], 1e-16) for look in found.curves[name]]
            label = words if run == 0 else None
            ax.plot(found.curves["tokens"], values, color=colour, marker="o", markersize=4, linewidth=1.6, label=label)
    ax.axhline(found.curves["linear"][0], color=palette.muted, linestyle=(0, (1, 2)), label="linear values")
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_ticks(ax.xaxis, (100, 1000, 10_000))
    plain_ticks(ax.yaxis, (1, 1e-4, 1e-8, 1e-12, 1e-16))
    titled(ax, palette, "KL(π‖p*) on TOY-A, nats; below 1e-16 shown there", "tokens tried")
    keyed(ax, palette, "lower left")
    return picture


FIGURE = Figure(
    "F9", "value engines against p* on TOY-A: soft values are exact, linear values are not",
    "Rawlik 2012; Fox 2016; Nachum 2017; Mudgal 2024", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
