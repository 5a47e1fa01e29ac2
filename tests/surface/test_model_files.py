"""A model folder is read as safetensors or not at all: pickled weights run code when they are opened."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from credence.core.errors import BackendError
from credence.prior.load import load


def folder(at: Path, *, pickled: bool) -> Path:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<end>": 2}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(at)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=3, eos_token_id=2, bos_token_id=None, pad_token_id=2, **sizes))
    model.save_pretrained(at)
    if pickled:
        (at / "model.safetensors").unlink()
        torch.save(model.state_dict(), at / "pytorch_model.bin")
    return at


def test_safetensors_are_read(tmp_path: Path) -> None:
    assert load(str(folder(tmp_path, pickled=False)), style="raw", horizon=2).ends == frozenset({2})


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    # Wrong version this rejects: from_pretrained without use_safetensors=True, which falls back to torch.load.
    with pytest.raises(BackendError, match="could not be read"):
        load(str(folder(tmp_path, pickled=True)), style="raw", horizon=2)
