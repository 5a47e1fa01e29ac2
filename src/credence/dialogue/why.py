"""What moved a reply: each token's surprise under prior and policy, and the nats of each piece of evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from credence.core.errors import BackendError, ContractError, CredenceError
from credence.core.progress import no_tick
from credence.core.protocols import Evidence, PrefixEvidence, Prior
from credence.core.types import Completions, Prompts
from credence.dialogue.stream import as_row
from credence.evidence.product import twist
from credence.evidence.strength import Strong, factors
from credence.prior.passage import passages, score_in_passages

MOST = 256
"""Prefixes of a reply that one piece of evidence reads: on every one the work would grow with the square of it."""
PIECE = 32
"""Prefixes that are read at once, a step of the bar."""


@dataclass(frozen=True)
class Weighed:
    """One piece of evidence about one reply.

    Attributes:
        name: of its (first) reading.
        readings: raw values by name, in their own unit.
        beta: its β, None where it has none.
        nats: its log-likelihood of the whole reply.
        by_token: nats that each token added, where it can read unfinished texts; otherwise all of them at the last one.
            In a reply of more than `MOST` tokens it is read at `MOST` places only: the nats of the tokens between two
            of them stand at the last one.
        unfinished: whether it can.
        ends: where it was read, as numbers of tokens; every token of a reply that is not longer than `MOST`.
    """

    name: str
    readings: dict[str, float]
    beta: float | None
    nats: float
    by_token: tuple[float, ...]
    unfinished: bool
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Why:
    """One reply taken apart, T tokens.

    Attributes:
        pieces: each token as text ("" within a character that is not yet whole).
        log_prior: log π0 of each in nats.
        log_policy: log π of each in nats; None where the prior speaks alone.
        evidence: what each piece says.
        troubles: pieces that could not be read here, and why.
    """

    pieces: tuple[str, ...]
    log_prior: tuple[float, ...]
    log_policy: tuple[float, ...] | None
    evidence: tuple[Weighed, ...]
    troubles: tuple[CredenceError, ...] = ()

    @property
    def moved(self) -> tuple[float, ...]:
        """log π/π0 of each token in nats: how far the policy has moved it; zeros for the prior."""
        if self.log_policy is None:
            return (0.0,) * len(self.pieces)
        return tuple(a - b for a, b in zip(self.log_policy, self.log_prior, strict=True))

    @property
    def log_lik(self) -> float:
        """Nats of all evidence that could be read."""
        return sum((part.nats for part in self.evidence), 0.0)

    def whole(self, values: Sequence[float]) -> list[tuple[str, float]]:
        """As `whole`, of this reply."""
        return whole(self.pieces, values)

    def most(self, values: Sequence[float] | None = None, count: int = 5) -> list[tuple[str, float]]:
        """The pieces that were moved most (or of the largest given values), the largest change first."""
        return _largest(self.whole(self.moved if values is None else values), count)

    def told(self, part: Weighed, count: int = 4) -> list[tuple[str, float]]:
        """The pieces of the reply to which this evidence gave most: tokens, or where it was read more seldom, spans."""
        if len(part.ends) == len(self.pieces):
            return self.most(part.by_token, count)
        starts = (0, *part.ends[:-1])
        spans = [("".join(self.pieces[a:b]), part.by_token[b - 1]) for a, b in zip(starts, part.ends, strict=True)]
        return _largest(spans, count)


def whole(pieces: Sequence[str], values: Sequence[float]) -> list[tuple[str, float]]:
    """Values of the tokens added up over what can be read: tokens that are parts of a character make it together.

    A Chinese character may be three tokens, the first two of which show as nothing. A tail of such parts is "…".
    """
    out: list[tuple[str, float]] = []
    carried, parts = 0.0, 0
    for piece, value in zip(pieces, values, strict=True):
        if piece:
            out.append((piece, carried + value))
            carried, parts = 0.0, 0
        else:
            carried, parts = carried + value, parts + 1
    return [*out, ("…", carried)] if parts else out


def _largest(found: Sequence[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    return [pair for pair in sorted(found, key=lambda pair: -abs(pair[1]))[:count] if pair[1] != 0]


def steps(
    prior: Prior, policy: Prior | None, evidence: Evidence | None, prompts: Prompts, ids: tuple[int, ...]
) -> int:  # fmt: skip
    """How often `explain` ticks: a step is about as much work as any other."""
    if not ids:
        return 0
    parts = () if evidence is None else factors(evidence)
    reading = sum(isinstance(part, PrefixEvidence) for part in parts)
    pieces = -(-min(len(ids), MOST) // PIECE)
    return passages(prompts, as_row(ids, False)) * (1 if policy is None else 2) + reading * pieces


def explain(
    prior: Prior,
    policy: Prior | None,
    evidence: Evidence | None,
    prompts: Prompts,
    ids: tuple[int, ...],
    ended: bool,
    tick: Callable[[], None] = no_tick,
) -> Why:
    """Take one reply to the one prompt apart. Tested in tests/unit/test_chat.py and tests/unit/test_why.py.

    Cost: a scoring pass of each model, and each piece of evidence that reads prefixes on at most `MOST` of them.
    """
    row = as_row(ids, ended)
    codec: Any = prior.codec
    texts = tuple(codec.pieces(list(ids)))
    scores = [score_in_passages(law, prompts, row, tick) for law in (prior, policy) if law is not None and ids]
    found: list[Weighed] = []
    troubles: list[CredenceError] = []
    for part in factors(evidence) if evidence is not None and ids else ():
        try:
            found.append(_weighed(part, prompts, row, tick))
        except (ContractError, BackendError) as error:  # a user's reward may need what a chat does not have
            troubles.append(error)
    log_policy = scores[1] if len(scores) > 1 else None if policy is None else ()
    return Why(texts, scores[0] if scores else (), log_policy, tuple(found), tuple(troubles))


def _weighed(part: Evidence, prompts: Prompts, row: Completions, tick: Callable[[], None]) -> Weighed:
    nats = float(part.log_lik(prompts, row)[0])
    length = row.ids.shape[1]
    reads = isinstance(part, PrefixEvidence)
    count = min(length, MOST)
    ends = [-(-length * (i + 1) // count) for i in range(count)] if reads else [length]
    levels: list[float] = []
    for some in (ends[i : i + PIECE] for i in range(0, len(ends), PIECE)) if reads else ():
        mask = torch.arange(some[-1]) < torch.tensor(some)[:, None]
        ended, rows = torch.zeros(len(some), dtype=torch.bool), torch.zeros(len(some), dtype=torch.long)
        prefixes = Completions(row.ids[:, : some[-1]].expand(len(some), -1), mask, ended, rows)
        levels += twist(part, prompts, prefixes).tolist()
        tick()
    levels = [*levels[:-1], nats]  # the whole reply counts as log_lik, ended or cut
    by_token = [0.0] * length
    for end, before, after in zip(ends, [0.0, *levels[:-1]], levels, strict=True):
        by_token[end - 1] = after - before
    readings = {name: float(values[0]) for name, values in part.readings(prompts, row).items()}
    beta = part.beta if isinstance(part, Strong) else None
    name = next(iter(readings), type(part).__name__.lower())
    return Weighed(name, readings, beta, nats, tuple(by_token), any(levels[:-1]), tuple(ends))
