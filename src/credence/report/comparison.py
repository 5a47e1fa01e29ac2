"""The record of a comparison: what compare.json holds, and what its page, plots and terminal table draw.

Documented in docs/compare.md. Nats and reward units as named; an Estimate is a 95 % interval over prompts, draws and
seeds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from credence.report.phrases import count, duration
from credence.report.recommend import Recommendation
from credence.report.schema import Estimate, FrontierPoint, plain_tree

SCHEMA = 1
"""Raised when a field changes its meaning."""


@dataclass(frozen=True)
class Spent:
    """Model tokens and CPU seconds; means over seeds."""

    tokens: float
    seconds: float

    def over(self, nats: float) -> "Spent":
        """For each of so many nats."""
        return Spent(self.tokens / nats, self.seconds / nats)

    @property
    def words(self) -> tuple[str, str]:
        """`120 k tok` and `42 s`, or `12 ms`."""
        brief = f"{1000 * self.seconds:.3g} ms" if 0 < self.seconds < 0.95 else duration(self.seconds)
        return f"{count(round(self.tokens))} tok", brief


@dataclass(frozen=True)
class CompareRow:
    """One law: an engine's, the prior's, the posterior's. What is None is not known, and `why` says why.

    Attributes:
        name: as it was named.
        title: what a person reads.
        kind: "prior" | "draw" | "train" | "target" | "refused".
        reward: E[r], reward units.
        ended: share of replies that ended by themselves.
        kl_prior: KL(law‖π0), nats.
        kl_reverse: KL(law‖p*), nats.
        kl_forward: KL(p*‖law), nats.
        gap_closed: 1 − KL(law‖p*)/KL(π0‖p*).
        log_z_low: lower bound of log Z that the law itself gives, nats, mean over prompts and seeds.
        log_z_high: upper bound, likewise.
        ess: effective draws a prompt of `draws`.
        draws: a prompt.
        pareto_k: tail of the weights on the worst prompt.
        unique: different replies over draws.
        spent: by each seed until now: in training, or for all draws.
        each: one more reply.
        per_nat: of the gap closed on a prompt, by what a law is paid in: training once, a reply of what is drawn.
        memory: peak in MiB.
        seeds: how many were run.
        answers: whether every held-out prompt got a reply.
        why: by field, why it is not known.
        note: one line.
        target: what it converges to, where that is not the posterior.
        refused: why it did not run.
    """

    name: str
    title: str
    kind: str
    reward: Estimate | None = None
    ended: Estimate | None = None
    kl_prior: Estimate | None = None
    kl_reverse: Estimate | None = None
    kl_forward: Estimate | None = None
    gap_closed: Estimate | None = None
    log_z_low: float | None = None
    log_z_high: float | None = None
    ess: float | None = None
    draws: float | None = None
    pareto_k: float | None = None
    unique: float | None = None
    spent: Spent | None = None
    each: Spent | None = None
    per_nat: Spent | None = None
    memory: float | None = None
    seeds: int = 0
    answers: bool = True
    why: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    target: str = ""
    refused: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """One look at the validation prompts while an engine trained.

    Attributes:
        engine: its name.
        seed: from 0.
        tokens: model tokens spent until then.
        seconds: CPU seconds.
        elbo: E[log_lik] − KL(π‖π0), nats.
        share: of the gap closed on the validation prompts; None where they have none.
    """

    engine: str
    seed: int
    tokens: float
    seconds: float
    elbo: float
    share: float | None


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found.

    Attributes:
        title: the run's name.
        unit: of the budget: "tokens" or "seconds".
        limit: of each engine and seed.
        seeds: independent runs of each engine.
        prompts: held out.
        beta: reward units a nat.
        reward_name: what is rewarded.
        log_z: of the reference, mean over prompts.
        exact_draws: posterior draws got by rejection, all prompts together.
        rows: the table.
        frontier: the analytic optimum by β.
        curves: of training.
        recommendation: what to use.
        facts: further sentences, each true of this comparison.
        manifest: config, versions, machine.
        schema: of compare.json.
    """

    title: str
    unit: str
    limit: float
    seeds: int
    prompts: int
    beta: float
    reward_name: str
    log_z: Estimate
    exact_draws: int
    rows: tuple[CompareRow, ...]
    frontier: tuple[FrontierPoint, ...]
    curves: tuple[CurvePoint, ...]
    recommendation: Recommendation
    facts: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become the strings "inf" and "-inf", NaN becomes null."""
        return plain_tree(asdict(self))


def footnotes(rows: tuple[CompareRow, ...], fields: tuple[str, ...]) -> dict[str, str]:
    """Each distinct reason for a dash in these columns, with its mark, from a on."""
    found = dict.fromkeys(row.why[f] for row in rows for f in fields if f in row.why)
    return {reason: chr(ord("a") + i % 26) * (1 + i // 26) for i, reason in enumerate(found)}
