"""The strength of evidence, read and changed: β stands in the pieces, and this is how one asks for another."""

import math
from dataclasses import is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

from credence.core.errors import ConfigError
from credence.core.protocols import Evidence
from credence.evidence.product import Product, Tempered

STRONGEST = 1e12
"""Times that a reward may count more than at its own β: beyond it float64 holds r/β to fewer than four digits after the
point, and soon r/β is no number."""


@runtime_checkable
class Strong(Protocol):
    """Evidence with a β of its own."""

    @property
    def beta(self) -> float:
        """Reward units per nat."""
        ...


def factors(evidence: Evidence) -> tuple[Evidence, ...]:
    """The pieces whose nats add up to these."""
    return evidence.factors if isinstance(evidence, Product) else (evidence,)


def beta_of(evidence: Evidence) -> float | None:
    """β of the first piece that has one, in its reward's units per nat; None where no piece has."""
    return next((part.beta for part in factors(evidence) if isinstance(part, Strong)), None)


def times(own: float, beta: float) -> float:
    """How often a reward counts at `beta` that counts once at its own β.

    Raises:
        ConfigError: beta is not finite and positive, or the answer is above `STRONGEST` or no finite factor.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise ConfigError(
            f"beta={beta}: reward units per nat must be finite and above 0, for example 0.2.", "beta range", beta=beta
        )
    if own / beta > STRONGEST or not math.isfinite(beta / own):
        raise ConfigError(
            f"beta={beta:g} lies too far from the evidence's own β = {own:g}: r/β would be lost in rounding. Give "
            f"one of at least {own / STRONGEST:.3g}.",
            "beta ratio",
            beta=beta,
            own=own,
            least=own / STRONGEST,
        )
    return own / beta


def at_beta(evidence: Evidence, beta: float) -> Evidence:
    """The same evidence with `beta` for the first piece that has a β; the others' change in the same proportion.

    Pieces without a β (constraints, how a reply ended) stay as they are, so this is not `evidence ** tau`. Tested in
    tests/unit/test_strength.py.

    Raises:
        ConfigError: as `times`, or no piece has a β.
    """
    now = beta_of(evidence)
    if now is None:
        raise ConfigError(
            f"beta={beta}: this evidence has no reward, so there is nothing that a β could weigh.",
            "beta nothing",
            beta=beta,
        )
    times(now, beta)
    if beta == now:
        return evidence
    changed = tuple(_scaled(part, beta / now) for part in factors(evidence))
    return changed[0] if len(changed) == 1 else Product(changed)


def _scaled(part: Evidence, by: float) -> Evidence:
    if isinstance(part, Tempered):
        return Tempered(_scaled(part.inner, by), part.tau)
    if not isinstance(part, Strong):
        return part
    if not is_dataclass(part):
        return Tempered(part, 1 / by)
    changed: Any = replace(part, beta=part.beta * by)  # pyright: ignore[reportArgumentType] - every dataclass with a beta
    return changed
