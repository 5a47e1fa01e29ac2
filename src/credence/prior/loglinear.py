"""Products of powers of priors, token by token: realignment to another β, proxy tuning, products of experts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.keys import Key
from credence.core.protocols import State, StepPrior
from credence.core.types import Codec, Completions, Prompts
from credence.prior.agreement import same_completions, same_width
from credence.prior.reading import Reading, open_reading
from credence.prior.steps import Concurrent, sample_by_steps, score_by_steps


@dataclass(frozen=True, eq=False)
class LogLinear:
    """π(v | s) = π0(v | s) · Π_i p_i(v | s)^{c_i} / C(s), normalised a token at a time.

    C(s), the mass that normalising takes away, is what this law lacks to be the product of whole sequences: Π_t C(s_t)
    is the weight of a completion towards π0(x) · Π_i p_i(x)^{c_i}, which `sample.sequence_product` puts back.

    Supports: what the base π0 cannot say stays impossible, and so does what a part of positive power cannot say; 0/0
    is 0, p^0 is 1. A prefix at which nothing is possible has C = 0; the law there is the base's, its weight is 0.
    Tested in tests/oracle/test_products.py.

    Args:
        base: π0.
        powers: (p_i, c_i); the same object named twice, or the base named again, is walked once.

    Raises:
        ConfigError: a power that is not finite, other tokens, ends or horizon than the base's.
        DegeneracyError: a part of negative power cannot say what all others can: its inverse would be infinite.

    Cost: one pass of each distinct prior a token.
    """

    base: StepPrior
    powers: tuple[tuple[StepPrior, float], ...]

    def __post_init__(self) -> None:
        for part, power in self.powers:
            if not math.isfinite(power):
                raise ConfigError(f"a power of {power}: a finite number is needed.")
            same_completions(self.base, part, ("base", "expert"))

    @property
    def parts(self) -> list[tuple[StepPrior, float]]:
        """Each distinct prior with its whole power, the base first; others of power 0 are left out."""
        total: dict[int, tuple[StepPrior, float]] = {id(self.base): (self.base, 1.0)}
        for part, power in self.powers:
            total[id(part)] = (part, total.get(id(part), (part, 0.0))[1] + power)
        base, *rest = total.values()
        return [base, *((part, power) for part, power in rest if power)]

    @property
    def codec(self) -> Codec:
        """The base's."""
        return self.base.codec

    @property
    def ends(self) -> frozenset[int]:
        """The base's."""
        return self.base.ends

    @property
    def horizon(self) -> int:
        """The base's."""
        return self.base.horizon

    @property
    def concurrent(self) -> bool:
        """Where every part is."""
        return all(isinstance(part, Concurrent) and part.concurrent for part, _ in self.parts)

    def combined(
        self, logits: Sequence[Float[Tensor, "rows V"]]
    ) -> tuple[Float[Tensor, "rows V"], Float[Tensor, " rows"]]:
        """The parts' logits, in the order of `parts`, as the law's logits and log C in nats, both float64."""
        base = torch.log_softmax(logits[0].double(), -1)
        impossible = torch.isneginf(base)
        endless = torch.zeros_like(impossible)
        total = torch.zeros_like(base)
        for (_, power), raw in zip(self.parts, logits, strict=True):
            same_width(base.shape[-1], raw.shape[-1], ("base", "expert"))
            log_p = torch.log_softmax(raw.double(), -1)
            never = torch.isneginf(log_p)
            total += power * log_p.masked_fill(never, 0.0)
            if power > 0:
                impossible |= never
            elif power < 0:
                endless |= never
        if bool((endless & ~impossible).any()):
            token = int((endless & ~impossible).any(0).nonzero()[0])
            raise DegeneracyError(
                f"token {token} is possible under the base and under every expert of positive power, and impossible "
                "under one of negative power: the product would be infinite there. Do not cut an anti-expert to top-k "
                "or top-p, or cut the base as well."
            )
        total = total.masked_fill(impossible, -torch.inf)
        mass = torch.logsumexp(total, -1)
        return torch.where(torch.isneginf(mass)[:, None], base, total), mass

    def start(self, prompts: Prompts, n: int) -> list[State]:
        """State: one a part."""
        return [part.start(prompts, n) for part, _ in self.parts]

    def next_logits(self, state: list[State]) -> Float[Tensor, "rows V"]:
        """Logits of the law a token."""
        return self.next_product(state)[0]

    def next_product(self, state: list[State]) -> tuple[Float[Tensor, "rows V"], Float[Tensor, " rows"]]:
        """The law's logits, and log C in nats: at most 0 where all powers, lie in [0, 1] and sum to 1."""
        return self.combined([part.next_logits(s) for (part, _), s in zip(self.parts, state, strict=True)])

    def extend(self, state: list[State], token: Int[Tensor, " rows"]) -> list[State]:
        """Append one token a row."""
        return [part.extend(s, token) for (part, _), s in zip(self.parts, state, strict=True)]

    def take(self, state: list[State], rows: Int[Tensor, " k"]) -> list[State]:
        """The rows at these positions."""
        return [part.take(s, rows) for (part, _), s in zip(self.parts, state, strict=True)]

    def open(self, prompts: Prompts, n: int) -> "LogLinearReading":
        """The parts' readings, combined: so that a product can be the target of speculative sampling."""
        return LogLinearReading(self, [open_reading(part, prompts, n) for part, _ in self.parts])

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats, of the law a token."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability of each token in nats under the law a token."""
        return score_by_steps(self, prompts, completions)


@dataclass(eq=False)
class LogLinearReading:
    """See prior.reading.Reading."""

    law: LogLinear
    readings: list[Reading]

    @property
    def device(self) -> torch.device:
        """The base's."""
        return self.readings[0].device

    def read(self, tokens: Int[Tensor, "rows S"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows S V"]:
        """See Reading."""
        logits = [reading.read(tokens, at) for reading in self.readings]
        return self.law.combined([x.flatten(0, 1) for x in logits])[0].view(logits[0].shape)

    def take(self, rows: Int[Tensor, " k"]) -> None:
        """See Reading."""
        for reading in self.readings:
            reading.take(rows)
