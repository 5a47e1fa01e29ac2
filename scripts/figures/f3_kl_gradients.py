"""F3: what each common way to put a KL into a policy gradient really descends, exact on TOY-A.

    .venv/bin/python scripts/figures/f3_kl_gradients.py

Expected gradients by enumeration against ∇KL(π‖π0), which autograd gives. A rule is a coefficient of each token's
∇log π, and perhaps the KL of each place differentiated. Sequence rules first (the table of SCIENCE's sources), then
rules a token as libraries have them, at three distances from the prior; then how noisy the right ones are on the way to
a posterior.
"""

import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.logspace import kl
from credence.posterior.exact import Exact, enumerate_posterior
from credence.prior.tabular import TabularPolicy, tabular_policy
from credence.report.canvas import Palette, sheet
from credence.testing.toys import toy_a, toy_policy, toy_prior, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

PROMPTS = toy_prompts()
SCALES = (0.16, 0.8, 2.0, 4.0)
"""Of the test policy's logits off the prior's, over 0.8."""
RIGHT = "k1 in the reward, return-to-go", "KL of each place, return-to-go", "k1 in the reward, the reply's"
TOKEN_RULES = (
    "k1 as loss",
    "|k1| as loss",
    "k3 as loss",
    "k2, ratio·k3 as loss",
    "KL of each place as loss",
    "k2 in the reward",
    "k3 in the reward",
    *RIGHT,
)


class Audit:
    """One policy on TOY-A: all its replies, and the gradients of every token and of every place's KL."""

    def __init__(self, policy: TabularPolicy) -> None:
        self.exact = exact = enumerate_posterior(toy_a(), PROMPTS)
        rows, self.policy = exact.completions, policy
        log_pi, place_kl = policy.log_probs(PROMPTS, rows), policy.kl(PROMPTS, rows, toy_prior())
        self.by_token, self.by_kl = (self._gradients(x) for x in (log_pi, place_kl))
        self.log_pi, self.kl = log_pi.detach(), place_kl.detach()
        self.drawn = torch.where(rows.mask, self.log_pi - toy_prior().score(PROMPTS, rows), 0.0)
        self.chance = torch.exp(self.log_pi.sum(-1))

    def _gradients(self, values: Tensor) -> Tensor:
        each = [torch.autograd.grad(x, self.policy.logits, retain_graph=True)[0].flatten() for x in values.flatten()]
        return torch.stack(each).view(*values.shape, -1)

    def true(self, forward: bool = False) -> Tensor:
        """∇KL(π‖π0), or ∇KL(π0‖π)."""
        log_pi = self.policy.log_probs(PROMPTS, self.exact.completions).sum(-1)
        pair = (self.exact.log_prior, log_pi) if forward else (log_pi, self.exact.log_prior)
        return torch.autograd.grad(kl(*pair), self.policy.logits)[0].flatten()

    def rows(self, coefficient: Tensor, places: float = 0.0) -> Tensor:
        """(31, P): one draw's gradient."""
        return torch.einsum("rt,rtp->rp", coefficient.expand(-1, 4), self.by_token) + places * self.by_kl.sum(1)

    def mean(self, coefficient: Tensor, places: float = 0.0) -> Tensor:
        return self.chance @ self.rows(coefficient, places)

    def sequence(self, name: str) -> Tensor:
        """Expected gradient of a rule on whole replies."""
        k1 = self.drawn.sum(-1, keepdim=True)
        ratio = torch.exp(-k1)
        rules = {"k1 as loss": torch.ones_like(k1), "k3 as loss": 1 - ratio, "k3 in the reward": ratio - 1 + k1,
                 "k2 in the reward": k1**2 / 2, "k1 in the reward": k1}  # fmt: skip
        return self.mean(rules[name])

    def token(self, name: str) -> Tensor:
        """Expected gradient of a rule a token."""
        k1, mask = self.drawn, self.exact.completions.mask
        k3 = torch.where(mask, torch.exp(-k1) - 1 + k1, 0.0)
        if name == "KL of each place as loss":
            return self.mean(torch.zeros_like(k1), 1.0)
        if name == RIGHT[1]:
            return self.mean(_to_go(self.kl) - self.kl, 1.0)
        rules = {"k1 as loss": mask.double(), "|k1| as loss": torch.sign(k1), "k3 as loss": 1 - torch.exp(-k1),
                 "k2, ratio·k3 as loss": k1, "k2 in the reward": _to_go(k1**2 / 2), "k3 in the reward": _to_go(k3),
                 RIGHT[0]: _to_go(k1), RIGHT[2]: k1.sum(-1, keepdim=True)}  # fmt: skip
        return self.mean(rules[name])

    def noise(self, share: float, paid: float) -> float:
        """Total variance of one draw's gradient of KL(π‖p*) (paid = 1) or KL(π‖π0) (0), as rao_blackwell_gradient."""
        mixed = share * self.kl + (1 - share) * self.drawn
        back = paid * self.exact.log_lik - mixed.sum(-1)
        before = self.drawn.cumsum(-1) - self.drawn
        a = (paid * self.exact.log_lik - self.chance @ back)[:, None] - before - (_to_go(mixed) - share * self.kl)
        g = self.rows(a, -share)
        return float(self.chance @ g.square().sum(-1) - (self.chance @ g).square().sum())


def _to_go(values: Tensor) -> Tensor:
    return values.flip(-1).cumsum(-1).flip(-1)


def at(logits: Tensor) -> Audit:
    policy = tabular_policy(toy_prior(), PROMPTS)
    policy.restore({"logits": logits})
    return Audit(policy)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def off(found: Tensor, wanted: Tensor) -> float:
    """Relative error."""
    return float((found - wanted).norm() / wanted.norm())


