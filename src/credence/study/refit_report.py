"""What an update did, in numbers: rated replies before and after, exact; means with their intervals; the card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.types import Completions
from credence.diagnose.intervals import Group, bootstrap_all
from credence.posterior.posterior import Posterior
from credence.prior.policy import LMPolicy
from credence.report.manifest import without_paths
from credence.report.schema import Estimate
from credence.study.config import RunConfig
from credence.study.opinions import FeedbackSettings, Heard


@dataclass(frozen=True)
class Change:
    """One rated reply before and after: nats under the prior, and under the policy; of its better text too."""

    rating: int
    kind: str
    reply: str
    better: str
    before: float
    after: float
    margin_before: float | None
    margin_after: float | None


@dataclass(frozen=True)
class Refitted:
    """What an update did.

    Attributes:
        folder: with policy/, feedback.json and manifest.json.
        new: False where nothing had changed since an earlier update, whose folder it then is.
        ratings: numbers of the ratings that went in.
        contexts: distinct rated prompts.
        numbers: estimates by name, with 95 % intervals (feedback.json holds them; docs/chat.md says what they are).
        changes: rated replies before and after.
        passed: ratings that could not be read here: of other replies, or with a better text that cannot be said.
    """

    folder: Path
    new: bool
    ratings: tuple[int, ...]
    contexts: int = 0
    numbers: Mapping[str, Estimate] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    passed: int = 0


def changes_of(
    posterior: Posterior, policy: LMPolicy, heard: Heard, tick: Callable[[float], None]
) -> tuple[Change, ...]:  # fmt: skip
    """Exact: each rated reply, and each better text, scored under both laws; `tick` hears which share is done."""
    laws: tuple[Any, Any] = (posterior.prior, policy)
    work = 2 * (len(heard.served) + (0 if heard.better is None else len(heard.better)))
    done = 0

    def scored(law: Any, rows: Completions | None) -> list[float]:  # noqa: ANN401 - a prior or a policy
        nonlocal done
        found: list[float] = []
        if rows is None:
            return found
        for i in range(len(rows)):  # one at a time: they may be long, and of any length
            found.append(float(law.score(heard.prompts, rows.rows(torch.tensor([i]))).sum()))
            done += 1
            tick(done / work)
        return found

    before, after = (scored(law, heard.served) for law in laws)
    better = tuple(scored(law, heard.better) for law in laws)
    out: list[Change] = []
    for i, r in enumerate(heard.ratings):
        at = heard.pair.index(i) if i in heard.pair else None
        margins = (None, None) if at is None else (better[0][at] - before[i], better[1][at] - after[i])
        out.append(Change(r.id, r.kind, r.reply, r.text, before[i], after[i], *margins))
    return tuple(out)


def summed(changes: Sequence[Change], key: Key) -> dict[str, Estimate]:
    """Means over ratings of log π/π0 of good and of bad replies, and of the margins better − served, with intervals."""
    pairs = [
        (c.margin_after, c.margin_before) for c in changes if c.margin_after is not None and c.margin_before is not None
    ]
    rows = {
        "liked": [c.after - c.before for c in changes if c.kind == "good"],
        "disliked": [c.after - c.before for c in changes if c.kind == "bad"],
        "margin_before": [before for _, before in pairs],
        "margin_after": [after for after, _ in pairs],
        "margin_gain": [after - before for after, before in pairs],
    }
    out: dict[str, Estimate] = {}
    for name, values in rows.items():
        if values:
            out |= mean_over(torch.tensor(values, dtype=torch.float64)[:, None], key.fold(name), name)
    return out


def mean_over(values: Tensor, key: Key, name: str) -> dict[str, Estimate]:
    """Mean of (N, 1) values, its interval over the N: of a single one NaN, as it is not known."""
    if len(values) < 2:
        value = float(values.mean())
        return {name: Estimate(value, float("nan"), float("nan"))}
    groups: list[Group] = [{"x": v[None]} for v in values]
    found = bootstrap_all(lambda g: {name: sum(float(x["x"].mean()) for x in g) / len(g)}, groups, key)
    return {name: Estimate(*found[name])}


def update_card(made: Refitted, config: RunConfig, settings: FeedbackSettings) -> str:
    """The policy's model card; no reply and no rating stands in it: they are people's own."""

    def shown(name: str) -> str:
        e = made.numbers.get(name)
        return "–" if e is None else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"

    rows = (
        ("KL(policy ‖ prior), nats", "policy_feedback/kl_prior"),
        ("KL(policy ‖ posterior), nats", "policy_feedback/kl_reverse"),
        ("J of the prior, nats", "prior/j"),
        ("J of the policy, nats", "policy_feedback/j"),
    )
    table = "\n".join(f"| {label} | {shown(name)} |" for label, name in rows)
    return f"""---
library_name: transformers
tags: [credence]
---

# {config.name}

Trained by credence from its prior (`{without_paths(config.prior.model)}` at temperature {config.prior.temperature:g},
system message {config.prior.system!r}) towards prior × evidence × the feedback of {len(made.ratings)} ratings at
β = {settings.beta:g} ({settings.rule}).

Measured on the {made.contexts} rated prompts themselves (95 % intervals over prompts and draws):

| measure | value |
|---|---|
{table}
"""
