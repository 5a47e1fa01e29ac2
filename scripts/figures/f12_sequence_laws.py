"""F12: what a token at a time does to powers and mixtures of whole sequences, what a weight mends, and what needs none.

    .venv/bin/python scripts/figures/f12_sequence_laws.py

Power against temperature: (aa, ab, ba, bb) ∝ (0, .4, .25, .25), and α = 2. Realignment: TOY-A's posterior taken to
β/λ, as a mixture of logits a token and as the law of whole sequences; weighting the first by Π C(s_t) gives the second.
Speculative sampling: p = (.5, .3, .2) drafted by q = (.2, .5, .3).
"""

import math
import sys
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, titled
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.evidence.experts import Expert
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.experts import product_of_experts, realigned, token_law
from credence.prior.loglinear import LogLinear
from credence.prior.table import TablePrior
from credence.report.canvas import Palette, sheet
from credence.sample.speculative import log_acceptance, log_residual, speculate
from credence.testing.toys import BETA, EOS, HORIZON, toy_a, toy_prior, toy_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

GAPS = {0.5: 0.0040079, 1.0: 0.0, 2.0: 0.0211460}
DRAFTS, LENGTH = 400, 60


def log(law: tuple[float, ...]) -> list[float]:
    """Logarithms, that of 0 too."""
    return [math.log(p) if p else -math.inf for p in law]


def pairs() -> tuple[TablePrior, TablePrior]:
    """Two tokens of a, b and an end that never comes; and the uniform law on a and b."""
    after = {(): (4 / 9, 5 / 9, 0.0), (0,): (0.0, 1.0, 0.0), (1,): (0.5, 0.5, 0.0)}
    return TablePrior(lambda said: log(after[said]), 3, EOS, 2), TablePrior(lambda _: log((0.5, 0.5, 0.0)), 3, EOS, 2)


def first_a(alpha: float) -> tuple[float, float]:
    """P(first token is a) under π0^α of whole sequences, and under temperature 1/α a token."""
    prior, flat = pairs()
    posterior = product_of_experts(prior, Expert(prior, flat, alpha - 1))
    exact = enumerate_posterior(posterior, prior.codec.prompts())
    begins = torch.tensor([s[0] == 0 for s in exact.sequences])
    law = token_law(posterior).score(prior.codec.prompts(), exact.completions).sum(-1)
    return float(torch.exp(exact.log_p[begins]).sum()), float(torch.exp(law[begins]).sum())


def log_mass(law: LogLinear, exact: Exact) -> Tensor:
    """Σ_t log C(s_t) of every sequence."""
    out = []
    for sequence in exact.sequences:
        state, total = law.start(toy_prompts(), 1), 0.0
        for token in sequence:
            total += float(law.next_product(state)[1][0])
            state = law.extend(state, torch.tensor([token]))
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def realignment(lam: float) -> tuple[float, float]:
    """KL in nats of the law a token to p* at β/λ, and the largest error of its log p once it is weighted by Π C."""
    at_beta = enumerate_posterior(toy_a(), toy_prompts())
    policy = TablePrior(lambda said: at_beta.soft_optimal(said).tolist(), 3, EOS, HORIZON)
    posterior = realigned(toy_prior(), policy, BETA, BETA / lam)
    exact = enumerate_posterior(toy_a(BETA / lam), toy_prompts())
    law = token_law(posterior)
    log_q = law.score(toy_prompts(), exact.completions).sum(-1)
    weighted = torch.log_softmax(log_q + log_mass(law, exact), 0)
    off = float((weighted - exact.log_p).abs().max())
    return float(kl(log_q, exact.log_p)), off


def speculation(seed: int) -> tuple[float, float, float, float]:
    """Share kept, exactly; the largest error of the law drawn; share kept of drawn drafts, and four errors of it."""
    p, q = (torch.log(torch.tensor(x, dtype=torch.float64)) for x in ((0.5, 0.3, 0.2), (0.2, 0.5, 0.3)))
    kept = torch.exp(q + log_acceptance(p, q))
    law = kept + (1 - kept.sum()) * torch.exp(log_residual(p, q))
    table = [TablePrior(lambda _, x=x: [*x.tolist(), -math.inf], 4, 3, LENGTH) for x in (p, q)]
    found = speculate(table[0], table[1], Key(seed).fold("f12"), table[0].codec.prompts(), DRAFTS, 3)
    judged = int((found.accepted + found.rejected).sum())
    error = 4 * math.sqrt(0.7 * 0.3 / judged)
    return float(kept.sum()), float((law - torch.exp(p)).abs().max()), int(found.accepted.sum()) / judged, error


def measure(seed: int) -> Found:
    share, off, drawn, error = speculation(seed)
    power, cold = first_a(2.0)
    numbers = [
        Number("P(a first), π0² of sequences", 0.16 / 0.285, 1e-6, power),
        Number("P(a first), temperature ½ a token", 0.16 / 0.41, 1e-6, cold),
    ]
    for lam, gap in GAPS.items():
        found, after = realignment(lam)
        numbers.append(Number(f"KL(law a token‖sequence's), λ = {lam:g}", gap, 1e-6, found))
        numbers.append(Number(f"largest error of log p, weighted, λ = {lam:g}", 0.0, 1e-12, after, "≤"))
    numbers += [
        Number("share of drafts kept, 1 − TV", 0.7, 1e-6, share),
        Number("tokens a pass at three drafts, (1 − α⁴)/(1 − α)", 2.533, 1e-6, (1 - share**4) / (1 - share)),
        Number("largest error of the law drawn", 0.0, 1e-12, off, "≤"),
        Number("share kept in 400 replies of 60 tokens, ± 4 standard errors", 0.7, error, drawn),
    ]
    alphas, lams = [1 + 0.1 * i for i in range(41)], [0.1 * i for i in range(1, 31)]
    curves = {
        "alpha": alphas, "first": [list(first_a(a)) for a in alphas],
        "lam": lams, "gap": [realignment(lam)[0] for lam in lams],
        "drafts": list(range(1, 9)), "tokens": [(1 - share ** (n + 1)) / (1 - share) for n in range(1, 9)],
    }  # fmt: skip
    return Found(tuple(numbers), curves)


def draw(found: Found, palette: Palette) -> "Picture":
    picture, (power, gap, pace) = sheet((13.2, 3.9), palette, 1, 3)
    for which, words, colour in (
        (0, "π0^α of sequences", palette.target),
        (1, "temperature 1/α a token", palette.draw),
    ):
        power.plot(found.curves["alpha"], [p[which] for p in found.curves["first"]], color=colour, linewidth=2,
                   label=words)  # fmt: skip
    titled(power, palette, "P(first token is a)", "α")
    keyed(power, palette, "center right")
    gap.plot(found.curves["lam"], found.curves["gap"], color=palette.draw, linewidth=2, label="logits mixed a token")
    gap.axhline(0.0, color=palette.target, linewidth=2, label="the same, weighted by Π C")
    titled(gap, palette, "KL to p* at β/λ, nats", "λ")
    keyed(gap, palette, "upper left")
    pace.plot(found.curves["drafts"], found.curves["tokens"], color=palette.train, marker="o", linewidth=2)
    titled(pace, palette, "Tokens a pass, 70 % of drafts kept", "tokens drafted")
    return picture


FIGURE = Figure(
    "F12", "laws a token against laws of sequences: powers, realignment, speculative sampling",
    "Karan & Du 2025; Liu et al. 2024; Leviathan et al. 2023", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