def places(exact: Exact) -> dict[str, Tensor]:
    """Logits of the policies whose noise is measured."""
    policy = tabular_policy(toy_prior(), PROMPTS)
    start = torch.log_softmax(policy.state()["logits"], -1)
    best = torch.stack([torch.log_softmax(exact.soft_optimal(reply), -1) for _, reply in policy.places])
    test = torch.stack([toy_policy().logits(reply) for _, reply in policy.places])
    return {"prior": start, "half-way": (start + best) / 2, "p*": best, "beyond": start + 1.5 * (best - start),
            "test policy": test, "uniform": torch.zeros_like(start)}  # fmt: skip


NOISE = {
    "prior": (0.0, 0.0, 1.6980, 1.6980, 1.6980), "half-way": (0.3476, 0.1358, 0.3989, 0.6724, 1.0490),
    "p*": (1.0013, 0.3279, 0.0, 0.1256, 0.5026), "beyond": (1.2466, 0.3992, 0.1037, 0.0307, 0.2217),
    "test policy": (0.5721, 0.1817, 0.7454, 0.7472, 0.9086), "uniform": (2.8824, 1.2385, 7.2889, 5.7907, 4.9499),
}  # fmt: skip
"""Of the KL's gradient at share 0 and 1, of the whole one at share 0, a half and 1; our own, first printed here."""


def measure(seed: int) -> Found:
    policy = tabular_policy(toy_prior(), PROMPTS)
    start = policy.state()["logits"]
    test = torch.stack([toy_policy().logits(reply) for _, reply in policy.places])
    audit = at(test)
    true, other = audit.true(), audit.true(forward=True)
    mean = float(audit.chance @ audit.kl.sum(-1))
    sds = [float((audit.chance @ (x.sum(-1) - mean).square()).sqrt()) for x in (audit.drawn, audit.kl)]
    k1_reward, k1, k3_loss, k3, k2 = (
        audit.sequence(name)
        for name in ("k1 in the reward", "k1 as loss", "k3 as loss", "k3 in the reward", "k2 in the reward")
    )
    myopic = audit.token("KL of each place as loss")
    numbers = [
        Number("k1 in the reward, a reply: relative error", 0.0, 1e-10, off(k1_reward, true), "≤"),
        Number("k1 as loss: norm", 0.0, 1e-10, float(k1.norm()), "≤"),
        Number("k3 as loss against ∇KL(π0‖π): relative error", 0.0, 1e-10, off(k3_loss, other), "≤"),
        Number("k3 as loss: cosine", 0.9620, 0.5001e-4, cosine(k3_loss, true)),
        Number("k3 in the reward: cosine", -0.8117, 0.5001e-4, cosine(k3, true)),
        Number("k3 in the reward: norm over the true one", 0.802, 0.5001e-3, float(k3.norm() / true.norm())),
        Number("k2 in the reward: cosine", -0.6912, 0.5001e-4, cosine(k2, true)),
        Number("KL of each place as loss: cosine", 0.9983, 0.5001e-4, cosine(myopic, true)),
        Number("KL of each place as loss: relative error", 0.4196, 0.5001e-4, off(myopic, true)),
        Number("sd of Σ log π/π0", 0.459310, 0.5001e-6, sds[0]),
        Number("sd of Σ KL of each place", 0.147787, 0.5001e-6, sds[1]),
    ]
    curves: dict[str, list[float]] = {name: [] for name in TOKEN_RULES} | {"kl": []}
    for scale in SCALES:
        audit = at(start + scale / 0.8 * (test - start))
        true = audit.true()
        curves["kl"].append(float(audit.chance @ audit.drawn.sum(-1)))
        for name in TOKEN_RULES:
            curves[name].append(off(audit.token(name), true))
    numbers += [Number(f"{name}: worst relative error", 0.0, 1e-10, max(curves[name]), "≤") for name in RIGHT]
    for name, logits in places(audit.exact).items():
        audit = at(logits)
        found = [audit.noise(s, paid) for s, paid in ((0, 0), (1, 0), (0, 1), (0.5, 1), (1, 1))]
        words = ("KL, c = 0", "KL, c = 1", "whole, c = 0", "whole, c = ½", "whole, c = 1")
        numbers += [
            Number(f"noise at {name}: {w}", e, 1e-4, f) for w, e, f in zip(words, NOISE[name], found, strict=True)
        ]
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (ax,) = sheet((7.6, 4.6), palette)
    lines = (("k1 as loss", palette.muted, "-"), ("k3 in the reward", palette.muted, ":"),
             ("k3 as loss", palette.draw, "-"), ("k2, ratio·k3 as loss", palette.ink, "--"))  # fmt: skip
    for name, colour, dash in lines:
        ax.plot(
            found.curves["kl"], found.curves[name], color=colour, linestyle=dash, marker="o", markersize=4, label=name
        )
    ax.axhline(0.0, color=palette.train, linewidth=2.4, label="KL in the return, sampled or summed")
    ax.set_xscale("log")
    ax.set_ylim(-0.1, 2.6)
    plain_ticks(ax.xaxis, (0.02, 0.05, 0.1, 0.2, 0.5))
    titled(ax, palette, "Relative error of the expected KL gradient, rules a token, TOY-A", "KL(π‖π0), nats")
    keyed(ax, palette, "upper left")
    return picture


FIGURE = Figure(
    "F3", "what each common KL term really descends; which right one is noisy where",
    "Liu et al. 2025 (2510.01555); Zhang et al. 2025; Shah et al. 2025; Amini et al. 2025", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
