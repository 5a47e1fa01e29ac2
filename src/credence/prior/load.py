"""`load`: a language model by name, folder or hub id, as a prior."""

import os
from pathlib import Path
from typing import Any

import torch

from credence.core.errors import BackendError, ConfigError, nearest
from credence.prior import embedded
from credence.prior.hf import LMPrior
from credence.prior.render import TextCodec

NAMES = ("smollm2",)


def load(
    name: str = "smollm2",
    *,
    horizon: int = 32,
    system: str = "",
    style: str = "chat",
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LMPrior:
    """Load a causal language model as a prior over replies.

    Args:
        name: "smollm2" (the embedded model), a folder that transformers can read, or a hub id (needs a network).
        horizon: most tokens of a reply, the end token counted.
        system: system message put before every prompt.
        style: "chat", "plain" or "raw"; see TextCodec.
        device: a torch device.
        dtype: of the weights.

    Raises:
        ConfigError: no such name, with the nearest known ones; or a model that names no end token.
        BackendError: the embedded model is not installed, or the files cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = _find(name)
    try:
        with embedded.quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            # Any: transformers wraps .to in a way that hides its first argument from a type checker.
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
            model.to(device)
    except (OSError, ValueError, RuntimeError) as error:
        raise BackendError(
            f"the model {name!r} could not be read: {error}", "model unreadable", name=name, why=error
        ) from error
    codec, ends = TextCodec(tokenizer, system, style), end_tokens(model.generation_config, tokenizer)
    if not ends:
        raise ConfigError(
            f"the model {name!r} names no end token, neither in its generation_config nor its tokenizer, so no reply "
            "could end. Set eos_token_id in its generation_config.json."
        )
    return LMPrior(model, codec, ends, horizon, name=name)


def _find(name: str) -> str:
    if name == "smollm2":
        return str(embedded.unpacked())
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise ConfigError(
                f"the folder {name!r} holds no config.json: it is not a transformers model.", "model folder", name=name
            )
        return name
    owner, slash, _ = name.partition("/")
    if slash and owner and not Path(owner).exists() and not name.startswith((".", "/", "~")):
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            raise BackendError(f"{name!r} would be fetched from a hub, but HF_HUB_OFFLINE=1. Name a folder instead.")
        return name
    raise ConfigError(
        f"unknown model {name!r}: no such name or folder.{nearest(name, NAMES)} Known names: {', '.join(NAMES)}; "
        "or a folder, or a hub id such as 'owner/model'.",
        "model unknown",
        name=name,
        known=", ".join(NAMES),
    )


def end_tokens(generation_config: object, tokenizer: object) -> frozenset[int]:
    """Every id that ends a reply, from the generation config, else from the tokenizer."""
    ends = getattr(generation_config, "eos_token_id", None)
    if ends is None:
        ends = getattr(tokenizer, "eos_token_id", None)
    if ends is None:
        return frozenset()
    return frozenset(ends) if isinstance(ends, list | tuple) else frozenset({int(ends)})
