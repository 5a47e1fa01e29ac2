"""Keys and values kept between steps: one prompt pass shared by its completions, room allocated once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Layer(CacheLayerMixin):
    """Keys and values of one layer: a prompt part that grows until `spread`, then room for `room` more tokens.

    Growing is by concatenation, for autograd; with room = 0 it stays so.
    column: (rows, S) where each row's next S tokens go, each row in columns of its own; None: behind the last.
    """

    is_sliding = False

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.used, self.roomy = room, 0, False
        self.column: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the first update brings what is kept."""
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append; returns all keys and values so far."""
        if self.keys is None or self.values is None:
            self.keys, self.values, self.used = key_states, value_states, key_states.shape[2]
            self.is_initialized = True
            return key_states, value_states
        if not self.roomy:
            self.keys = torch.cat([self.keys, key_states], 2)
            self.values = torch.cat([self.values, value_states], 2)
            self.used = self.keys.shape[2]
            return self.keys, self.values
        if self.column is not None:
            row = torch.arange(len(self.column), device=self.column.device)[:, None]
            self.keys[row, :, self.column] = key_states.transpose(1, 2)
            self.values[row, :, self.column] = value_states.transpose(1, 2)
            end = int(self.column.max()) + 1
            return self.keys[:, :, :end], self.values[:, :, :end]
        end = self.used + key_states.shape[2]
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def spread(self, index: Tensor) -> None:
        """Give each row the prompt part of prompt index[row], and its room."""
        if self.keys is None or self.values is None:
            return
        if self.room == 0:
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)
            return
        self.keys, self.values = (self._with_room(x, index) for x in (self.keys, self.values))
        self.roomy = True

    def _with_room(self, x: Tensor, index: Tensor) -> Tensor:
        _, groups, length, size = x.shape
        out = x.new_zeros(len(index), groups, length + self.room, size)
        out[:, :, :length] = x.index_select(0, index)
        return out

    def take(self, rows: Tensor) -> None:
        """Select rows by index."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a query of this length sees, and their offset."""
        return self.used + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.used

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1


@dataclass(eq=False)
class LMState:
    """Rows in the middle of a text: their cache, its real columns, their positions, the states that predict next."""

    cache: Cache
    visible: Bool[Tensor, "rows L"]
    position: Int[Tensor, " rows"]
    hidden: Float[Tensor, "rows d"]
    filled: int


def left_pad(ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts in one block, shorter ones moved right: tokens, which are real, their positions."""
    width = max(1, max(len(p) for p in ids))
    tokens = torch.zeros(len(ids), width, dtype=torch.long)
    real = torch.zeros(len(ids), width, dtype=torch.bool)
    for b, prompt in enumerate(ids):
        if prompt:
            tokens[b, width - len(prompt) :] = torch.tensor(prompt)
            real[b, width - len(prompt) :] = True
    position = (real.cumsum(-1) - 1).clamp(min=0)
    return tokens.to(device), real.to(device), position.to(device)
