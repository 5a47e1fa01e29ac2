"""Evidence as an algebra: a * b adds nats, a ** tau scales them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
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


@dataclass(frozen=True, eq=False)
class Product(Composable):
    """Independent pieces of evidence: log_lik = Σ log_lik of the factors. An impossible factor stays impossible."""

    factors: tuple[Evidence, ...]

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Sum of the factors' nats."""
        return torch.stack([f.log_lik(prompts, completions) for f in self.factors]).sum(0)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Sum of the factors' twists."""
        return torch.stack([twist(f, prompts, completions) for f in self.factors]).sum(0)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """All factors' readings; a name used twice gets a number."""
        out: dict[str, Tensor] = {}
        for factor in self.factors:
            for name, values in factor.readings(prompts, completions).items():
                unique, count = name, 2
                while unique in out:
                    unique, count = f"{name}_{count}", count + 1
                out[unique] = values
        return out


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

    def _scale(self, nats: Tensor) -> Tensor:
        return torch.where(torch.isneginf(nats), nats, nats * self.tau)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """tau × the inner nats."""
        return self._scale(self.inner.log_lik(prompts, completions))

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """tau × the inner twist."""
        return self._scale(twist(self.inner, prompts, completions))

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """The inner readings, in their own unit."""
        return self.inner.readings(prompts, completions)
