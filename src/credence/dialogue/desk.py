"""What a conversation needs of knowledge: something that listens and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from credence.core.protocols import Evidence


@dataclass(frozen=True)
class FromKnowledge:
    """An answer from knowledge.

    Attributes:
        text: what is said.
        kind: "answer", "clarify", "unknown" or "talk".
        entries: the entries it rests on, the likeliest first, with their probabilities.
        info: entropy of the belief in nats, and what else the desk measures.
    """

    text: str
    kind: str
    entries: tuple[tuple[str, float], ...] = ()
    info: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Desk(Protocol):
    """Knowledge that answers in a conversation. It may remember what was asked before."""

    def answer(self, said: str, evidence: Evidence | None) -> FromKnowledge:
        """Listen to one utterance and answer it."""
        ...

    def belief(self) -> tuple[tuple[str, float], ...]:
        """What is believed to have been asked: names with log-probabilities in nats, the likeliest first."""
        ...
