"""log-probabilities of given tokens from hidden states, in chunks: no (R, T, V) tensor is ever held."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Output:
    """The output layer of a model at a temperature: hidden states in, a law over the vocabulary out."""

    head: nn.Linear
    temperature: float

    def log_law(self, hidden: Float[Tensor, "N d"]) -> Float[Tensor, "N V"]:
        """log softmax(head(hidden) / temperature), at least float32."""
        logits = torch.nn.functional.linear(hidden.to(self.head.weight.dtype), self.head.weight, self.head.bias)
        logits = (logits if logits.dtype == torch.float64 else logits.float()) / self.temperature
        return torch.log_softmax(logits, -1)


def token_kl(
    hidden: Float[Tensor, "N d"], output: Output, before: Float[Tensor, "N d"], prior: Output
) -> Float[Tensor, " N"]:
    """KL(π‖π0) in nats of the two laws over the next token, summed over the whole vocabulary; differentiable in π.

    Memory: a few times 256 rows of logits. Tested against the plain sum, value and gradient, in
    tests/unit/test_logprob.py.

    Args:
        hidden: the policy's states.
        output: its output layer.
        before: the prior's states at the same places, detached.
        prior: its output layer, of the same vocabulary.
    """
    weight, bias = output.head.weight, output.head.bias
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return _TokenKL.apply(hidden, weight, bias, output, before, prior)  # pyright: ignore
    parts = zip(hidden.split(CHUNK), before.split(CHUNK), strict=True)
    return torch.cat([_kl_of(output.log_law(h), prior.log_law(b))[0] for h, b in parts])


def _kl_of(log_pi: Tensor, log_prior: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the KL, and (N, V) its slope p (log π/π0 − KL) in the policy's logits. 0 · log 0 = 0."""
    p = torch.exp(log_pi)
    ratio = torch.where(p > 0, log_pi - log_prior, 0.0)
    kl = (p * ratio).sum(-1)
    return kl, p * (ratio - kl[:, None])


class _TokenKL(torch.autograd.Function):
    """As _TokenLogProb: the slope in the states is formed in the forward pass, the head's own where it is asked for."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context object
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        output: Output,
        before: Tensor,
        prior: Output,
    ) -> Tensor:
        out, slope = [], torch.empty_like(hidden)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            kl, by_logit = _kl_of(output.log_law(hidden[part]), prior.log_law(before[part]))
            out.append(kl)
            slope[part] = (by_logit.to(weight.dtype) @ weight / output.temperature).to(slope.dtype)
        ctx.save_for_backward(hidden, before, slope)
        ctx.output, ctx.prior = output, prior
        return torch.cat(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hidden, before, slope = ctx.saved_tensors
        output, prior, grad = ctx.output, ctx.prior, grads[0]
        weight, bias = output.head.weight, output.head.bias
        by_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        by_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        if by_weight is not None or by_bias is not None:
            for start in range(0, len(hidden), CHUNK):
                part = slice(start, start + CHUNK)
                _, by_logit = _kl_of(output.log_law(hidden[part]), prior.log_law(before[part]))
                by_logit = (by_logit * grad[part, None].to(by_logit.dtype) / output.temperature).to(weight.dtype)
                if by_weight is not None:
                    by_weight.addmm_(by_logit.T, hidden[part].to(weight.dtype))
                if by_bias is not None:
                    by_bias += by_logit.sum(0)
        return grad[:, None].to(slope.dtype) * slope, by_weight, by_bias, None, None, None
