"""F14: labels that never disagree drive DPO's gap without bound and IPO's to 1/2τ; with Bradley–Terry labels DPO is p*.

    .venv/bin/python scripts/figures/f14_preferences.py

Bandits of two and three replies, the better one always chosen; and all 465 pairs of TOY-A's 31 replies, judged with the
chances of a Bradley–Terry model, r = TOY-A's reward, β = .5. Through the library's own losses.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.logspace import kl
from credence.core.protocols import Batch, Learner
from credence.evidence.comparisons import Comparisons
from credence.learn.dpo import DPO
from credence.learn.ipo import IPO
from credence.learn.recorded import stored_comparisons
from credence.posterior.exact import as_completions, enumerate_posterior
from credence.prior.table import TablePrior, Tokens
from credence.prior.tabular import TabularPolicy, tabular_policy
from credence.prior.train import scored
from credence.report.canvas import Palette, sheet
from credence.testing.toys import BETA, toy_a, toy_prior, toy_reward

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

TAUS = {0.1: 5.0, 0.5: 1.0, 1.0: 0.5}
STEPS = 400
EXACT = enumerate_posterior(toy_a(), toy_prior().codec.prompts())


class Course:
    """A tabular policy on comparisons of one prompt's replies; each distinct reply is scored once a step."""

    def __init__(self, prior: TablePrior, replies: Sequence[Tokens], shares: Tensor, beta: float) -> None:
        """shares[k] of the votes go to the first reply of the k-th pair of `replies`."""
        pairs = list(itertools.combinations(range(len(replies)), 2))
        self.prompts = prior.codec.prompts()
        self.rows = as_completions(list(replies), prior.ends)
        self.where = torch.tensor([i for pair in pairs for i in pair])
        every = replace(self.rows.rows(self.where), prompt=torch.arange(len(pairs)).repeat_interleave(2))
        votes = torch.stack([shares, 1 - shares], -1)
        said = Comparisons(self.prompts.take([0] * len(pairs)), every, votes)
        self.batch: Batch = stored_comparisons(prior, said, beta)
        self.policy: TabularPolicy = tabular_policy(prior, self.prompts)

    def value(self, learner: Learner) -> Tensor:
        log_pi = self.policy.log_probs(self.prompts, self.rows)[self.where]
        return learner.loss(scored(self.batch, log_pi))[0]

    def adam(self, learner: Learner, steps: int, lr: float) -> None:
        for _ in range(steps):
            self.value(learner).backward()
            self.policy.step(lr)

    def settle(self, learner: Learner) -> None:
        """To the minimum, by L-BFGS."""
        found = torch.optim.LBFGS([self.policy.logits], max_iter=300, history_size=40, tolerance_grad=1e-11,
                                  tolerance_change=1e-15, line_search_fn="strong_wolfe")  # fmt: skip

        def closure() -> Tensor:
            self.policy.logits.grad = None
            value = self.value(learner)
            value.backward()
            return value.detach()

        found.step(closure)

    def h(self) -> Tensor:
        """log π/π0 of each reply."""
        log_pi = self.policy.score(self.prompts, self.rows).sum(-1)
        return log_pi - self.policy.prior.score(self.prompts, self.rows).sum(-1)


def bandit(arms: int, beta: float) -> Course:
    """Replies of one token, the earlier one of a pair always chosen."""
    prior = TablePrior(lambda _: [0.3 * k for k in range(arms)], arms, arms - 1, 1)
    pairs = arms * (arms - 1) // 2
    return Course(prior, [(k,) for k in range(arms)], torch.ones(pairs).double(), beta)


def toy() -> Course:
    """All pairs of TOY-A under Bradley–Terry."""
    reward = torch.tensor(toy_reward([()] * 31, EXACT.sequences), dtype=torch.float64)
    first, second = torch.combinations(torch.arange(31)).T
    return Course(toy_prior(), EXACT.sequences, torch.sigmoid(reward[first] - reward[second]), BETA)


