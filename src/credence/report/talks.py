"""The record of a dialogue run, as report.json holds it and the page draws it. Documented in docs/dialogue.md."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from credence.report.schema import Estimate, Finding, plain_tree

SCHEMA = 1
"""Raised when a field changes its meaning."""


@dataclass(frozen=True)
class TalkRow:
    """A policy on the held-out users: means over users and their dialogues, 95 % intervals over both.

    Attributes:
        name: "before", "after" or "change" (after minus before, user by user).
        title: what a person reads.
        j: E[Σ (r − log π/π0)] a dialogue, nats: J/β.
        reward: E[Σ r] a dialogue, nats.
        kl: E[Σ log π/π0] a dialogue, nats.
        kl_turn: the same a turn.
        turns: replies a dialogue.
        satisfied: share of users who were content at the end.
        readings: mean a reply of each reward, in its own unit.
    """

    name: str
    title: str
    j: Estimate
    reward: Estimate
    kl: Estimate
    kl_turn: Estimate
    turns: Estimate
    satisfied: Estimate
    readings: Mapping[str, Estimate]


@dataclass(frozen=True)
class Line:
    """One utterance; of the agent's its nats and its readings."""

    role: str
    text: str
    nats: float | None = None


@dataclass(frozen=True)
class Transcript:
    """The first dialogue with one held-out user, before and after."""

    user: str
    question: str
    answer: str
    before: tuple[Line, ...]
    after: tuple[Line, ...]
    satisfied_before: bool
    satisfied_after: bool


@dataclass(frozen=True)
class TalkReport:
    """Everything a dialogue run found."""

    title: str
    law: str
    """"language model" or "candidates"."""
    users: Mapping[str, int]
    rows: tuple[TalkRow, ...]
    findings: tuple[Finding, ...]
    transcripts: tuple[Transcript, ...]
    history: tuple[Mapping[str, Any], ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of a law over candidates: what was learnt, by feature."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "dialogue"
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; infinities become the strings "inf" and "-inf", NaN becomes null."""
        return plain_tree(asdict(self))
