"""Evidence as an algebra: a * b adds nats, a ** tau scales them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Evidence, PrefixEvidence
from credence.core.types import Completions, Prompts


class Composable:
    """Gives evidence its operators."""

    def __mul__(self: Evidence, other: Evidence) -> "Product":
        return Product((*_factors(self), *_factors(other)))

    def __pow__(self: Evidence, tau: float) -> "Tempered":
        return Tempered(self, tau)


def _factors(evidence: Evidence) -> tuple[Evidence, ...]:
    return evidence.factors if isinstance(evidence, Product) else (evidence,)


def twist(evidence: Evidence, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
    """log_twist where the evidence has one; else nothing before the end and log_lik at it."""
    if isinstance(evidence, PrefixEvidence):
        return evidence.log_twist(prompts, completions)
    out = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
    if bool(completions.ended.any()):
        out[completions.ended] = evidence.log_lik(prompts, completions.rows(completions.ended))
    return out


def prefix_twists(evidence: Evidence, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
    """The twist of the text before each token, nats: column t of what a row's first t tokens tell; 0 at t = 0.

    Cost: a look of the evidence at each unfinished text of each row, R · T of them; none where it has no twist.
    """
    out = torch.zeros(completions.mask.shape, dtype=torch.float64, device=completions.ids.device)
    if not isinstance(evidence, PrefixEvidence):
        return out
    row, step = torch.nonzero(completions.mask[:, 1:], as_tuple=True)
    if not len(row):
        return out
    seen = torch.arange(completions.mask.shape[1], device=row.device)[None] <= step[:, None]
    cut = Completions(
        completions.ids[row],
        seen & completions.mask[row],
        torch.zeros_like(row, dtype=torch.bool),
        completions.prompt[row],
    )
    out[row, step + 1] = evidence.log_twist(prompts, cut)
    return out


@runtime_checkable
class Settling(Protocol):
    """Evidence that can tell when nothing that may still be said changes its nats."""

    def settled(self, prompts: Prompts, completions: Completions) -> Bool[Tensor, " R"]:
        """Rows of which every continuation has the log_lik that the text so far has; False where that is not known."""
        ...


def settled(evidence: Evidence, prompts: Prompts, completions: Completions) -> Bool[Tensor, " R"]:
    """Rows whose nats nothing changes any more: those that have ended, and those of which the evidence says so."""
    if isinstance(evidence, Settling):
        return completions.ended | evidence.settled(prompts, completions)
    return completions.ended


Readings = Mapping[str, Float[Tensor, " R"]]


@runtime_checkable
class Measured(Protocol):
    """Evidence that gives its nats and its readings from one look, so that a costly reward is called once a row."""

    def measure(self, prompts: Prompts, completions: Completions) -> tuple[Float[Tensor, " R"], Readings]:
        """log_lik (R,) in nats, and the readings."""
        ...


def measure(evidence: Evidence, prompts: Prompts, completions: Completions) -> tuple[Float[Tensor, " R"], Readings]:
    """log_lik (R,) in nats and the readings, from one look where the evidence offers it, else from two."""
    if isinstance(evidence, Measured):
        return evidence.measure(prompts, completions)
    return evidence.log_lik(prompts, completions), evidence.readings(prompts, completions)


def max_log_lik(evidence: Evidence) -> float:
    """The largest nats that this evidence can give; +inf where it does not say."""
    return float(getattr(evidence, "max_log_lik", math.inf))


def _merged(parts: Iterable[Readings]) -> Readings:
    out: dict[str, Tensor] = {}
    for part in parts:
        for name, values in part.items():
            unique, count = name, 2
            while unique in out:
                unique, count = f"{name}_{count}", count + 1
            out[unique] = values
    return out


@dataclass(frozen=True, eq=False)
class Product(Composable):
    """Independent pieces of evidence: log_lik = Σ log_lik of the factors. An impossible factor stays impossible."""

    factors: tuple[Evidence, ...]

    @property
    def max_log_lik(self) -> float:
        """Sum of the factors' largest nats: a bound, not always reached."""
        return sum(max_log_lik(f) for f in self.factors)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Sum of the factors' nats."""
        return torch.stack([f.log_lik(prompts, completions) for f in self.factors]).sum(0)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Sum of the factors' twists."""
        return torch.stack([twist(f, prompts, completions) for f in self.factors]).sum(0)

    def settled(self, prompts: Prompts, completions: Completions) -> Bool[Tensor, " R"]:
        """Where every factor is."""
        return torch.stack([settled(f, prompts, completions) for f in self.factors]).all(0)

    def readings(self, prompts: Prompts, completions: Completions) -> Readings:
        """All factors' readings; a name used twice gets a number."""
        return _merged(f.readings(prompts, completions) for f in self.factors)

    def measure(self, prompts: Prompts, completions: Completions) -> tuple[Float[Tensor, " R"], Readings]:
        """Both, from one look at each factor."""
        looks = [measure(f, prompts, completions) for f in self.factors]
        return torch.stack([nats for nats, _ in looks]).sum(0), _merged(readings for _, readings in looks)


@dataclass(frozen=True, eq=False)
class Tempered(Composable):
    """Evidence to the power tau: log_lik × tau. tau = 0 forgets it, 1 is the evidence itself.

    At tau = 0 an impossible completion stays impossible (0 · −inf is read as −inf): the support does not jump.
    """

    inner: Evidence
    tau: float

    def __post_init__(self) -> None:
        if not (self.tau >= 0 and math.isfinite(self.tau)):
            raise ConfigError(f"evidence ** {self.tau}: the power must be finite and at least 0.")

    @property
    def max_log_lik(self) -> float:
        """tau × the inner bound."""
        return self.tau * max_log_lik(self.inner) if self.tau > 0 else 0.0

    def _scale(self, nats: Tensor) -> Tensor:
        return torch.where(torch.isneginf(nats), nats, nats * self.tau)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """tau × the inner nats."""
        return self._scale(self.inner.log_lik(prompts, completions))

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """tau × the inner twist."""
        return self._scale(twist(self.inner, prompts, completions))

    def settled(self, prompts: Prompts, completions: Completions) -> Bool[Tensor, " R"]:
        """Where the inner evidence is."""
        return settled(self.inner, prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Readings:
        """The inner readings, in their own unit."""
        return self.inner.readings(prompts, completions)

    def measure(self, prompts: Prompts, completions: Completions) -> tuple[Float[Tensor, " R"], Readings]:
        """Both, from one look at the inner evidence."""
        nats, readings = measure(self.inner, prompts, completions)
        return self._scale(nats), readings
