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


@dataclass(frozen=True)
class Step:
    """What one utterance did to the belief, or where the belief stood before the first.

    Attributes:
        said: the utterance; "" before the first.
        against_next: nats that the chosen hypothesis gained on the runner-up: the difference of their log-likelihoods,
            tempered as the belief uses them; before the first, their log-odds. None without a runner-up.
        against_nothing: the same against "nothing fits"; None where that was chosen.
        log_p: log-probability of the chosen hypothesis after it, in nats.
    """

    said: str
    against_next: float | None
    against_nothing: float | None
    log_p: float


@dataclass(frozen=True)
class Moved:
    """What moved the belief from which the last answer came. The log-odds of `before` and the steps add up to its own.

    Attributes:
        chosen: the question answered or the likeliest, "(nothing fits)" where that was said.
        next: the likeliest other question; None where the knowledge has one alone.
        before: the belief before anything was said of this question.
        steps: the utterances that moved it since, in order; none for small talk, and before a question was asked.
    """

    chosen: str
    next: str | None
    before: Step
    steps: tuple[Step, ...]


@runtime_checkable
class Desk(Protocol):
    """Knowledge that answers in a conversation and remembers what was asked before."""

    def answer(self, said: str) -> FromKnowledge:
        """Listen to one utterance and answer it."""
        ...

    def back(self) -> None:
        """Forget the last utterance."""
        ...

    def moved(self) -> Moved:
        """What moved the belief to the last answer."""
        ...

    def belief(self) -> tuple[tuple[str, float], ...]:
        """What may have been asked, with log-probabilities in nats, the likeliest first."""
        ...
