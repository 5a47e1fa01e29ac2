"""Chunked log-probabilities against the plain log_softmax: value and gradient, in float64 to 1e-10."""

import pytest
import torch
from torch import nn

from credence.prior import logprob
from credence.prior.logprob import Output, mapped_log_probs, token_kl, token_log_probs


def parts(bias: bool, rows: int = 600, size: int = 6, vocab: int = 23) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    """More rows than two chunks, and not a multiple of one."""
    rng = torch.Generator().manual_seed(3)
    head = nn.Linear(size, vocab, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64))
    hidden = torch.randn(rows, size, generator=rng, dtype=torch.float64, requires_grad=True)
    return hidden, head, torch.randint(vocab, (rows,), generator=rng)


def plain(hidden: torch.Tensor, head: nn.Linear, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.log_softmax(head(hidden) / temperature, -1).gather(1, tokens[:, None]).squeeze(1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.9])
def test_value_and_gradient(bias: bool, temperature: float) -> None:
    hidden, head, tokens = parts(bias)
    assert len(hidden) > 2 * logprob.CHUNK
    weight = torch.randn(len(hidden), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [hidden, *head.parameters()]
    ours, theirs = token_log_probs(hidden, head, tokens, temperature), plain(hidden, head, tokens, temperature)
    assert torch.allclose(ours, theirs, atol=1e-10, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours @ weight, inputs), torch.autograd.grad(theirs @ weight, inputs), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


def test_gradient_of_hidden_alone_where_the_head_is_frozen() -> None:
    hidden, head, tokens = parts(True)
    head.requires_grad_(False)
    (ours,) = torch.autograd.grad(token_log_probs(hidden, head, tokens, 0.7).sum(), hidden)
    (theirs,) = torch.autograd.grad(plain(hidden, head, tokens, 0.7).sum(), hidden)
    assert torch.allclose(ours, theirs, atol=1e-10, rtol=0)


def test_without_gradient_and_with_any_map() -> None:
    hidden, head, tokens = parts(True)
    with torch.no_grad():
        assert torch.allclose(
            token_log_probs(hidden, head, tokens, 0.7), plain(hidden, head, tokens, 0.7), atol=1e-10, rtol=0
        )

        def cut(logits: torch.Tensor) -> torch.Tensor:
            return logits.masked_fill(logits < logits.topk(5, -1).values[:, -1:], -torch.inf)

        wanted = torch.log_softmax(cut(head(hidden)), -1).gather(1, tokens[:, None]).squeeze(1)
        found = mapped_log_probs(hidden, head, tokens, cut)
        assert torch.equal(torch.isneginf(found), torch.isneginf(wanted))
        assert torch.allclose(found[~torch.isneginf(found)], wanted[~torch.isneginf(wanted)], atol=1e-10, rtol=0)


def test_low_precision_weights_give_at_least_float32() -> None:
    hidden, head, tokens = parts(False)
    with torch.no_grad():
        found = token_log_probs(hidden.bfloat16(), head.bfloat16(), tokens)
        assert found.dtype == torch.float32
        rounded = torch.log_softmax(head(hidden.bfloat16()).float(), -1).gather(1, tokens[:, None]).squeeze(1)
        assert torch.allclose(found, rounded, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_kl_of_each_token(frozen: bool) -> None:
    """Against the plain sum over the vocabulary, value and gradient, at two temperatures and two heads."""
    hidden, head, _ = parts(True)
    before, other, _ = parts(True)
    with torch.no_grad():
        other.weight += 0.3 * torch.sin(torch.arange(other.weight.numel()).view(other.weight.shape))
    head.requires_grad_(not frozen)
    inputs = [hidden] if frozen else [hidden, *head.parameters()]
    weight = torch.randn(len(hidden), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = token_kl(hidden, Output(head, 0.7), before.detach(), Output(other, 1.3))
    log_pi = torch.log_softmax(head(hidden) / 0.7, -1)
    theirs = (torch.exp(log_pi) * (log_pi - torch.log_softmax(other(before).detach() / 1.3, -1))).sum(-1)
    assert float(theirs.detach().min()) > 0
    assert torch.allclose(ours, theirs, atol=1e-10, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours @ weight, inputs), torch.autograd.grad(theirs @ weight, inputs), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)
    with torch.no_grad():
        assert torch.allclose(
            token_kl(hidden, Output(head, 0.7), before, Output(other, 1.3)), theirs, atol=1e-10, rtol=0
        )
