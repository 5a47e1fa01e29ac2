"""A language model's states at stored rows, computed once and kept packed: nothing is stored for padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior, trim

LIMIT = 1 << 30
"""Bytes beyond which states are kept in bfloat16; twice it is refused."""

RowKey = tuple[tuple[int, ...], tuple[int, ...]]
Tick = Callable[[float], None]


@dataclass(eq=False)
class States:
    """The state before each token of rows, by prompt and reply.

    Attributes:
        limit: bytes; where float32 would need more, states are rounded to bfloat16 (8 bits: values learnt on them are
            off by that much, laws are always computed on exact states), and where that needs more, refused.
    """

    limit: int = LIMIT
    _packed: Tensor | None = None
    _place: dict[RowKey, tuple[int, int]] = field(default_factory=lambda: dict[RowKey, tuple[int, int]]())

    @torch.no_grad()
    def fill(self, lm: LMPrior, prompts: Prompts, completions: Completions, tick: Tick | None = None) -> None:
        """Compute and keep the states of these rows, in place of what was kept.

        Raises:
            ConfigError: more than `limit` bytes even in bfloat16.
        """
        size, total = lm.head.in_features, int(completions.mask.sum())
        exact = total * size * torch.finfo(lm.dtype).bits // 8
        if total * size * 2 > self.limit and exact > self.limit:
            raise ConfigError(
                f"the states of {len(completions):,} rows, {total:,} tokens, need {total * size * 2 / 1e9:.1f} GB even "
                f"in bfloat16, and {self.limit / 1e9:.1f} GB are allowed. Store fewer draws or prompts."
            )
        dtype = lm.dtype if exact <= self.limit else torch.bfloat16
        self._packed = torch.empty(total, size, dtype=dtype, device=lm.device)
        self._place.clear()
        begin, owner = 0, completions.prompt.tolist()
        pieces = lm.pieces(prompts, completions)
        for done, rows in enumerate(pieces, 1):
            part = trim(completions.rows(rows))
            found = lm.hidden(prompts, part)[part.mask]
            self._packed[begin : begin + len(found)] = found.to(dtype)
            for row, tokens in zip(rows.tolist(), part.tokens(), strict=True):
                self._place[prompts.ids[owner[row]], tuple(tokens)] = (begin, len(tokens))
                begin += len(tokens)
            if tick is not None:
                tick(done / len(pieces))

    @torch.no_grad()
    def read(self, lm: LMPrior, prompts: Prompts, completions: Completions) -> Float[Tensor, "N d"]:
        """The states before the tokens in the mask, row after row, in the weights' format.

        Cost: one look-up where every row is kept; else a forward pass over all of these rows.
        """
        rows = [
            (prompts.ids[b], tuple(tokens))
            for b, tokens in zip(completions.prompt.tolist(), completions.tokens(), strict=True)
        ]
        if self._packed is not None and all(row in self._place for row in rows):
            return self._look_up(self._packed, rows).to(lm.dtype)
        out = torch.empty(*completions.mask.shape, lm.head.in_features, dtype=lm.dtype, device=lm.device)
        for index in lm.pieces(prompts, completions):
            part = trim(completions.rows(index))
            out[index, : part.ids.shape[1]] = lm.hidden(prompts, part)
        return out[completions.mask]

    def _look_up(self, packed: Tensor, rows: Sequence[RowKey]) -> Tensor:
        spans = [self._place[row] for row in rows]
        index = torch.cat([torch.arange(begin, begin + length) for begin, length in spans])
        return packed[index.to(packed.device)]
