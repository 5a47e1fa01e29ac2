"""A policy as a folder that plain transformers loads, and whose generate() samples the same law."""

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from credence.core.errors import ConfigError
from credence.prior.embedded import quiet
from credence.prior.policy import LMPolicy


@torch.no_grad()
def merged(policy: LMPolicy) -> PreTrainedModel:
    """A plain copy of the policy's model with its adapters added into the weights. Memory: the model once more."""
    model = copy.deepcopy(policy.lm.model)
    adapted: list[tuple[str, Any]] = [(n, m) for n, m in model.named_modules() if hasattr(m, "get_base_layer")]
    for name, layer in adapted:  # peft's own merge knows which layers keep their weight transposed
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    model.set_attn_implementation("sdpa")
    return model


def generation_config(policy: LMPolicy) -> GenerationConfig:
    """Settings with which generate() samples exactly this law: its temperature, all tokens, its horizon and ends."""
    ends = sorted(policy.ends)
    return GenerationConfig(
        do_sample=True,
        temperature=policy.temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=policy.horizon,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=ends[0],
        bos_token_id=policy.lm.model.config.bos_token_id,
    )


def export_policy(policy: LMPolicy, folder: Path, card: str) -> None:
    """Write weights (safetensors), tokenizer, chat template, generation config and model card.

    Written aside and renamed, so that the folder is whole or absent. Tested in tests/e2e/test_export.py: read back, it
    scores as the policy does, and its generate() samples the same law.

    Raises:
        ConfigError: the folder exists.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: name another folder or remove it.")
    aside = folder.with_name(f".{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)  # of an export that was broken off
    model = merged(policy)
    model.generation_config = generation_config(policy)
    try:
        with quiet():
            model.save_pretrained(aside)
            policy.codec.tokenizer.save_pretrained(aside)
        (aside / "README.md").write_text(card, encoding="utf-8")
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
