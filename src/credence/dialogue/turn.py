"""One exchange of a conversation, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from credence.dialogue.talk import Message


@dataclass(frozen=True)
class Turn:
    """One exchange.

    Attributes:
        number: from 1; never used twice, also after undo and again.
        said: what the user said, cleaned.
        messages: what the model was shown: the window up to what was said.
        reply: the answer's text.
        ids: its tokens, the end token included where it ended.
        log_q: nats of each under what it was sampled from; empty for an answer from knowledge.
        ended: whether the reply came to its own end.
        stopped: whether the user stopped it.
        law: what answered: "prior", "policy", "reweighted", "realigned", an engine's name, or "knowledge".
        beta: reward units per nat at which it was said; None for the prior.
        info: what the engine tells of it (engines.Answer), or the desk.
        rating: the kind of the last rating, "" without one.
        kind: what the desk did: "answer", "clarify", "unknown" or "talk"; "choice" of a law over candidates; "" where
            a model spoke.
        entries: the questions that the answer rests on.
    """

    number: int
    said: str
    messages: tuple[Message, ...]
    reply: str
    ids: tuple[int, ...]
    log_q: tuple[float, ...]
    ended: bool
    stopped: bool
    law: str
    beta: float | None
    info: Mapping[str, float] = field(default_factory=dict)
    rating: str = ""
    kind: str = ""
    entries: tuple[str, ...] = ()
