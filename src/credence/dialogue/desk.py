"""What a conversation needs of knowledge: something that listens and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class FromKnowledge:
    """An answer from knowledge.

    Attributes:
        text: what is said.
        kind: "answer", "clarify", "unknown" or "talk".
        entries: the questions it rests on, the likeliest first.
        info: entropy of the belief in nats, and what else the desk measures.
    """

    text: str
    kind: str
    entries: tuple[str, ...] = ()
    info: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Desk(Protocol):
    """Knowledge that answers in a conversation and remembers what was asked before."""

    def answer(self, said: str) -> FromKnowledge:
        """Listen to one utterance and answer it."""
        ...

    def back(self) -> None:
        """Forget the last utterance."""
        ...

    def belief(self) -> tuple[tuple[str, float], ...]:
        """What may have been asked, with log-probabilities in nats, the likeliest first."""
        ...
