"""An encoder–decoder of transformers as a prior and as a policy: the source is the prompt, the translation is drawn.

With prior/hf.py the only file that touches transformers' model classes: a source is read by an encoder, so what hf.py
does for causal models (stems, shared caches of prompts) has no counterpart here. Marian's architecture, with weights
drawn from a key. The laws of priors and policies hold it in tests/contract/test_seq2seq.py.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import MarianMTModel, PreTrainedTokenizerFast
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.meter import passed
from credence.core.protocols import Batch, Loss
from credence.core.types import Completions, Info, Prompts
from credence.prior.hf import trim
from credence.prior.steps import sample_by_steps
from credence.prior.train import Columns, Trainer, accumulate

PAD, END = "<pad>", "<end>"
TOKENS = 4096
"""Padded tokens, source's and translation's, in one pass."""


@dataclass(frozen=True, eq=False)
class PairCodec:
    """Sources and translations in the tokens of one vocabulary; a source is closed by the end token."""

    tokenizer: PreTrainedTokenizerFast

    @property
    def end(self) -> int:
        """Closes sources and translations."""
        return int(self.tokenizer.convert_tokens_to_ids(END))  # pyright: ignore[reportArgumentType] - one token, one id

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, its end not among them; what looks like a special token stays text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The translation as text."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        """Sources to translate; `columns` reach rewards by name."""
        ids = tuple((*self.encode(str(text)), self.end) for text in given)
        return Prompts(ids, tuple(given), self, columns or {})


@dataclass(eq=False)
class Seq2SeqState:
    """Rows in step: what the decoder remembers, what the encoder said, and the last token."""

    cache: EncoderDecoderCache
    encoded: Float[Tensor, "rows S d"]
    real: Int[Tensor, "rows S"]
    logits: Float[Tensor, "rows V"]


@dataclass(frozen=True, eq=False)
class Seq2SeqPrior:
    """A conditional law of translations, at temperature 1.

    Args:
        model: in eval mode.
        codec: of its vocabulary.
        horizon: most tokens of a translation, the end token counted.
        name: what errors call it.

    Raises:
        ConfigError: a horizon of no token, or beyond the model's positions.
    """

    model: MarianMTModel
    codec: PairCodec
    horizon: int
    name: str = "seq2seq"
    ends: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.horizon < self.context:
            raise ConfigError(f"horizon={self.horizon}: {self.name} has {self.context} positions, one for the start.")
        object.__setattr__(self, "ends", frozenset({int(self.model.config.eos_token_id)}))  # pyright: ignore
        self.model.eval()

    @property
    def context(self) -> int:
        """Most tokens of a source, and of a translation."""
        return int(self.model.config.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def _encoded(self, ids: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, ids))
        if longest > self.context:
            raise ConfigError(f"a source of {longest} tokens: {self.name} reads {self.context}. Shorten it.")
        if min(map(len, ids)) == 0:
            raise ConfigError(f"an empty prompt: {self.name} needs at least the end token of a source.")
        pad = int(self.model.config.pad_token_id)  # pyright: ignore[reportArgumentType] - `tiny_marian` set it
        tokens = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids], device=self.device)
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=self.device)
        self._passed(tokens)
        encoder: Any = self.model.get_encoder()
        return encoder(input_ids=tokens, attention_mask=real).last_hidden_state, real

    def _passed(self, tokens: Tensor) -> None:
        trains = torch.is_grad_enabled() and any(p.requires_grad for p in self.model.parameters())
        passed(tokens.numel(), 2 * tokens.numel() if trains else 0)

    def _decoded(self, tokens: Tensor, encoded: Tensor, real: Tensor, cache: Cache | None = None) -> Tensor:
        self._passed(tokens)
        decoder: Any = self.model.get_decoder()
        hidden = decoder(
            input_ids=tokens, encoder_hidden_states=encoded, encoder_attention_mask=real, past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # fmt: skip
        head: Any = self.model.lm_head
        return head(hidden) + self.model.final_logits_bias

    @torch.no_grad()
    def start(self, prompts: Prompts, n: int) -> Seq2SeqState:
        """Read each distinct source once and spread it over its rows."""
        each = list(dict.fromkeys(prompts.ids))
        place = {ids: i for i, ids in enumerate(each)}
        rows = torch.tensor([place[ids] for ids in prompts.ids], device=self.device).repeat_interleave(n)
        encoded, real = (x[rows] for x in self._encoded(each))
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        begin = torch.full((len(rows), 1), self._begin, device=self.device)
        logits = self._decoded(begin, encoded, real, cache)[:, -1]
        return Seq2SeqState(cache, encoded, real, logits)

    @property
    def _begin(self) -> int:
        return int(self.model.config.decoder_start_token_id)  # pyright: ignore[reportArgumentType]

    def next_logits(self, state: Seq2SeqState) -> Float[Tensor, "rows V"]:
        """Logits of the next token."""
        return state.logits

    @torch.no_grad()
    def extend(self, state: Seq2SeqState, token: Int[Tensor, " rows"]) -> Seq2SeqState:
        """Append one token a row, in place. Cost: one decoder pass of one token a row."""
        logits = self._decoded(token[:, None], state.encoded, state.real, state.cache)[:, -1]
        return Seq2SeqState(state.cache, state.encoded, state.real, logits)

    def take(self, state: Seq2SeqState, rows: Int[Tensor, " k"]) -> Seq2SeqState:
        """Select rows by index on the cache."""
        state.cache.batch_select_indices(rows)
        return Seq2SeqState(state.cache, state.encoded[rows], state.real[rows], state.logits[rows])

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a source with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    @torch.no_grad()
    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log p of each token in nats, zero outside the mask."""
        out = torch.zeros(completions.ids.shape, dtype=torch.float64, device=self.device)
        for rows in self.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            found = self.log_probs(prompts, part).double()
            out[rows, : part.ids.shape[1]] = torch.where(part.mask, found, 0.0)
        return out

    def log_probs(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log p of one piece's tokens, unmasked; differentiable. Memory: rows × tokens × vocabulary."""
        owners = completions.prompt.tolist()
        each = list(dict.fromkeys(prompts.ids[b] for b in owners))
        place = {ids: i for i, ids in enumerate(each)}
        rows = torch.tensor([place[prompts.ids[b]] for b in owners], device=self.device)
        encoded, real = (x[rows] for x in self._encoded(each))
        wanted = torch.where(completions.mask, completions.ids, 0)
        begin = torch.full((len(rows), 1), self._begin, device=self.device)
        logits = self._decoded(torch.cat([begin, wanted[:, :-1]], 1), encoded, real)
        return torch.log_softmax(logits, -1).gather(2, wanted[:, :, None]).squeeze(2)

    def pieces(self, prompts: Prompts, completions: Completions) -> Iterator[Tensor]:
        """Row numbers in pieces of at most TOKENS padded tokens, or one row; rows of like length together."""
        owners = completions.prompt.tolist()
        sizes = [len(prompts.ids[b]) + int(n) for b, n in zip(owners, completions.lengths.tolist(), strict=True)]
        piece = list[int]()
        for row in sorted(range(len(sizes)), key=lambda r: sizes[r]):
            if piece and (len(piece) + 1) * sizes[row] > TOKENS:
                yield torch.tensor(piece)
                piece = []
            piece.append(row)
        if piece:
            yield torch.tensor(piece)

    @torch.no_grad()
    def likeliest(self, prompts: Prompts) -> list[str]:
        """One translation a source, the likeliest token at each step (greedy decoding)."""
        state = self.start(prompts, 1)
        ids, open_rows = list[Tensor](), torch.ones(len(prompts), dtype=torch.bool, device=self.device)
        (end,) = self.ends
        for _ in range(self.horizon):
            token = torch.where(open_rows, self.next_logits(state).argmax(-1), end)
            ids.append(token)
            open_rows = open_rows & (token != end)
            if not bool(open_rows.any()):
                break
            state = self.extend(state, token)
        return [self.codec.decode(row) for row in torch.stack(ids, 1).tolist()]


@dataclass(eq=False)
class Seq2SeqPolicy:
    """A translator being trained, all its weights; at the start it is its prior, draw by draw.

    Build with `seq2seq_policy`.
    """

    law: Seq2SeqPrior
    trainer: Trainer
    names: tuple[str, ...]

    @property
    def codec(self) -> PairCodec:
        """The prior's."""
        return self.law.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.law.ends

    @property
    def horizon(self) -> int:
        """The prior's."""
        return self.law.horizon

    def start(self, prompts: Prompts, n: int) -> Seq2SeqState:
        """Read the sources and spread them over B·n rows."""
        return self.law.start(prompts, n)

    def next_logits(self, state: Seq2SeqState) -> Float[Tensor, "rows V"]:
        """Logits of the next token."""
        return self.law.next_logits(state)

    def extend(self, state: Seq2SeqState, token: Int[Tensor, " rows"]) -> Seq2SeqState:
        """Append one token a row."""
        return self.law.extend(state, token)

    def take(self, state: Seq2SeqState, rows: Int[Tensor, " k"]) -> Seq2SeqState:
        """The rows at these positions."""
        return self.law.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a source with log q in nats."""
        return self.law.sample(key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return self.law.score(prompts, completions)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch.

        Raises:
            ConfigError: the loss needs the KL over the vocabulary or a value of prefixes.
        """
        if batch.needs & {"kl", "value"}:
            raise ConfigError(
                f"this learner needs {', '.join(sorted(batch.needs))} of each token, which an encoder–decoder policy "
                "does not give. Use Reinforce, DPG, SFT or another that reads log-probabilities alone."
            )

        def look(completions: Completions) -> Columns:
            return {"log_pi": self.law.log_probs(batch.prompts, completions)}

        def score(completions: Completions) -> Float[Tensor, "R T"]:
            return self.score(batch.prompts, completions)

        return accumulate(batch, loss, list(self.law.pieces(batch.prompts, batch.completions)), look, score)

    def step(self, lr: float) -> Info:
        """One Adam step."""
        return self.trainer.step(lr)

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights by name."""
        return {n: p.detach().clone() for n, p in zip(self.names, self.trainer.parameters, strict=True)}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers; not copied."""
        return self.trainer.moments(self.names)

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put weights back; the optimiser starts afresh, or from these moments."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.trainer.parameters, strict=True):
                parameter.copy_(state[name])
        self.trainer.recall(self.names, moments or {})


def seq2seq_policy(prior: Seq2SeqPrior, clip: float = 1.0) -> Seq2SeqPolicy:
    """A policy that starts as this prior and shares no memory with it.

    Args:
        prior: untouched by training.
        clip: largest gradient norm.
    """
    law = Seq2SeqPrior(copy.deepcopy(prior.model), prior.codec, prior.horizon, f"policy on {prior.name}")
    for name, parameter in law.model.named_parameters():
        parameter.requires_grad_("embed_positions" not in name)  # sinusoids, not learnt
    for parameter in prior.model.parameters():
        parameter.requires_grad_(False)
    trained = [(n, p) for n, p in law.model.named_parameters() if p.requires_grad]
    return Seq2SeqPolicy(law, Trainer([p for _, p in trained], clip=clip), tuple(n for n, _ in trained))
