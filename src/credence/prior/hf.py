"""Language models of transformers as priors. The only file that touches transformers' model classes.

What is fast here and equal to the plain way (tests/contract/test_hf.py): each distinct prompt is read once and its
keys and values are spread over its completions; the cache is allocated once; log-probabilities are taken in chunks,
so that no (R, T, V) tensor exists; attention groups query heads instead of copying keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.parallel import spread
from credence.core.types import Completions, Prompts
from credence.prior.logprob import mapped_log_probs, token_log_probs
from credence.prior.render import TextCodec
from credence.prior.reshape import LogitMap
from credence.prior.steps import sample_by_steps

SCORE_TOKENS = 4096
"""Completion tokens scored at once: bounds activations, never the result."""


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Explicit attention that folds the query heads of one key head into rows, so that keys are never repeated.

    On a CPU its backward pass is faster than scaled_dot_product_attention's. Dropout is refused: a policy is the law
    that is sampled.
    """
    if dropout:
        raise ConfigError(f"attention dropout {dropout} is on: put the model in eval mode, its law must not be random.")
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    folded = query.reshape(rows, groups, heads // groups * length, size)
    scores = torch.matmul(folded * scale, key.transpose(-1, -2)).view(rows, groups, heads // groups, length, -1)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, None]
    weights = torch.softmax(scores, -1).view(rows, groups, -1, key.shape[2])
    out = torch.matmul(weights, value).view(rows, heads, length, size)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("credence_grouped", grouped_attention)


class _Layer(CacheLayerMixin):
    """Keys and values of one layer: a prompt part, then room for `room` more tokens (0: concatenate, for autograd)."""

    is_sliding = False

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.used = room, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            self.keys, self.values, self.used = key_states, value_states, key_states.shape[2]
            self.is_initialized = True
            return key_states, value_states
        if self.room == 0:
            self.keys = torch.cat([self.keys, key_states], 2)
            self.values = torch.cat([self.values, value_states], 2)
            return self.keys, self.values
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
        self.keys, self.values = (self._roomy(x, index) for x in (self.keys, self.values))

    def _roomy(self, x: Tensor, index: Tensor) -> Tensor:
        _, groups, length, size = x.shape
        out = x.new_zeros(len(index), groups, length + self.room, size)
        out[:, :, :length] = x.index_select(0, index)
        return out

    def take(self, rows: Tensor) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.used + query_length, 0

    def get_seq_length(self) -> int:
        return self.used

    def get_max_length(self) -> int:
        return -1


@dataclass(eq=False)
class LMState:
    """Rows in the middle of a text: their cache, which columns of it are real, their positions, the next logits."""

    cache: Cache
    visible: Bool[Tensor, "rows L"]
    position: Int[Tensor, " rows"]
    logits: Float[Tensor, "rows V"]
    filled: int


def _left_pad(ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    width = max(1, max(len(p) for p in ids))
    tokens = torch.zeros(len(ids), width, dtype=torch.long)
    real = torch.zeros(len(ids), width, dtype=torch.bool)
    for b, prompt in enumerate(ids):
        if prompt:
            tokens[b, width - len(prompt) :] = torch.tensor(prompt)
            real[b, width - len(prompt) :] = True
    position = (real.cumsum(-1) - 1).clamp(min=0)
    return tokens.to(device), real.to(device), position.to(device)


def _additive(allowed: Bool[Tensor, "rows Q L"], dtype: torch.dtype) -> Float[Tensor, "rows 1 Q L"]:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)[
        :, None
    ]


@dataclass(frozen=True, eq=False)
class LMPrior:
    """A causal language model of transformers as a prior at temperature 1.

    Args:
        model: in eval mode; its attention is set to the grouped one.
        codec: tokenizer and chat rendering.
        ends: token ids that end a reply.
        horizon: most tokens of a reply, the end token counted.
        name: what the model card and errors call it.

    Raises:
        BackendError: the model does more to its logits than its output layer, so chunked scoring would be wrong.
    """

    model: PreTrainedModel
    codec: TextCodec
    ends: frozenset[int]
    horizon: int
    name: str = "model"
    _checked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ConfigError(f"horizon={self.horizon}: a reply has at least one token.")
        if not self.ends:
            raise ConfigError(f"{self.name} names no end token: give `ends`, the ids that finish a reply.")
        self.model.eval()
        self.model.set_attn_implementation("credence_grouped")
        if not self._checked:
            self._check_head()

    def _check_head(self) -> None:
        ids = torch.tensor([[min(self.ends)]], device=self.device)  # one token: no attention mask to get wrong
        mask, position = torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=self.device), torch.zeros_like(ids)
        with torch.no_grad():
            plain = self.model(input_ids=ids, attention_mask=mask, position_ids=position).logits[0].double()
            ours = self.head(self._body(ids, mask, position, None))[0].double()
        if not torch.allclose(plain, ours, atol=1e-3, rtol=1e-3):
            raise BackendError(
                f"{self.name} ({type(self.model).__name__}) changes its logits after the output layer "
                f"(largest difference {float((plain - ours).abs().max()):.3g}), which chunked scoring would miss. "
                "Use a model whose logits are output layer × hidden state, such as Llama, Qwen2 or GPT-2 shapes."
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def concurrent(self) -> bool:
        """Passes without gradient may run in several threads at once: worth it on a CPU."""
        return self.device.type == "cpu"

    @property
    def head(self) -> nn.Linear:
        """The output layer."""
        return self.model.get_output_embeddings()  # pyright: ignore[reportReturnType] - every causal LM has one

    @property
    def context(self) -> int:
        """Most tokens of prompt and reply together."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30))

    def _body(self, ids: Tensor, mask: Tensor, position: Tensor, cache: Cache | None) -> Tensor:
        body: Any = self.model.base_model
        return body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.model.dtype

    def _read(self, prompts: Sequence[tuple[int, ...]], room: int) -> tuple[Cache, Tensor, Tensor, Tensor]:
        """One pass over the distinct prompts: cache, real columns, prompt lengths, last hidden state."""
        longest = max(len(p) for p in prompts) + self.horizon
        if longest > self.context:
            raise ConfigError(
                f"a prompt of {longest - self.horizon} tokens and a reply of {self.horizon} exceed the context of "
                f"{self.name}, {self.context} tokens. Shorten the prompt or lower the horizon."
            )
        if any(len(p) == 0 for p in prompts):
            raise ConfigError(f"an empty prompt: {self.name} needs at least one token to start from.")
        tokens, real, position = _left_pad(prompts, self.device)
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        allowed = (causal & real[:, None, :]) | torch.eye(length, dtype=torch.bool, device=self.device)
        cache = Cache(layers=[_Layer(room) for _ in range(self.model.config.num_hidden_layers)])
        hidden = self._body(tokens, _additive(allowed, self.dtype), position, cache)
        return cache, real, real.sum(-1), hidden[:, -1]

    @torch.no_grad()
    def start(self, prompts: Prompts, n: int) -> LMState:
        """Read the prompts, each distinct one once, and spread them over B·n rows."""
        distinct, index = _distinct(prompts)
        cache, real, lengths, last = self._read(distinct, self.horizon)
        rows = torch.tensor(index, device=self.device).repeat_interleave(n)
        for layer in cache.layers:
            layer.spread(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        room = torch.zeros(len(rows), self.horizon, dtype=torch.bool, device=self.device)
        visible = torch.cat([real[rows], room], 1)
        logits = self.head(last).index_select(0, rows)
        return LMState(cache, visible, lengths[rows], logits, real.shape[1])

    def next_logits(self, state: LMState) -> Float[Tensor, "rows V"]:
        """Logits of the next token."""
        return state.logits

    @torch.no_grad()
    def extend(self, state: LMState, token: Int[Tensor, " rows"]) -> LMState:
        """Append one token a row, in place. Cost: one forward pass of one token a row."""
        visible = state.visible
        visible[:, state.filled] = True
        allowed = visible[:, None, : state.filled + 1]
        hidden = self._body(token[:, None], _additive(allowed, self.dtype), state.position[:, None], state.cache)
        return LMState(state.cache, visible, state.position + 1, self.head(hidden[:, 0]), state.filled + 1)

    def take(self, state: LMState, rows: Int[Tensor, " k"]) -> LMState:
        """Select rows by index on the cache."""
        for layer in state.cache.layers:
            layer.take(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        return LMState(
            state.cache, state.visible[rows], state.position[rows], state.logits.index_select(0, rows), state.filled
        )

    def hidden(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T d"]:
        """The states from which each token of each completion is predicted; differentiable.

        Cost: one pass over the distinct prompts and one over the completions; activations of both are kept when
        gradients are on, so callers split rows.
        """
        distinct, index = _distinct(prompts)
        rows = torch.tensor(index, device=self.device)[completions.prompt]
        cache, real, lengths, last = self._read(distinct, 0)
        first = last.index_select(0, rows)[:, None]
        ids = completions.ids[:, :-1]
        if ids.shape[1] == 0:
            return first
        for layer in cache.layers:
            layer.spread(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        steps = ids.shape[1]
        causal = torch.ones(steps, steps, dtype=torch.bool, device=self.device).tril().expand(len(rows), -1, -1)
        allowed = torch.cat([real[rows][:, None, :].expand(-1, steps, -1), causal], 2)
        position = lengths[rows][:, None] + torch.arange(steps, device=self.device)
        later = self._body(ids, _additive(allowed, self.dtype), position, cache)
        return torch.cat([first, later], 1)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability of each token in nats at temperature 1."""
        return self.score_mapped(prompts, completions, lambda logits: logits)

    @torch.no_grad()
    def score_mapped(self, prompts: Prompts, completions: Completions, to: LogitMap) -> Float[Tensor, "R T"]:
        """log-probability of each token after a map on the logits, in nats."""
        out = torch.zeros(completions.ids.shape, dtype=torch.float64, device=self.device)

        def fill(rows: Tensor) -> None:
            part = trim(completions.rows(rows))
            hidden = self.hidden(prompts, part).flatten(0, 1)
            log_p = mapped_log_probs(hidden, self.head, part.ids.flatten(), to).view(part.ids.shape)
            out[rows, : part.ids.shape[1]] = torch.where(part.mask, log_p.double(), 0.0)

        threads = torch.get_num_threads() if self.concurrent else 1
        tokens = min(SCORE_TOKENS, -(-completions.ids.numel() // threads))
        jobs = [partial(fill, rows) for rows in self.pieces(completions, tokens)]
        if self.concurrent:
            spread(jobs)
        else:
            for job in jobs:
                job()
        return out

    def log_probs(self, prompts: Prompts, completions: Completions, temperature: float = 1.0) -> Float[Tensor, "R T"]:
        """log-probabilities of one piece in the weights' dtype, unmasked; differentiable."""
        hidden = self.hidden(prompts, completions).flatten(0, 1)
        return token_log_probs(hidden, self.head, completions.ids.flatten(), temperature).view(completions.ids.shape)

    @staticmethod
    def pieces(completions: Completions, tokens: int = SCORE_TOKENS) -> list[Tensor]:
        """Row numbers in pieces of at most `tokens` padded tokens, rows of one prompt together."""
        order = torch.argsort(completions.prompt, stable=True)
        return list(order.split(max(1, tokens // max(1, completions.ids.shape[1]))))


def trim(completions: Completions) -> Completions:
    """Drop columns that no row uses."""
    width = max(1, int(completions.lengths.max()))
    return Completions(completions.ids[:, :width], completions.mask[:, :width], completions.ended, completions.prompt)


def _distinct(prompts: Prompts) -> tuple[list[tuple[int, ...]], list[int]]:
    """The distinct token tuples and, for each prompt, where it stands among them."""
    place: dict[tuple[int, ...], int] = {}
    index = [place.setdefault(ids, len(place)) for ids in prompts.ids]
    return list(place), index
