"""What moved a reply: each token's surprise under prior and policy, and the nats of each piece of evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from credence.core.errors import BackendError, ContractError
from credence.core.protocols import Evidence, Prior
from credence.core.types import Completions, Prompts
from credence.dialogue.stream import as_row
from credence.evidence.product import twist
from credence.evidence.strength import Strong, factors


@dataclass(frozen=True)
class Weighed:
    """One piece of evidence about one reply.

    Attributes:
        name: of its (first) reading.
        readings: raw values by name, in their own unit.
        beta: its β, None where it has none.
        nats: its log-likelihood of the whole reply.
        by_token: nats that each token added, where it can read unfinished texts; otherwise all of them at the last one.
        unfinished: whether it can.
    """

    name: str
    readings: dict[str, float]
    beta: float | None
    nats: float
    by_token: tuple[float, ...]
    unfinished: bool


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
    troubles: tuple[str, ...] = ()

    @property
    def moved(self) -> tuple[float, ...]:
        """log π/π0 of each token in nats: how far the policy has moved it; zeros for the prior."""
        if self.log_policy is None:
            return (0.0,) * len(self.pieces)
        return tuple(a - b for a, b in zip(self.log_policy, self.log_prior, strict=True))

    @property
    def log_lik(self) -> float:
        """Nats of all evidence that could be read."""
        return sum(part.nats for part in self.evidence)

    def whole(self, values: Sequence[float]) -> list[tuple[str, float]]:
        """Values of the tokens added up over what can be read: tokens that are parts of a character make it together.

        A Chinese character may be three tokens, the first two of which show as nothing. A tail of such parts is "…".
        """
        out: list[tuple[str, float]] = []
        carried, parts = 0.0, 0
        for piece, value in zip(self.pieces, values, strict=True):
            if piece:
                out.append((piece, carried + value))
                carried, parts = 0.0, 0
            else:
                carried, parts = carried + value, parts + 1
        return [*out, ("…", carried)] if parts else out

    def most(self, values: Sequence[float] | None = None, count: int = 5) -> list[tuple[str, float]]:
        """The pieces that were moved most (or of the largest given values), the largest change first."""
        found = self.whole(self.moved if values is None else values)
        return [pair for pair in sorted(found, key=lambda pair: -abs(pair[1]))[:count] if pair[1] != 0]


def explain(
    prior: Prior, policy: Prior | None, evidence: Evidence | None, prompts: Prompts, ids: tuple[int, ...], ended: bool
) -> Why:
    """Take one reply to the one prompt apart. Tested in tests/unit/test_chat.py.

    Cost: a scoring pass of each model, and each piece of evidence on every prefix if it reads prefixes.
    """
    row = as_row(ids, ended)
    codec: Any = prior.codec
    texts = tuple(codec.pieces(list(ids)))
    log_prior = tuple(prior.score(prompts, row)[0].tolist()) if ids else ()
    log_policy = tuple(policy.score(prompts, row)[0].tolist()) if policy is not None and ids else None
    found: list[Weighed] = []
    troubles: list[str] = []
    for part in factors(evidence) if evidence is not None and ids else ():
        try:
            found.append(_weighed(part, prompts, row))
        except (ContractError, BackendError) as error:  # a user's reward may need what a chat does not have
            troubles.append(str(error))
    return Why(texts, log_prior, log_policy, tuple(found), tuple(troubles))


def _weighed(part: Evidence, prompts: Prompts, row: Completions) -> Weighed:
    nats = float(part.log_lik(prompts, row)[0])
    length = row.ids.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    ended = torch.zeros(length, dtype=torch.bool)
    rows = torch.zeros(length, dtype=torch.long)
    prefixes = Completions(row.ids.expand(length, -1), mask, ended, rows)
    levels = [*twist(part, prompts, prefixes)[:-1].tolist(), nats]  # the whole reply counts as log_lik, ended or cut
    steps = tuple(b - a for a, b in zip([0.0, *levels[:-1]], levels, strict=True))
    readings = {name: float(values[0]) for name, values in part.readings(prompts, row).items()}
    beta = part.beta if isinstance(part, Strong) else None
    name = next(iter(readings), type(part).__name__.lower())
    return Weighed(name, readings, beta, nats, steps, any(levels[:-1]))
