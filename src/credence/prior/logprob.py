"""log-probabilities of given tokens from hidden states, in chunks: no (R, T, V) tensor is ever held."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

CHUNK = 256
"""Rows of logits held at once: 256 × 49,152 words are 50 MB in float32."""

LogitMap = Callable[[Tensor], Tensor]


def token_log_probs(
    hidden: Float[Tensor, "N d"], head: nn.Linear, tokens: Int[Tensor, " N"], temperature: float = 1.0
) -> Float[Tensor, " N"]:
    """log softmax(head(hidden) / temperature)[token] in nats, at least float32; differentiable.

    Memory: 256 rows of logits. Tested against the plain log_softmax in tests/unit/test_logprob.py, value and gradient.
    """
    if torch.is_grad_enabled() and (hidden.requires_grad or head.weight.requires_grad):
        return _TokenLogProb.apply(hidden, head.weight, head.bias, tokens, temperature)  # pyright: ignore
    return mapped_log_probs(hidden, head, tokens, lambda logits: logits / temperature)


def mapped_log_probs(
    hidden: Float[Tensor, "N d"], head: nn.Linear, tokens: Int[Tensor, " N"], to: LogitMap
) -> Float[Tensor, " N"]:
    """log softmax(to(head(hidden)))[token] in nats for any map on the logits (top-k, top-p); without gradient."""
    out = []
    for rows, wanted in zip(hidden.split(CHUNK), tokens.split(CHUNK), strict=True):
        logits = head(rows)
        logits = to(logits if logits.dtype == torch.float64 else logits.float())
        out.append(logits.gather(1, wanted[:, None]).squeeze(1) - torch.logsumexp(logits, -1))
    return torch.cat(out)


class _TokenLogProb(torch.autograd.Function):
    """∂ log p(y)/∂h = (W[y] − Σ_v p_v W[v]) / temperature is formed in the forward pass; backward only scales it.

    Where the head itself is trained, its gradient needs the probabilities once more: they are recomputed in chunks.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context object
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
    ) -> Tensor:
        out, slope = [], torch.empty_like(hidden)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logits = torch.nn.functional.linear(hidden[part].to(weight.dtype), weight, bias)
            logits = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
            log_z = torch.logsumexp(logits, -1, keepdim=True)
            wanted = tokens[part, None]
            out.append((logits.gather(1, wanted) - log_z).squeeze(1))
            p = torch.exp(logits.sub_(log_z)).to(weight.dtype)
            slope[part] = ((weight[tokens[part]] - p @ weight) / temperature).to(slope.dtype)
        ctx.save_for_backward(hidden, weight, bias, tokens, slope)
        ctx.temperature = temperature
        return torch.cat(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        hidden, weight, bias, tokens, slope = ctx.saved_tensors
        grad = grads[0]
        by_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        by_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        if by_weight is not None or by_bias is not None:
            for start in range(0, len(hidden), CHUNK):
                part = slice(start, start + CHUNK)
                rows = hidden[part].to(weight.dtype)
                p = torch.softmax(torch.nn.functional.linear(rows, weight, bias) / ctx.temperature, -1)
                by_logit = p.mul_(-grad[part, None].to(p.dtype) / ctx.temperature)
                add = grad[part, None].to(p.dtype) / ctx.temperature
                by_logit.scatter_add_(1, tokens[part, None], add)
                if by_weight is not None:
                    by_weight.addmm_(by_logit.T, rows)
                if by_bias is not None:
                    by_bias += by_logit.sum(0)
        return grad[:, None].to(slope.dtype) * slope, by_weight, by_bias, None, None
