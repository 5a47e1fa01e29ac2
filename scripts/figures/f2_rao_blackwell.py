"""F2: the KL of each place, summed along a reply, against the log-ratio of its tokens: both are KL(π‖π0) on average.

    .venv/bin/python scripts/figures/f2_rao_blackwell.py

Exact on TOY-A, on 200 random languages of its shape, and on a counter-example: that the sum over places is the less
noisy one is no theorem, since a difference that comes later may cancel the noise of an earlier token. Then on the
embedded model (installed by `make setup`; left out, and said so, where it is not): at temperature 1 it draws 200
replies, and temperature 1.2 is what the KL is to.
"""

import math
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from result import Figure, Found, Number, alone, keyed, plain_ticks, titled
from torch import Tensor

from credence.core.errors import CredenceError
from credence.core.keys import Key
from credence.core.types import Prompts
from credence.posterior.exact import as_completions, tree
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.logprob import Output, token_kl, token_log_probs
from credence.prior.steps import laws_by_steps
from credence.prior.table import TablePrior
from credence.report.canvas import Palette, sheet
from credence.testing.toys import EOS, HORIZON, toy_policy, toy_prior

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

LANGUAGES, DRAWS, TOKENS = 200, 200, 24
QUESTION = "What did you do at the weekend?"
HOT = 1.2
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Estimates:
    """What a reply gives for KL(π‖π0) in nats, (R,) each, and the chance of the reply under π."""

    chance: Tensor
    drawn: Tensor
    places: Tensor
    k3_token: Tensor
    k3: Tensor

    def mean(self, of: Tensor) -> float:
        return float(self.chance @ of)

    def variance(self, of: Tensor) -> float:
        return float(self.chance @ (of - self.chance @ of).square())

    @property
    def gain(self) -> float:
        """Variance of the tokens' log-ratio over that of the places' KL."""
        return self.variance(self.drawn) / self.variance(self.places)


def every_reply(policy: TablePrior, prior: TablePrior) -> Estimates:
    """By enumeration; a reply that π cannot say does not count."""
    prompts = policy.codec.prompts([()])
    rows = as_completions(tree(policy, prompts)[0], policy.ends)
    log_pi = policy.score(prompts, rows)
    rows = rows.rows(torch.nonzero(~torch.isneginf(log_pi.sum(-1))).flatten())
    log_pi, log_prior = policy.score(prompts, rows), prior.score(prompts, rows)
    laws = (torch.stack(list(laws_by_steps(law, prompts, rows)), 1) for law in (policy, prior))
    each = _kl(*laws)
    k1 = torch.where(rows.mask, log_pi - log_prior, 0.0)
    k3 = torch.where(rows.mask, torch.exp(-k1) - 1 + k1, 0.0)
    drawn = k1.sum(-1)
    places = torch.where(rows.mask, each, 0.0).sum(-1)
    return Estimates(torch.exp(log_pi.sum(-1)), drawn, places, k3.sum(-1), torch.exp(-drawn) - 1 + drawn)


def _kl(log_pi: Tensor, log_prior: Tensor) -> Tensor:
    return torch.where(torch.isneginf(log_pi), 0.0, torch.exp(log_pi) * (log_pi - log_prior)).sum(-1)


def random_pair(key: Key) -> tuple[TablePrior, TablePrior]:
    """A policy and its prior on TOY-A's tree: logits N(0, 1), and N(0, .8²) between the two."""
    stored: dict[Tokens, tuple[list[float], list[float]]] = {}

    def at(said: Tokens) -> tuple[list[float], list[float]]:
        if said not in stored:
            first, off = key.fold(*said).generator().normal(0, ((1.0,), (0.8,)), (2, EOS + 1))
            stored[said] = (first + off).tolist(), first.tolist()
        return stored[said]

    return tuple(TablePrior(lambda said, w=w: at(said)[w], EOS + 1, EOS, HORIZON) for w in (0, 1))  # pyright: ignore


def counter_example() -> tuple[TablePrior, TablePrior]:
    """After a the laws agree; after b they do not, and the first token's log-ratio cancels what comes then."""
    policy = {(): (0.5, 0.5, 0.0), (0,): (1.0, 0.0, 0.0), (1,): (0.4995, 0.4995, 0.001)}
    prior = {(): (1 / 3, 2 / 3, 0.0), (0,): (1.0, 0.0, 0.0), (1,): (0.25, 0.25, 0.5)}

    def law(table: dict[Tokens, tuple[float, ...]]) -> TablePrior:
        unsaid = (1.0, 0.0, 0.0)
        return TablePrior(lambda said: [math.log(p) if p else -math.inf for p in table.get(said, unsaid)], 3, (), 2)

    return law(policy), law(prior)


def model() -> LMPrior | None:
    """The embedded model, or None where it is not installed."""
    try:
        return load("smollm2", horizon=TOKENS)
    except CredenceError as error:
        print(f"  F2 without its language model: {error}")
        return None


@torch.no_grad()
def spoken(lm: LMPrior, prompts: Prompts, key: Key) -> Estimates:
    """Draws of the model at temperature 1, each as likely as the next, read against temperature 1.2."""
    rows, log_q = lm.sample(key, prompts, DRAWS)
    drawn, places = (torch.zeros(rows.ids.shape, dtype=torch.float64) for _ in range(2))
    for piece in lm.pieces(prompts, rows):
        part = rows.rows(piece)
        hidden = lm.hidden(prompts, part).flatten(0, 1)
        hot = token_log_probs(hidden, lm.head, part.ids.flatten(), HOT).view(part.ids.shape).double()
        kl = token_kl(hidden, Output(lm.head, 1.0), hidden, Output(lm.head, HOT)).view(part.ids.shape).double()
        drawn[piece] = torch.where(part.mask, log_q[piece] - hot, 0.0)
        places[piece] = torch.where(part.mask, kl, 0.0)
    k3 = torch.where(rows.mask, torch.exp(-drawn) - 1 + drawn, 0.0).sum(-1)
    whole = drawn.sum(-1)
    even = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    return Estimates(even, whole, places.sum(-1), k3, torch.exp(-whole) - 1 + whole)


