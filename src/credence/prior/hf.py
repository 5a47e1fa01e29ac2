"""Language models of transformers as priors. With prior/seq2seq.py the only file that touches its model classes.

What is fast here and equal to the plain way (tests/contract/test_hf.py): each distinct prompt is read once, what
several begin with too (prior/stems.py), and its keys and values are spread over its completions; the cache is
allocated once; log-probabilities are taken in chunks, so that no (R, T, V) tensor exists; attention groups query heads
instead of copying keys.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.meter import passed
from credence.core.parallel import spread
from credence.core.types import Completions, Prompts
from credence.prior import attention
from credence.prior.cache import Layer, LMState, left_pad
from credence.prior.lm_reading import LMReading
from credence.prior.logprob import mapped_log_probs, token_log_probs
from credence.prior.render import TextCodec
from credence.prior.reshape import LogitMap
from credence.prior.stems import distinct, stems
from credence.prior.steps import sample_by_steps

PROBE = 16
"""Tokens on which a model is compared with its own forward pass when it is wrapped."""

SUSPECTS = ("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "logits_scaling")
"""Settings of transformers' configs that change attention or logits, for the error message."""

HiddenMap = Callable[[Float[Tensor, "N d"]], Float[Tensor, "N d"]]

SCORE_TOKENS = 4096
"""Tokens, prompts' and completions', scored at once: bounds activations, never the result."""


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
        BackendError: a few tokens' logits differ from the model's own (softcapped attention or logits, sinks, …);
            later, where prompt and reply exceed a sliding window.
    """

    model: PreTrainedModel
    codec: TextCodec
    ends: frozenset[int]
    horizon: int
    name: str = "model"

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ConfigError(f"horizon={self.horizon}: a reply has at least one token.")
        if not self.ends:
            raise ConfigError(f"{self.name} names no end token: give `ends`, the ids that finish a reply.")
        self.model.eval()
        self._check()

    @torch.no_grad()
    def _check(self) -> None:
        """Compare a few tokens, half of them through our cache, with the model's own eager forward pass."""
        length = min(PROBE, self.window or PROBE, self.context)
        embedded: Any = self.model.get_input_embeddings()
        words = int(embedded.weight.shape[0])
        ids = ((torch.arange(length, device=self.device) * 7919 + min(self.ends)) % words)[None]
        self.model.set_attn_implementation("eager")
        plain = self.model(input_ids=ids, use_cache=False).logits[0].double()
        self.model.set_attn_implementation(attention.NAME)
        ours = self.head(torch.cat(list(self.passage(ids[0], (length + 1) // 2)), 1))[0].double()
        slack = max(1e-3, 4 * torch.finfo(self.dtype).eps)
        if bool(((plain - ours).abs() <= slack * (1 + plain.abs().max())).all()):
            return
        text = self.model.config.get_text_config()
        set_here = [f"config.{n}={v}" for n in SUSPECTS if (v := getattr(text, n, None)) not in (None, False, 1.0)]
        raise BackendError(
            f"{self.name} ({type(self.model).__name__}) computes what this adapter would miss: its logits differ from "
            f"the model's own by up to {float((plain - ours).abs().max()):.3g} over {length} tokens. Likely cause: "
            f"{', '.join(set_here) or 'attention sinks, or a change of the logits after the output layer'}. "
            "Use a model of plain causal attention whose logits are output layer × hidden state, such as Llama, Qwen2 "
            "or GPT-2 shapes."
        )

    @property
    def window(self) -> int | None:
        """Most tokens over which the model's attention is full, where it has a sliding window."""
        return attention.window(self.model.config.get_text_config())

    def _cache(self, room: int) -> Cache:
        return Cache(layers=[Layer(room) for _ in range(self.model.config.num_hidden_layers)])

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
        passed(ids.numel(), ids.numel() * self._carried() if torch.is_grad_enabled() else 0)
        return body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def _carried(self) -> int:
        """Forward passes that the backward one is worth: as core.meter says."""
        words = {id(p) for p in self.model.get_input_embeddings().parameters()}
        own = [p for p in self.model.base_model.parameters() if id(p) not in words]
        trained, whole = sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)
        return 0 if trained == 0 else 2 if 2 * trained > whole else 1

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.model.dtype

    def _read(self, prompts: Sequence[tuple[int, ...]], room: int, reply: int) -> tuple[Cache, Tensor, Tensor, Tensor]:
        """The distinct prompts, beginnings that they share once: cache, real columns, lengths, last hidden state."""
        longest = max(len(p) for p in prompts) + reply
        if longest > self.context:
            raise ConfigError(
                f"a prompt of {longest - reply} tokens and a reply of {reply} exceed the context of "
                f"{self.name}, {self.context} tokens. Shorten the prompt or lower the horizon."
            )
        if self.window is not None and longest > self.window:
            raise BackendError(
                f"a prompt of {longest - reply} tokens and a reply of {reply} exceed the sliding window "
                f"of {self.name}, {self.window} tokens (config.sliding_window), beyond which this adapter would see "
                "more than the model does. Shorten the prompt or lower the horizon."
            )
        if any(len(p) == 0 for p in prompts):
            raise ConfigError(f"an empty prompt: {self.name} needs at least one token to start from.")
        cache, seen = self._cache(room), torch.zeros(len(prompts), 0, dtype=torch.bool, device=self.device)
        found = stems(prompts)
        if found is not None:
            begun, owner = found
            _, known = self._behind(cache, begun, seen[: len(begun)])
            index = torch.tensor(owner, device=self.device)
            for layer in cache.layers:
                layer.take(index)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
            seen = known[index]
            prompts = [p[len(begun[of]) :] for p, of in zip(prompts, owner, strict=True)]
        last, real = self._behind(cache, prompts, seen)
        return cache, real, real.sum(-1), last

    def _behind(self, cache: Cache, block: Sequence[tuple[int, ...]], seen: Tensor) -> tuple[Tensor, Tensor]:
        """One pass over a block of tokens a row behind what the cache holds: last hidden state, all real columns."""
        tokens, real, position = left_pad(block, self.device)
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        allowed = (causal & real[:, None, :]) | torch.eye(length, dtype=torch.bool, device=self.device)
        allowed = torch.cat([seen[:, None, :].expand(-1, length, -1), allowed], 2)
        position = position + seen.sum(-1, keepdim=True)
        hidden = self._body(tokens, attention.additive(allowed, self.dtype), position, cache)
        return hidden[:, -1], torch.cat([seen, real], 1)

    @torch.no_grad()
    def start(self, prompts: Prompts, n: int) -> LMState:
        """Read the prompts, each distinct one once, and spread them over B·n rows."""
        cache, real, lengths, last, rows = self._spread(prompts, n)
        room = torch.zeros(len(rows), self.horizon, dtype=torch.bool, device=self.device)
        visible = torch.cat([real[rows], room], 1)
        return LMState(cache, visible, lengths[rows], last.index_select(0, rows), real.shape[1])

    def _spread(self, prompts: Prompts, n: int) -> tuple[Cache, Tensor, Tensor, Tensor, Tensor]:
        """What _read gives of the distinct prompts, the cache spread over B·n rows, and the prompt of each row."""
        each, index = distinct(prompts.ids)
        cache, real, lengths, last = self._read(each, self.horizon, self.horizon)
        rows = torch.tensor(index, device=self.device).repeat_interleave(n)
        for layer in cache.layers:
            layer.spread(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        return cache, real, lengths, last, rows

    @torch.no_grad()
    def open(self, prompts: Prompts, n: int) -> LMReading:
        """Read the prompts, each distinct one once, and be ready to read several tokens a row at once."""
        cache, real, lengths, _, rows = self._spread(prompts, n)
        tail = torch.tensor([ids[-1] for ids in prompts.ids], device=self.device).repeat_interleave(n)
        return LMReading(self._body, self.head, cache, real[rows], lengths[rows], tail, self.horizon)

    @torch.no_grad()
    def next_logits(self, state: LMState) -> Float[Tensor, "rows V"]:
        """Logits of the next token. Cost: the output layer, each time it is asked."""
        return self.head(state.hidden)

    @torch.no_grad()
    def extend(self, state: LMState, token: Int[Tensor, " rows"]) -> LMState:
        """Append one token a row, in place. Cost: one forward pass of one token a row."""
        visible = state.visible
        visible[:, state.filled] = True
        allowed = visible[:, None, : state.filled + 1]
        hidden = self._body(
            token[:, None], attention.additive(allowed, self.dtype), state.position[:, None], state.cache
        )
        return LMState(state.cache, visible, state.position + 1, hidden[:, 0], state.filled + 1)

    def take(self, state: LMState, rows: Int[Tensor, " k"]) -> LMState:
        """Select rows by index on the cache."""
        for layer in state.cache.layers:
            layer.take(rows)  # pyright: ignore[reportAttributeAccessIssue] - our own layers
        return LMState(
            state.cache, state.visible[rows], state.position[rows], state.hidden.index_select(0, rows), state.filled
        )

    def hidden(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T d"]:
        """The states from which each token of each completion is predicted; differentiable.

        Cost: one pass over the distinct prompts of these completions and one over the completions; activations of both
        are kept when gradients are on, so callers split rows.
        """
        owners = completions.prompt.tolist()
        used = {b: place for place, b in enumerate(dict.fromkeys(owners))}  # a piece reads its own prompts only
        each, index = distinct([prompts.ids[b] for b in used])
        rows = torch.tensor([index[used[b]] for b in owners], device=self.device)
        cache, real, lengths, last = self._read(each, 0, max(self.horizon, completions.ids.shape[1]))
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
        later = self._body(ids, attention.additive(allowed, self.dtype), position, cache)
        return torch.cat([first, later], 1)

    @torch.no_grad()
    def passage(self, ids: Int[Tensor, " T"], tokens: int) -> Iterator[Float[Tensor, "1 t d"]]:
        """The states after each token of one text, `tokens` at a time through the cache: one pass, seen to advance."""
        cache, whole, place = self._cache(0), ids[None], torch.arange(len(ids), device=self.device)
        for a in range(0, len(ids), tokens):
            b = min(a + tokens, len(ids))
            allowed = (place[:b] <= place[a:b, None])[None]
            yield self._body(whole[:, a:b], attention.additive(allowed, self.dtype), place[None, a:b], cache)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability of each token in nats at temperature 1."""
        return self.score_mapped(prompts, completions, lambda logits: logits)

    @torch.no_grad()
    def score_mapped(
        self, prompts: Prompts, completions: Completions, to: LogitMap, through: HiddenMap | None = None
    ) -> Float[Tensor, "R T"]:
        """log-probability of each token after a map on the logits, and perhaps one on the states before, in nats."""
        out = torch.zeros(completions.ids.shape, dtype=torch.float64, device=self.device)

        def fill(rows: Tensor) -> None:
            part = trim(completions.rows(rows))
            hidden = self.hidden(prompts, part).flatten(0, 1)
            hidden = hidden if through is None else through(hidden)
            log_p = mapped_log_probs(hidden, self.head, part.ids.flatten(), to).view(part.ids.shape)
            out[rows, : part.ids.shape[1]] = torch.where(part.mask, log_p.double(), 0.0)

        threads = torch.get_num_threads() if self.concurrent else 1
        whole = sum(map(len, set(prompts.ids))) + completions.ids.numel()
        jobs = [
            partial(fill, rows) for rows in self.pieces(prompts, completions, min(SCORE_TOKENS, -(-whole // threads)))
        ]
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
    def pieces(prompts: Prompts, completions: Completions, tokens: int = SCORE_TOKENS) -> list[Tensor]:
        """Row numbers in pieces of at most `tokens` padded tokens (or one row), rows of one prompt together.

        What is read counts: the rows, and each distinct prompt once a piece. Long prompts of few rows each would
        otherwise hold many times the memory that the rows need.
        """
        width, out = max(1, completions.ids.shape[1]), list[list[int]]()
        seen, longest = set[tuple[int, ...]](), 0
        owner = completions.prompt.tolist()
        for row in torch.argsort(completions.prompt, stable=True).tolist():
            ids = prompts.ids[owner[row]]
            count, most = len(seen) + (ids not in seen), max(longest, len(ids))
            if not out or most * count + width * (len(out[-1]) + 1) > tokens:
                out.append([])
                seen, most = set[tuple[int, ...]](), len(ids)
            out[-1].append(row)
            seen.add(ids)
            longest = most
        return [torch.tensor(rows, device=completions.ids.device) for rows in out]


def trim(completions: Completions) -> Completions:
    """Drop columns that no row uses."""
    width = max(1, int(completions.lengths.max()))
    return Completions(completions.ids[:, :width], completions.mask[:, :width], completions.ended, completions.prompt)
