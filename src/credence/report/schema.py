"""The record of a run: what report.json holds, and what the page and the terminal draw. Documented in docs/report.md.

Nats and reward units as named; every Estimate is a 95 % interval over prompts and draws.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 2
"""Raised when a field changes its meaning."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; `bound` says that only one side is known."""

    value: float
    low: float
    high: float
    bound: str = ""
    """"": an estimate; "upper": the truth lies at or below `value`; "lower": at or above."""


@dataclass(frozen=True)
class Finding:
    """One thing a reader should know before believing a number; shown first when not ok."""

    name: str
    ok: bool
    meaning: str
    value: float | None = None
    threshold: float | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class RulerRow:
    """One law read off the ruler, averaged over the held-out prompts.

    Attributes:
        name: machine name: prior, best_of_n, smc, policy_dpg, policy_reinforce, posterior.
        title: what a person reads.
        kind: "prior" | "draw" | "train" | "target".
        reward: E[r], reward units.
        ended: share of replies that ended by themselves.
        kl_prior: KL(law‖π0), nats.
        kl_reverse: KL(law‖p*), nats.
        kl_forward: KL(p*‖law), nats; None where the law has no density.
        gap_closed: 1 − KL(law‖p*)/KL(π0‖p*); None for the prior and the target.
        draws: how many draws a prompt the row rests on.
        tokens: model tokens: of a trained law, what its training took, once; of another, what one reply of its own to
            each of these prompts takes; 0 of the target. docs/report.md says what is counted.
        seconds: CPU seconds of the same.
        note: one line, e.g. the best checkpoint's step.
    """

    name: str
    title: str
    kind: str
    reward: Estimate
    ended: Estimate
    kl_prior: Estimate
    kl_reverse: Estimate
    kl_forward: Estimate | None
    gap_closed: Estimate | None
    draws: int
    tokens: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class PromptRow:
    """One held-out prompt: what its draws say of its posterior, and of the exported policy's distance from it.

    The forward divergences are None where no policy was trained, the exact one also without exact draws.
    """

    prompt: str
    log_z: float
    log_z_se: float
    log_z_low: float
    log_z_high: float | None
    ess: float
    draws: int
    pareto_k: float
    reward_prior: float
    reward_posterior: float
    kl_posterior_prior: float
    kl_posterior_prior_se: float
    exact_draws: int
    trusted: bool
    why_not: str = ""
    log_z_pooled: float | None = None
    log_z_high_se: float | None = None
    reward_posterior_se: float | None = None
    kl_forward: float | None = None
    kl_forward_se: float | None = None
    kl_forward_exact: float | None = None
    kl_forward_exact_se: float | None = None


@dataclass(frozen=True)
class FrontierPoint:
    """The analytic optimum at one β: no law lies above it."""

    beta: float
    kl: float
    reward: float
    trusted: bool


@dataclass(frozen=True)
class Mark:
    """A law placed on the reward–KL plane."""

    name: str
    title: str
    kind: str
    kl: Estimate
    reward: Estimate


@dataclass(frozen=True)
class Reply:
    """One reply shown; `nats` colours each piece by log π/π0 where the law has a density."""

    prompt: str
    law: str
    text: str
    reward: float
    ended: bool
    pieces: tuple[str, ...] = ()
    nats: tuple[float, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything a run found. `gap_closed` is the exported policy's; None without one, or without a gap."""

    title: str
    beta: float
    reward_name: str
    horizon: int
    gap_closed: Estimate | None
    ruler: tuple[RulerRow, ...]
    prompts: tuple[PromptRow, ...]
    frontier: tuple[FrontierPoint, ...]
    marks: tuple[Mark, ...]
    findings: tuple[Finding, ...]
    replies: tuple[Reply, ...]
    history: tuple[Mapping[str, Any], ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become the strings "inf" and "-inf", NaN becomes null."""
        return plain_tree(asdict(self))


def plain_tree(value: Any) -> Any:  # noqa: ANN401 - walks any JSON-like tree
    """What asdict gave, with infinities as "inf" and "-inf" and NaN as None."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): plain_tree(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_tree(v) for v in value]
    return value
