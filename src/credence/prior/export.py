"""A policy as a folder that plain transformers loads, and whose generate() samples the same law."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from credence.core.errors import ConfigError
from credence.prior.embedded import quiet
from credence.prior.policy import LMPolicy


def merged(policy: LMPolicy) -> PreTrainedModel:
    """A plain copy of the policy's model with its adapters added into the weights."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    trained = policy.lm.model
    state = {}
    for name, module in trained.named_modules():
        if isinstance(module, BaseTunerLayer):
            base = module.get_base_layer()
            delta = sum(module.get_delta_weight(a) for a in module.active_adapters)  # pyright: ignore
            state[f"{name}.weight"] = base.weight.detach() + delta  # pyright: ignore
            if getattr(base, "bias", None) is not None:
                state[f"{name}.bias"] = base.bias.detach()  # pyright: ignore
    rest = trained.state_dict().items()
    state |= {name: value for name, value in rest if "lora_" not in name and ".base_layer." not in name}
    config = type(trained.config)(**trained.config.to_dict())
    plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=trained.dtype)
    plain.load_state_dict(state)
    plain.tie_weights()
    return plain


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


@torch.no_grad()
def export_policy(policy: LMPolicy, folder: Path, card: str) -> None:
    """Write weights (safetensors), tokenizer, chat template, generation config and model card.

    Written aside and renamed, so that the folder is whole or absent. Tested for drift 0 between generate() and the
    policy in tests/e2e/test_export.py.

    Raises:
        ConfigError: the folder exists.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: name another folder or remove it.")
    aside = folder.with_name(f".{folder.name}.aside")
    model = merged(policy)
    model.generation_config = generation_config(policy)
    with quiet():
        model.save_pretrained(aside)
    policy.codec.tokenizer.save_pretrained(aside)
    (aside / "README.md").write_text(card, encoding="utf-8")
    aside.rename(folder)