def language_model(seed: int) -> tuple[list[Number], dict[str, list[float]]]:
    """The means of one set of draws agree, and the places' sum is the less noisy one there."""
    lm = model()
    if lm is None:
        return [], {}
    found = spoken(lm, lm.codec.prompts([QUESTION]), Key(seed).fold("f2"))
    gap = found.drawn - found.places
    error = math.sqrt(found.variance(gap) / (DRAWS - 1))
    numbers = [
        Number("135M: mean of the tokens' − places' KL, ± 4 standard errors", 0.0, 4 * error, found.mean(gap)),
        Number("135M: variance of the places' over the tokens'", 1.0, 0.0, 1 / found.gain, "≤"),
    ]
    return numbers, {"model drawn": found.drawn.tolist(), "model places": found.places.tolist()}


def measure(seed: int) -> Found:
    toy = every_reply(toy_policy(), toy_prior())
    kl = 0.1958249745
    numbers = [Number(f"TOY-A: mean of {name}", kl, 1e-9, toy.mean(of)) for name, of in
               (("the tokens'", toy.drawn), ("the places'", toy.places), ("k3, a token", toy.k3_token),
                ("k3, a reply", toy.k3))]  # fmt: skip
    for name, wanted, of in (("the tokens'", 0.459310, toy.drawn), ("the places'", 0.147787, toy.places),
                             ("k3, a token", 0.279688, toy.k3_token), ("k3, a reply", 0.905271, toy.k3)):  # fmt: skip
        numbers.append(Number(f"TOY-A: sd of {name}", wanted, 1e-6, math.sqrt(toy.variance(of))))
    gains, biased = [], 0.0
    for i in range(LANGUAGES):
        found = every_reply(*random_pair(Key(seed).fold("f2", i)))
        gains.append(found.gain)
        biased = max(biased, abs(found.mean(found.drawn) - found.mean(found.places)))
    rng = Key(seed).fold("f2", "median").generator()
    again = [statistics.median(rng.choice(gains, LANGUAGES)) for _ in range(400)]
    error = statistics.stdev(again)
    numbers += [
        Number("200 languages: largest difference of the means", 0.0, 1e-12, biased, "≤"),
        Number("200 languages: median gain, ± 4 bootstrap errors", 19.0, 4 * error, statistics.median(gains)),
        Number("200 languages: that the places' sum is the noisier one", 0.0, 0.0, sum(g <= 1 for g in gains), "≤"),
    ]
    turned = every_reply(*counter_example())
    numbers += [
        Number("counter-example: KL by the tokens", 0.401511, 0.5001e-6, turned.mean(turned.drawn)),
        Number("counter-example: KL by the places", 0.401511, 0.5001e-6, turned.mean(turned.places)),
        Number("counter-example: variance of the tokens'", 0.02384, 0.5001e-5, turned.variance(turned.drawn)),
        Number("counter-example: variance of the places'", 0.11739, 0.5001e-5, turned.variance(turned.places)),
    ]
    more, curves = language_model(seed)
    return Found((*numbers, *more), {"gains": sorted(gains), "toy": [toy.gain], "turned": [turned.gain], **curves})


def draw(found: Found, palette: Palette) -> "Picture":
    curves = found.curves
    picture, axes = sheet((10.8 if "model drawn" in curves else 5.6, 3.9), palette, 1, 1 + ("model drawn" in curves))
    first, n = axes[0], len(curves["gains"])
    first.plot(curves["gains"], [(i + 1) / n for i in range(n)], color=palette.train, linewidth=2,
               label="200 random languages")  # fmt: skip
    for name, words, colour in (("toy", "TOY-A", palette.target), ("turned", "counter-example", palette.draw)):
        first.axvline(curves[name][0], color=colour, linewidth=2, linestyle=(0, (4, 2)), label=words)
    first.axvline(1.0, color=palette.muted, linewidth=1)
    first.set_xscale("log")
    plain_ticks(first.xaxis, (0.2, 1, 5, 20, 100))
    titled(first, palette, "Variance, tokens' log-ratio over places' KL", "gain", "share of languages")
    keyed(first, palette, "lower right")
    for second in axes[1:]:
        edges = torch.linspace(min(curves["model drawn"]), max(curves["model drawn"]), 36).tolist()
        second.hist(curves["model drawn"], edges, color=palette.draw, alpha=0.55, label="tokens' log-ratio")
        second.hist(curves["model places"], edges, color=palette.train, alpha=0.75, label="KL of each place")
        mean = statistics.mean(curves["model places"])
        second.axvline(mean, color=palette.ink, linewidth=1.5, label="mean")
        titled(second, palette, "135M, T = 1 against T = 1.2, 200 replies of 24 tokens", "KL of a reply, nats",
               "replies")  # fmt: skip
        keyed(second, palette, "upper left")
    return picture


FIGURE = Figure(
    "F2", "the KL of each place against the tokens' log-ratio: one mean, less noise, though not always",
    "Amini et al. 2025 (2504.10637)", measure, draw,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(alone(FIGURE))
