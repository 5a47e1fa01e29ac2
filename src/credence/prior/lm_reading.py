"""A language model's replies read several tokens a pass: each row writes its cache at places of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from credence.prior import attention

Body = Callable[[Tensor, Tensor, Tensor, Cache], Tensor]
"""(ids, additive mask, positions, cache) -> hidden states."""


@dataclass(eq=False)
class LMReading:
    """See prior.reading.Reading; tested against the walk by steps in tests/contract/test_reading.py.

    Nothing is ever deleted from the cache: a token read at an earlier place overwrites what stood there, and no row
    looks behind the place that it reads.

    Attributes:
        body: the model below its output layer.
        head: the output layer.
        cache: keys and values, prompts first, then `horizon` columns.
        real: (rows, P) which columns of the prompt part are not padding.
        lengths: (rows,) tokens of the prompts.
        tail: (rows,) the prompts' last tokens.
        horizon: most tokens of a reply.
    """

    body: Body
    head: nn.Module
    cache: Cache
    real: Bool[Tensor, "rows P"]
    lengths: Int[Tensor, " rows"]
    tail: Int[Tensor, " rows"]
    horizon: int

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tail.device

    @torch.no_grad()
    def read(self, tokens: Int[Tensor, "rows S"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows S V"]:
        """See Reading. Cost: one pass of S tokens a row. Memory: (rows, S, V) logits."""
        place = at[:, None] + torch.arange(tokens.shape[1], device=at.device)
        # Behind the horizon nobody reads: its last column may hold any of them.
        place = place.clamp(max=self.horizon - 1)
        tokens = torch.where(place < 0, self.tail[:, None], tokens)
        prompt = self.real.shape[1]
        column = prompt + place
        width = int(column.max()) + 1
        seen = torch.arange(width, device=at.device) <= column[:, :, None]
        seen[:, :, :prompt] &= self.real[:, None, : min(width, prompt)]
        for layer in self.cache.layers:
            layer.column = column  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        mask = attention.additive(seen, self.head.weight.dtype)  # pyright: ignore[reportArgumentType] - a Linear's
        return self.head(self.body(tokens, mask, self.lengths[:, None] + place, self.cache))

    def take(self, rows: Int[Tensor, " k"]) -> None:
        """See Reading."""
        for layer in self.cache.layers:
            layer.take(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        self.real, self.lengths, self.tail = self.real[rows], self.lengths[rows], self.tail[rows]
