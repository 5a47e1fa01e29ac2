"""Attention for many rows over few key heads, its mask, and how far back a model looks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from credence.core.errors import ConfigError

NAME = "credence_grouped"
"""What transformers knows grouped_attention by."""


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,  # what a model says here and we do not do (softcap, sinks, windows) is found by hf's comparison
) -> tuple[Tensor, None]:
    """Explicit attention that folds the query heads of one key head into rows, so that keys are never repeated.

    On a CPU its backward pass is faster than scaled_dot_product_attention's. Dropout is refused: a policy is the law
    that is sampled.
    """
    if dropout:
        raise ConfigError(f"attention dropout {dropout} is on: put the model in eval mode, its law must not be random.")
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    folded = query.reshape(rows, groups, heads // groups * length, size)
    scores = torch.matmul(folded * scale, key.transpose(-1, -2)).view(rows, groups, heads // groups, length, -1)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, None]
    weights = torch.softmax(scores, -1).view(rows, groups, -1, key.shape[2])
    out = torch.matmul(weights, value).view(rows, heads, length, size)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)


def additive(allowed: Bool[Tensor, "rows Q L"], dtype: torch.dtype) -> Float[Tensor, "rows 1 Q L"]:
    """What is added to attention scores: 0 where a query may look, the least finite number elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)[
        :, None
    ]


def window(config: PretrainedConfig) -> int | None:
    """Tokens within which every layer sees everything, where some layer looks no further back; else None."""
    spans: list[int] = []
    kinds = getattr(config, "layer_types", None)
    for name, kind, switch in (
        ("sliding_window", "sliding_attention", "use_sliding_window"),
        ("attention_chunk_size", "chunked_attention", ""),
    ):
        span = getattr(config, name, None)
        if span is not None and getattr(config, switch, True) is not False and (kinds is None or kind in kinds):
            spans.append(int(span))
    return min(spans, default=None)
