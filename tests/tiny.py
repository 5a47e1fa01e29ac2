"""Tiny random transformers models in float64: Llama's shape with grouped heads, and GPT-2's."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from credence.core.types import Prompts
from credence.prior.hf import LMPrior
from credence.prior.render import TextCodec

VOCAB, HORIZON = 7, 3


class TupleCodec(TextCodec):
    """Tuples of tokens in and out, where a text model's codec is asked for."""

    def decode(self, ids: Sequence[int]) -> Any:
        return tuple(ids)

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        return Prompts(tuple(tuple(g) for g in given), tuple(given), self, columns or {})


def codec(vocab: int = VOCAB) -> TupleCodec:
    words = Tokenizer(models.WordLevel({str(i): i for i in range(vocab)}, unk_token="0"))
    return TupleCodec(PreTrainedTokenizerFast(tokenizer_object=words, eos_token=str(vocab - 1)))


def filled(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Weights large enough that laws are far from uniform, biases and norms included."""
    rng = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            p.copy_(1 + 0.2 * noise if "norm" in name or "ln_" in name else 0.5 * noise)
    return model


def llama_model(vocab: int = VOCAB) -> PreTrainedModel:
    """Not eager: transformers' eager attention rounds Llama's softmax to float32, 3e-6 off in the logits."""
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 1,
    )
    return filled(with_own_norms(LlamaForCausalLM(config)), 1)


def with_own_norms(model: PreTrainedModel) -> PreTrainedModel:
    """Torch's norms in place of transformers' own, which round to float32, in the gradient too."""
    for name in [name for name, _ in model.named_modules()]:
        if name.endswith("norm"):
            parent, _, last = name.rpartition(".")
            norm = torch.nn.RMSNorm(model.config.hidden_size, model.config.rms_norm_eps)
            setattr(model.get_submodule(parent), last, norm)
    return model


def gpt2_model(vocab: int = VOCAB) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=vocab,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 1,
    )
    return filled(GPT2LMHeadModel(config), 2)


def as_prior(model: PreTrainedModel, horizon: int = HORIZON) -> LMPrior:
    """The end token is also the pad token, and prompts may hold it."""
    vocab = model.config.vocab_size
    return LMPrior(model, codec(vocab), frozenset({vocab - 1}), horizon)


def llama() -> LMPrior:
    return as_prior(llama_model())


def gpt2() -> LMPrior:
    return as_prior(gpt2_model())
