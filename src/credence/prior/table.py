"""A prior written as a function from a tuple of tokens to logits: small, enumerable, exact. The oracle's language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.prior.steps import sample_by_steps, score_by_steps

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class TableCodec:
    """Prompts and completions as they are: tuples of tokens."""

    vocab: int

    def decode(self, ids: Sequence[int]) -> Tokens:
        """The completion's tokens, the end token included."""
        return tuple(ids)

    def prompts(self, given: Sequence[Any] = ((),), columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        """Prompts from tuples of tokens; the default is one empty prompt."""
        ids = tuple(tuple(int(t) for t in g) for g in given)
        for tokens in ids:
            if any(not 0 <= t < self.vocab for t in tokens):
                raise ConfigError(f"prompt {tokens} holds a token outside 0..{self.vocab - 1}, the table's vocabulary.")
        return Prompts(ids, tuple(given), self, columns or {})


@dataclass(frozen=True, eq=False)
class TablePrior:
    """A prior over short sequences, given by its logits.

    π0(x | c) = Π_t softmax(next_logits_of(c + x_<t))[x_t], until the end token or the horizon.

    Args:
        next_logits_of: tuple (the prompt's tokens + the reply so far) -> `vocab` unnormalised log-probabilities.
        vocab: number of tokens.
        end: the token that ends a reply, or several.
        horizon: most tokens of a reply, the end token counted.

    Attributes:
        ends: the tokens that end a reply.
        codec: tuples in, tuples out.
    """

    next_logits_of: Callable[[Tokens], Sequence[float]]
    vocab: int
    end: int | frozenset[int]
    horizon: int
    ends: frozenset[int] = field(init=False, repr=False)
    codec: TableCodec = field(init=False, repr=False)
    _memo: dict[Tokens, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # Made once: asked for at every step, and by every isinstance against a protocol.
        object.__setattr__(self, "ends", frozenset({self.end}) if isinstance(self.end, int) else self.end)
        object.__setattr__(self, "codec", TableCodec(self.vocab))
        if self.horizon < 1:
            raise ConfigError(f"horizon={self.horizon}: a reply has at least one token.")
        if any(not 0 <= e < self.vocab for e in self.ends):
            raise ConfigError(f"end={self.end} is not among the tokens 0..{self.vocab - 1}.")

    def logits(self, tokens: Tokens) -> Float[Tensor, " V"]:
        """The logits after these tokens (prompt and reply so far), float64."""
        if tokens not in self._memo:
            row = torch.as_tensor(self.next_logits_of(tokens), dtype=torch.float64)
            if row.shape != (self.vocab,):
                raise ShapeError(f"next_logits_of{tokens} has shape {tuple(row.shape)}: ({self.vocab},) is needed.")
            if bool(torch.isnan(row).any()) or bool(torch.isneginf(row).all()):
                raise ShapeError(f"next_logits_of{tokens} = {row.tolist()} is not a law: NaN, or no possible token.")
            self._memo[tokens] = row
        return self._memo[tokens]

    def start(self, prompts: Prompts, n: int) -> list[Tokens | None]:
        """State: the tokens of each row, None once it has ended."""
        return [ids for ids in prompts.ids for _ in range(n)]

    def next_logits(self, state: list[Tokens | None]) -> Float[Tensor, "rows V"]:
        """(rows, V) logits; zeros for a row that has ended, about which the table is never asked."""
        known: dict[Tokens | None, Tensor] = {None: torch.zeros(self.vocab, dtype=torch.float64)}
        for tokens in state:  # each distinct text is looked up once
            if tokens is not None and tokens not in known:
                known[tokens] = self.logits(tokens)
        return torch.stack([known[tokens] for tokens in state])

    def extend(self, state: list[Tokens | None], token: Int[Tensor, " rows"]) -> list[Tokens | None]:
        """Append one token a row; the end token closes it."""
        ends = self.ends
        return [
            None if tokens is None or t in ends else (*tokens, t)
            for tokens, t in zip(state, token.tolist(), strict=True)
        ]

    def take(self, state: list[Tokens | None], rows: Int[Tensor, " k"]) -> list[Tokens | None]:
        """The rows at these positions."""
        return [state[r] for r in rows.tolist()]

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability of each token in nats."""
        return score_by_steps(self, prompts, completions)
