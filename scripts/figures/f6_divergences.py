"""F6: six divergences and the policy gradient with and without its KL, and what a policy that cannot be p* settles for.

    .venv/bin/python scripts/figures/f6_divergences.py

TOY-A. Trained from the prior on every reply once (f-DPG: a uniform law's draws without their noise) or on 64 fresh
draws a step (REINFORCE with the KL in its return, and without any), measured by enumeration. Then one vector of logits
for all prefixes, a family that p* is not in, trained by four divergences and measured by four.
"""

import math
import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Scored
from credence.core.types import Info
from credence.learn.f_dpg import FDPG
from credence.learn.loop import Learner, fit
from credence.learn.losses.f_divergence import Divergence, f_gradient, size
from credence.learn.losses.groups import leave_one_out, row_weights
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import Exact, enumerate_posterior
from credence.prior.tabular import tabular_policy
from credence.prior.train import scored
from credence.report.canvas import Palette, sheet
from credence.testing.toys import toy_a, toy_prior, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

STEPS = 120
FOUR = (Divergence.FORWARD_KL, Divergence.REVERSE_KL, Divergence.TOTAL_VARIATION, Divergence.JENSEN_SHANNON)
MATRIX = (
    (0.80605, 0.94154, 0.54745, 0.35950),
    (1.06532, 0.77268, 0.54550, 0.34895),
    (0.97099, 0.91046, 0.52300, 0.35173),
    (0.92458, 0.80495, 0.53083, 0.33968),
)
"""Trained on the row, measured by the column, both in the order of FOUR."""
VARIANCE = {False: 1.9079, True: 1.0911}


class Greedy(Reinforce):
    """The policy gradient of the reward alone: no KL anywhere."""

    def loss(self, scored: Scored) -> tuple[Tensor, Info]:
        log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
        return -(row_weights(scored) * leave_one_out(scored.log_lik, scored) * log_pi).sum(), {}


def every_reply(exact: Exact) -> Batch:
    """Each once, as if drawn from the uniform law over them."""
    log_q = torch.zeros(exact.completions.mask.shape, dtype=torch.float64)
    log_q[:, 0] = -math.log(len(exact.sequences))
    log_prior = toy_prior().score(toy_prompts(), exact.completions)
    return Batch(toy_prompts(), exact.completions, log_q, log_prior, exact.log_lik)


def curve(learner: Learner, exact: Exact, seed: int) -> list[float]:
    """KL(π‖p*) in nats before and after each step."""
    policy = tabular_policy(toy_prior(), toy_prompts())

    def now() -> float:
        return float(kl(policy.log_probs(toy_prompts(), exact.completions).sum(-1).detach(), exact.log_p))

    seen = [now()]
    fit(toy_a(), policy, toy_prompts(), learner, Key(seed), STEPS, stored=every_reply(exact),
        callbacks=[lambda record, clock: seen.append(now())])  # fmt: skip
    return seen


def restricted(which: Divergence, batch: Batch, steps: int = 400) -> Tensor:
    """log law of the family with one vector of logits for every prefix, trained by f-DPG's loss from uniform.

    Steps along the gradient, shorter and shorter: total variation's gradient does not fall towards its optimum.
    """
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def law() -> Tensor:
        return torch.where(batch.completions.mask, torch.log_softmax(theta, 0)[batch.completions.ids], 0.0)

    for step in range(steps):
        slope = torch.autograd.grad(f_gradient(scored(batch, law()), which)[0], theta)[0]
        with torch.no_grad():
            theta -= 1.5 * (1 - step / steps) * slope / slope.norm().clamp(min=0.15 if step < steps / 2 else 0.6)
    return law().sum(-1).detach()


def variance(exact: Exact, baseline: bool) -> float:
    """Total variance of one draw's forward-KL gradient at π = π0, given log Z."""
    policy = tabular_policy(toy_prior(), toy_prompts())
    log_pi = policy.log_probs(toy_prompts(), exact.completions).sum(-1)
    g = torch.stack([torch.autograd.grad(x, policy.logits, retain_graph=True)[0].flatten() for x in log_pi])
    c = torch.exp(exact.log_p - exact.log_prior) - float(baseline)
    q = torch.exp(exact.log_prior)
    return float((q * c**2 * (g**2).sum(1)).sum() - ((q * c) @ g).square().sum())


def measure(seed: int) -> Found:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    batch = every_reply(exact)
    runs = {
        d.value: curve(FDPG(1, 100, 0.1 if d is Divergence.CHI_SQUARED else 0.2, divergence=d), exact, seed)
        for d in Divergence
    }
    runs["REINFORCE, KL in the return"] = curve(Reinforce(1, 64, 0.1), exact, seed)
    runs["without a KL"] = curve(Greedy(1, 64, 0.1), exact, seed)
    numbers = [Number(f"KL(π‖p*), {d.value}", 0.0, 1e-3, runs[d.value][-1], "≤") for d in FOUR]
    numbers.append(Number("KL(π‖p*), REINFORCE", 0.0, 1e-2, runs["REINFORCE, KL in the return"][-1], "≤"))
    greedy = runs["without a KL"]
    numbers.append(Number("least − last KL(π‖p*), no KL in the return", -0.2, 0.0, min(greedy) - greedy[-1], "≤"))
    numbers += [Number(f"variance, baseline {b}", VARIANCE[b], 0.5001e-4, variance(exact, b)) for b in VARIANCE]
    cells = []
    for trained, row in zip(FOUR, MATRIX, strict=True):
        law = restricted(trained, batch)
        cells.append([float(size(d, exact.log_p, law).sum()) for d in FOUR])
        numbers += [
            Number(f"{trained.value} → {d.value}", wanted, 1e-3, found)
            for d, wanted, found in zip(FOUR, row, cells[-1], strict=True)
        ]
    return Found(tuple(numbers), {"names": list(runs), **runs, "matrix": cells})


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (left, right) = sheet((12.4, 4.4), palette, 1, 2)
    dashes = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1)))
    for name, dash in zip(found.curves["names"][:6], dashes, strict=True):
        left.plot(found.curves[name], color=palette.train, linestyle=dash, linewidth=1.6, label=name.replace("_", " "))
    left.plot(found.curves["REINFORCE, KL in the return"], color=palette.target, linewidth=2, label="REINFORCE")
    left.plot(found.curves["without a KL"], color=palette.draw, linewidth=2, label="without a KL")
    left.set_yscale("log")
    plain_ticks(left.yaxis, (1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6))
    titled(left, palette, "KL(π‖p*), nats", "step")
    keyed(left, palette, "lower left")
    cells = torch.tensor(found.curves["matrix"])
    best = cells / cells.min(0).values - 1
    names = ("forward KL", "reverse KL", "TV", "2·JS")
    for row, name in enumerate(names):
        right.plot(range(4), 100 * best[row], marker="o", linewidth=1.6, color=palette.train, linestyle=dashes[row],
                   label=f"trained on {name}")  # fmt: skip
    right.set_xticks(range(4), names)
    titled(right, palette, "Above the best of its column, %", "measured by")
    keyed(right, palette, "upper right")
    return picture


FIGURE = Figure(
    "F6", "six divergences and policy gradients to p*, and a family without it", "Korbak et al. 2022; Go et al. 2023",
    measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
