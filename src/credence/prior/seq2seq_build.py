"""A small translator from nothing: vocabulary from its texts, Marian's architecture, weights from a key; a folder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.prior.embedded import quiet
from credence.prior.seq2seq import END, PAD, PairCodec, Seq2SeqPrior

LEAST = 258
"""Every byte and the two special tokens: no text of any script is unknown."""


def learn_codec(texts: Sequence[str], vocabulary: int) -> PairCodec:
    """Byte-pair encoding learnt from texts of both languages, over bytes.

    Args:
        texts: of the training part alone.
        vocabulary: most tokens; fewer where the texts repeat too little.

    Raises:
        ConfigError: fewer tokens than bytes.
    """
    if vocabulary < LEAST:
        raise ConfigError(f"a vocabulary of {vocabulary}: {LEAST} are needed for the bytes and two special tokens.")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    raw.train_from_iterator(texts, trainer)
    return PairCodec(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, pad_token=PAD))


def tiny_marian(codec: PairCodec, key: Key, width: int, layers: int, heads: int, context: int) -> MarianMTModel:
    """Marian's encoder–decoder with one table of embeddings; every weight is drawn from the key, none from torch's own.

    Args:
        codec: its vocabulary.
        key: of the weights.
        width: d_model; the feed-forward layers are four times as wide.
        layers: of the encoder, and of the decoder.
        heads: of attention.
        context: most tokens of a source and of a translation.

    Raises:
        ConfigError: a width that the heads do not divide.
    """
    if width % heads or width % 2:
        raise ConfigError(f"width {width} for {heads} heads: an even multiple of the heads is needed.")
    pad = int(codec.tokenizer.convert_tokens_to_ids(PAD))  # pyright: ignore[reportArgumentType] - one token, one id
    config = MarianConfig(
        vocab_size=len(codec.tokenizer), d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width, max_position_embeddings=context, dropout=0.0, scale_embedding=True,
        pad_token_id=pad, eos_token_id=codec.end, decoder_start_token_id=pad, forced_eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator; it is drawn over below
        model = MarianMTModel(config)
    rng = key.generator()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2 and "embed_positions" not in name:
                p.copy_(torch.from_numpy(rng.normal(0.0, 1 / math.sqrt(p.shape[1]), tuple(p.shape))))
    return model


def save_seq2seq(law: Seq2SeqPrior, folder: Path) -> None:
    """Weights as safetensors, tokenizer, settings: plain transformers loads it, and its generate() samples this law."""
    model: Any = law.model
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=law.horizon, num_beams=1,
        eos_token_id=min(law.ends), pad_token_id=model.config.pad_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )  # fmt: skip
    with quiet():
        model.save_pretrained(folder)
        law.codec.tokenizer.save_pretrained(folder)


def load_seq2seq(folder: Path) -> Seq2SeqPrior:
    """The law that `save_seq2seq` wrote.

    Raises:
        BackendError: the folder cannot be read.
    """
    try:
        with quiet():
            model: Any = MarianMTModel.from_pretrained(folder, use_safetensors=True)
            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise BackendError(f"the translator in {folder} could not be read: {error}") from error
    return Seq2SeqPrior(model, PairCodec(tokenizer), int(model.generation_config.max_new_tokens))
