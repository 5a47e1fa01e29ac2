from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random Llama of 8 units over bytes: Chinese characters are three tokens each."""
    return saved(tmp_path_factory.mktemp("tiny"), 1)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with another one of the same tokenizer."""
    return saved(tmp_path_factory.mktemp("other"), 2)


def saved(folder: Path, seed: int) -> str:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "<|end|>"])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", bos_token="<|end|>", pad_token="<|end|>")
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=257, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, eos_token_id=256, bos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)