def growth(learner: Learner, beta: float) -> list[float]:
    """The gap of two replies as training goes on."""
    course, gaps = bandit(2, beta), [0.0]
    for _ in range(STEPS // 10):
        course.adam(learner, 10, 0.1)
        gaps.append(float(course.h()[0] - course.h()[1]))
    return gaps


def approach(learner: Learner) -> list[float]:
    """KL(π‖p*) on TOY-A as training goes on, nats."""
    course, left = toy(), []
    for _ in range(STEPS // 10):
        left.append(float(kl(course.policy.score(course.prompts, course.rows).sum(-1), EXACT.log_p)))
        course.adam(learner, 10, 0.05)
    return left


def measure(seed: int) -> Found:
    """Nothing here is drawn: the seed is not used."""
    numbers: list[Number] = []
    for tau, gap in TAUS.items():
        course = bandit(2, tau)
        course.settle(IPO())
        numbers.append(Number(f"IPO gap of two replies, τ = {tau:g}", gap, 1e-3, float(course.h()[0] - course.h()[1])))
    three = bandit(3, 0.5)
    three.settle(IPO())
    numbers.append(Number("IPO gap of three, first to last, τ = .5", 4 / 3, 1e-3, float(three.h()[0] - three.h()[2])))
    curves: dict[str, list[float]] = {f"dpo {beta:g}": growth(DPO(), beta) for beta in TAUS}
    curves |= {f"ipo {tau:g}": growth(IPO(), tau) for tau in TAUS}
    for beta in TAUS:
        line = curves[f"dpo {beta:g}"]
        numbers.append(Number(f"DPO, β = {beta:g}: least growth of the gap in 10 steps, nats", -0.01, 0.0,
                              -min(b - a for a, b in itertools.pairwise(line)), "≤"))  # fmt: skip
    exact = toy()
    exact.settle(DPO())
    left = float(kl(exact.policy.score(exact.prompts, exact.rows).sum(-1), EXACT.log_p))
    numbers.append(Number("KL(π‖p*) of DPO on all pairs of TOY-A", 0.0, 1e-6, left, "≤"))
    nu = 1.1525100765  # the optimum under the forward KL, β π0/(ν − r), has E r = ν − β
    reward = torch.tensor(toy_reward([()] * 31, EXACT.sequences), dtype=torch.float64)
    forward = toy()
    forward.settle(DPO(divergence="forward_kl"))
    mean = float(torch.exp(forward.policy.score(forward.prompts, forward.rows).sum(-1)) @ reward)
    numbers.append(Number("E[r] of DPO under the forward KL", nu - BETA, 1e-5, mean))
    curves |= {"toy dpo": approach(DPO()), "toy forward_kl": approach(DPO(divergence="forward_kl")),
               "toy ipo": approach(IPO())}  # fmt: skip
    return Found(tuple(numbers), {"steps": [10 * i for i in range(STEPS // 10 + 1)], **curves})


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (first, second) = sheet((10.8, 3.9), palette, 1, 2)
    steps = found.curves["steps"]
    for tau, dash in zip(TAUS, ("-", (0, (4, 2)), (0, (1, 2))), strict=True):
        first.plot(steps, found.curves[f"dpo {tau:g}"], color=palette.train, linestyle=dash, linewidth=2,
                   label=f"DPO, β = {tau:g}")  # fmt: skip
        first.plot(steps, found.curves[f"ipo {tau:g}"], color=palette.draw, linestyle=dash, linewidth=2,
                   label=f"IPO, τ = {tau:g}")  # fmt: skip
    titled(first, palette, "gap of a reply that always wins, nats", "steps")
    keyed(first, palette, "upper left")
    for name, words, colour in (("dpo", "DPO", palette.train), ("forward_kl", "DPO, forward KL", palette.target),
                                ("ipo", "IPO", palette.draw)):  # fmt: skip
        second.plot(steps[:-1], found.curves[f"toy {name}"], color=colour, linewidth=2, label=words)
    second.set_yscale("log")
    plain_ticks(second.yaxis, (1.0, 1e-2, 1e-4, 1e-6, 1e-8))
    titled(second, palette, "KL(π‖p*) on all pairs of TOY-A, nats", "steps")
    keyed(second, palette, "best")
    return picture


FIGURE = Figure(
    "F14", "IPO and DPO under labels that never disagree; DPO on Bradley–Terry labels is the posterior",
    "Azar et al. 2023; Rafailov et al. 2023", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
