"""A tiny random chat model over bytes, with ChatML turns, so that what a user types can be told from what they mean."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 1024


def make(folder: Path, seed: int = 1, endless: bool = False) -> str:
    """Write the model; Chinese characters are three tokens each. Returns the folder.

    Args:
        folder: where it is written.
        seed: of its weights.
        endless: it never comes to an end by itself, and reads 32 times as much.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_end|>", "<|im_start|>"]
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, *special])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=special[0], pad_token=special[0], additional_special_tokens=[special[1]]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=258, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=CONTEXT * (32 if endless else 1), eos_token_id=256,
        bos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # else every law is nearly uniform, and no wrong one would show
        if endless:  # a direction that all states share, and in which the end token alone is unlikely
            model.model.embed_tokens.weight[:, 0] = 10
            model.lm_head.weight[:, 0] = 0
            model.lm_head.weight[256] = torch.tensor([-20.0, 0, 0, 0, 0, 0, 0, 0])
    model.save_pretrained(folder)
    return str(folder)
