"""Which posterior a step aims at: β annealed, or driven to a KL. A schedule holds no state: it reads the history.

The power τ of the evidence is what moves: log_lik · τ, so that the β realised is β/τ. It stands in every record as
`tau`, from which a resumed run goes on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from credence.core.errors import ConfigError
from credence.core.protocols import Evidence
from credence.evidence.product import Product, Tempered
from credence.posterior.posterior import Posterior

Record = Mapping[str, Any]


@runtime_checkable
class Resting(Protocol):
    """A schedule that does not end at the posterior it began with."""

    @property
    def target(self) -> str:
        """Where it ends instead."""
        ...


@dataclass(frozen=True, eq=False)
class Annealed:
    """β falls to its own value: τ = first^(1 − s), s = min(1, (step − 1)/(steps − 1)), geometric from `first` to 1.

    β → 0 at once settles on whatever mode is near (SCIENCE 1.3); from a warmer target the policy sees the others too.
    Tested in tests/unit/test_schedules.py.

    Args:
        posterior: aimed at from step `steps` on.
        first: τ of the first step; 0.1 begins at ten times β. Above 1 it begins colder.
        steps: over which it moves.

    Raises:
        ConfigError: first not a finite number above 0, or steps below 1.
    """

    posterior: Posterior
    first: float = 0.1
    steps: int = 100

    def __post_init__(self) -> None:
        _positive("first", self.first)
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: β moves over at least one step.")

    def __call__(self, step: int, record: Record) -> Posterior:
        """The target of this step."""
        share = min(1.0, (step - 1) / max(1, self.steps - 1))
        return self.posterior.tempered(self.first ** (1 - share))


@dataclass(frozen=True, eq=False)
class ToKL:
    """β driven until KL(π‖π0) is what was asked for, by the last step's kl_prior.

        log τ ← log τ − gain · clip(kl_prior/kl − 1, ±most)        τ within [1/bound, bound]

    Integral control: τ rests only where the mean KL is `kl`, and there the posterior aimed at is p*_{β/τ}, the law of
    largest E[r] within that KL (SCIENCE 1.2). The target moves during training, so ELBOs of different steps speak of
    different log Z: validate with `Validation(target=...)` or a measure. Tested in tests/unit/test_schedules.py and
    tests/oracle/test_training.py.

    Args:
        posterior: at τ = 1, where it begins.
        kl: wanted, nats.
        gain: of the controller.
        most: clip of the relative error.
        bound: largest τ, and 1 over the smallest.

    Raises:
        ConfigError: a number that is not finite and above 0; a learner whose records tell no kl_prior.

    Source: the controller of Ziegler et al. 2019, in log τ.
    """

    posterior: Posterior
    kl: float
    gain: float = 0.1
    most: float = 0.5
    bound: float = 1e3

    def __post_init__(self) -> None:
        for name in ("kl", "gain", "most", "bound"):
            _positive(name, getattr(self, name))

    @property
    def target(self) -> str:
        """The law it rests at, whose β the history tells."""
        return f"the posterior at the β where KL(π‖π0) is {self.kl:g} nats"

    def __call__(self, step: int, record: Record) -> Posterior:
        """The target of this step, from the last one's record."""
        if "tau" not in record:
            return self.posterior.tempered(1.0)
        error = max(-self.most, min(self.most, kl_prior(record) / self.kl - 1))
        edge = math.log(self.bound)
        log_tau = max(-edge, min(edge, math.log(record["tau"]) - self.gain * error))
        return self.posterior.tempered(math.exp(log_tau))


def kl_prior(record: Record) -> float:
    """KL(π‖π0) in nats as a step estimated it.

    Raises:
        ConfigError: its learner cannot.
    """
    if "kl_prior" not in record:
        raise ConfigError(
            "this learner's records tell no kl_prior: from recorded replies, and from values alone, KL(π‖π0) cannot be "
            "estimated. Leave ToKL and KLBudget out; those replies carry their own β, and NoBetter stops by validation."
        )
    return record["kl_prior"]


def realised(posterior: Posterior) -> Record:
    """tau, the power of the evidence aimed at, and beta where one reward's β says what that is in its unit."""
    tau, evidence = 1.0, posterior.evidence
    while isinstance(evidence, Tempered):
        tau, evidence = tau * evidence.tau, evidence.inner
    betas = [b for e in _factors(evidence) if isinstance(b := getattr(e, "beta", None), float)]
    return {"tau": tau, **({"beta": betas[0] / tau} if len(betas) == 1 and tau > 0 else {})}


def _factors(evidence: Evidence) -> tuple[Evidence, ...]:
    return evidence.factors if isinstance(evidence, Product) else (evidence,)


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name}={value}: a finite number above 0 is needed.")
