"""Which of a few candidates translates a source: language model, IBM models in either direction, and their products.

    bayes     p(y | x) ∝ p(y) p(x | y)                          Bayes' rule, as it stands
    tuned     p(y | x) ∝ p(y)^λ p(x | y)^τ                      λ, τ of the least log-loss on validation sources
    direct    p(y | x), IBM model 1 the other way round         no prior, no channel
    combined  log p ∝ a/|y| log p(y|x) + 1/|x| [b log p(x|y) + c log p(y)]      Yee et al. 2019 (1908.05731)

Every law is normalised over the candidates: a posterior cut off outside them. Bayes proper has no direct term and
divides by no length. Tested in tests/oracle/test_translate.py: with conditionals of one joint table, `bayes` is
p(y | x).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.belief.channel import Channel
from credence.belief.ibm1 import IBM1
from credence.belief.temper import fit_tau, fit_weights
from credence.belief.units import units
from credence.belief.verbaliser import Texts, channel_log_lik
from credence.core.errors import ConfigError, ShapeError
from credence.core.logspace import normalise
from credence.prior.hf import LMPrior

CHANCE, PRIOR, DIRECT, PER_UNIT, CHANNEL, TEMPERED, BAYES, TUNED, COMBINED, LIKENESS = (
    "chance", "prior", "direct", "direct_per_unit", "channel", "channel_tempered", "bayes", "tuned", "combined",
    "likeness",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Readings:
    """What is read of N sources with K candidates each.

    Attributes:
        prior: log p(y), nats.
        channel: log p(x | y), nats.
        direct: log p(y | x), nats.
        size: units of each source.
        sizes: units of each candidate.
        likeness: cosine of source and candidate, where there is an embedder.
    """

    prior: Float[Tensor, "N K"]
    channel: Float[Tensor, "N K"]
    direct: Float[Tensor, "N K"]
    size: Int[Tensor, " N"]
    sizes: Int[Tensor, "N K"]
    likeness: Float[Tensor, "N K"] | None = None

    def __len__(self) -> int:
        return len(self.size)

    def rows(self, index: slice) -> "Readings":
        """These sources."""
        likeness = None if self.likeness is None else self.likeness[index]
        return Readings(
            self.prior[index], self.channel[index], self.direct[index], self.size[index], self.sizes[index], likeness
        )

    def per_unit(self) -> Float[Tensor, "N K"]:
        """log p(y | x)/|y|."""
        return self.direct / self.sizes.clamp(min=1)

    def both(self) -> Float[Tensor, "N K 2"]:
        """log p(y), log p(x | y)."""
        return torch.stack([self.prior, self.channel], -1)

    def three(self) -> Float[Tensor, "N K 3"]:
        """Yee et al.'s: log p(y|x)/|y|, log p(x|y)/|x|, log p(y)/|x|."""
        size = self.size[:, None].clamp(min=1)
        return torch.stack([self.per_unit(), self.channel / size, self.prior / size], -1)


@dataclass(frozen=True)
class Weights:
    """What validation sources set.

    Attributes:
        lam: power of p(y) in `tuned`.
        tau: power of p(x | y) in `tuned`.
        channel: power of the channel alone.
        direct: weight of log p(y | x)/|y|.
        combined: the three of `combined`.
        likeness: weight of the cosine; None without an embedder.
    """

    lam: float
    tau: float
    channel: float
    direct: float
    combined: tuple[float, ...]
    likeness: float | None


def fit_laws(readings: Readings, truth: Int[Tensor, " N"]) -> Weights:
    """Every weight by the least log-loss of the references, as belief.temper does. Weights may be negative.

    Raises:
        ShapeError: no source.
    """
    if not len(readings):
        raise ShapeError("weights are set by validation sources, and none was given.")
    alike = torch.zeros(readings.prior.shape[1], dtype=torch.float64)
    lam, tau = fit_weights(readings.both(), truth, alike).tolist()
    seen = readings.likeness
    return Weights(
        lam, tau,
        channel=fit_tau(readings.channel, truth, alike),
        direct=fit_tau(readings.per_unit(), truth, alike),
        combined=tuple(fit_weights(readings.three(), truth, alike).tolist()),
        likeness=None if seen is None else fit_tau(seen, truth, alike, 1000.0),
    )  # fmt: skip


def bayes_law(log_prior: Float[Tensor, "N K"], log_lik: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """log p(y | x) ∝ log p(y) + log p(x | y), over the candidates."""
    return normalise(log_prior.double() + log_lik.double())


def translation_laws(readings: Readings, weights: Weights) -> dict[str, Float[Tensor, "N K"]]:
    """log p(y | x) of every scorer by name, in the table's order."""
    r, w = readings, weights
    out = {
        CHANCE: torch.zeros_like(r.prior),
        PRIOR: r.prior,
        DIRECT: r.direct,
        PER_UNIT: w.direct * r.per_unit(),
        CHANNEL: r.channel,
        TEMPERED: w.channel * r.channel,
        BAYES: bayes_law(r.prior, r.channel),
        TUNED: w.lam * r.prior + w.tau * r.channel,
        COMBINED: r.three() @ torch.tensor(w.combined, dtype=torch.float64),
    }
    if r.likeness is not None and w.likeness is not None:
        out[LIKENESS] = w.likeness * r.likeness
    return {name: normalise(nats.double()) for name, nats in out.items()}


def line_log_p(
    prior: LMPrior, texts: Sequence[str], before: str = "", tick: Callable[[int], None] = lambda n: None
) -> Float[Tensor, " N"]:
    """log p(y) of each text as a whole line, its end of line included: a law over texts of every length. Nats.

    Args:
        prior: at temperature 1.
        texts: one line each.
        before: what stands before the line.
        tick: told how many more are read.

    Raises:
        ConfigError: the model has no token for a line's end, or a text and what stands before it exceed its context.

    Cost: one pass over the texts.
    """
    end, most = prior.codec.encode("\n"), min(prior.context, prior.window or prior.context)
    if not end:
        raise ConfigError(f"{prior.name} has no token for the end of a line: its law of whole lines cannot be had.")
    prompts = prior.codec.prompts([before])
    ids = tuple((*prior.codec.encode(" ".join(text.split())), *end) for text in texts)
    longest = max(map(len, ids), default=0) + len(prompts.ids[0])
    if longest > most:
        raise ConfigError(
            f"a candidate of {longest} tokens exceeds the context of {prior.name}, {most} tokens. Leave it out: lower "
            "data.longest."
        )
    heard = channel_log_lik(Channel(("line",), (prior,), (prompts,)), Texts(ids, tuple(texts), 0), tick)
    return torch.stack([nats.sum() for nats in heard]) if heard else torch.zeros(0, dtype=torch.float64)


def read_models(
    sources: Sequence[str], candidates: Sequence[Sequence[str]], channel: IBM1, direct: IBM1
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"], Int[Tensor, " N"], Int[Tensor, "N K"]]:
    """log p(x | y), log p(y | x) in nats, and the lengths of sources and candidates in units."""
    xs, ys = [units(x) for x in sources], [[units(y) for y in row] for row in candidates]
    rows = [[channel.log_p(x, y) for y in row] for x, row in zip(xs, ys, strict=True)]
    back = [[direct.log_p(y, x) for y in row] for x, row in zip(xs, ys, strict=True)]
    sizes = torch.tensor([[len(y) for y in row] for row in ys])
    return (torch.tensor(rows, dtype=torch.float64), torch.tensor(back, dtype=torch.float64),
            torch.tensor([len(x) for x in xs]), sizes)  # fmt: skip
