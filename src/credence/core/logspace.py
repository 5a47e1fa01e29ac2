"""Sums, means and divergences of things held as logarithms; 0·log 0 = 0 and an impossible event stays -inf."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def log_mean_exp(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """log of the mean of exp(x) along `dim`; -inf when all of x is."""
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def normalise(log_w: Float[Tensor, "... N"]) -> Float[Tensor, "... N"]:
    """Log weights shifted so that they sum to one along the last axis; all -inf stays all -inf."""
    total = torch.logsumexp(log_w, -1, keepdim=True)
    return torch.where(torch.isneginf(total), log_w, log_w - total)


def ess(log_w: Float[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """Effective sample size (Σw)²/Σw² along the last axis, in draws; 0 when no weight is positive.

    Never read alone: it is optimistic when a mode was missed. diagnose.weights shows it with Pareto k̂ and max w̄.
    """
    log_w = normalise(log_w)
    return torch.where(torch.isneginf(log_w).all(-1), 0.0, torch.exp(-torch.logsumexp(2 * log_w, -1)))


def kl(log_q: Float[Tensor, "... N"], log_p: Float[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """KL(q‖p) in nats between two normalised laws on the same N outcomes, in formula order.

    Returns +inf (never NaN) where q puts mass on an outcome that p calls impossible.
    Tested on point masses and TOY-A in tests/oracle/test_toy_a.py.
    """
    impossible = torch.isneginf(log_q)
    terms = torch.where(impossible, 0.0, torch.exp(log_q) * (log_q.masked_fill(impossible, 0.0) - log_p))
    # exp(-800) is 0 in float64, yet -800 is mass: 0 · inf must be inf here.
    return torch.where(~impossible & torch.isneginf(log_p), math.inf, terms).sum(-1)


def entropy(log_p: Float[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """-Σ p log p in nats along the last axis."""
    return -torch.where(torch.isneginf(log_p), 0.0, torch.exp(log_p) * log_p).sum(-1)


def inverse_cdf(
    logits: Float[Tensor, "rows V"], uniform: Float[Tensor, " rows"]
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Draw one token a row by inverting the distribution function, in two levels.

    Args:
        logits: unnormalised log-probabilities; -inf is impossible.
        uniform: one number in (0, 1) a row.

    Returns:
        tokens; their log-probabilities in nats, float64; and the margin, the distance in probability from the
        uniform to the nearest boundary of the token's interval: below the logits' error the token is a coin toss
        between neighbours.

    Logits of fewer than 32 bits are widened first: their sums would round away whole tokens, and the law recorded is
    the softmax of the logits given (tests/unit/test_keys.py). Blocks are summed first, so that only one block a row is
    scanned: over 49,152 words this costs one pass.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    rows, vocab = logits.shape
    width = max(1, math.isqrt(vocab))
    blocks = -(-vocab // width)
    top = logits.max(-1, keepdim=True).values
    mass = torch.exp(logits - top)
    padded = mass if blocks * width == vocab else torch.nn.functional.pad(mass, (0, blocks * width - vocab))
    cells = padded.view(rows, blocks, width)
    ends = cells.sum(-1).double().cumsum(-1)
    total = ends[:, -1]
    goal = uniform.to(ends) * total
    block = torch.searchsorted(ends, goal[:, None], right=False).clamp(max=blocks - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = cells.gather(1, block[:, :, None].expand(-1, -1, width)).squeeze(1).double().cumsum(-1) + before
    within = torch.searchsorted(inside, goal[:, None], right=False).clamp(max=width - 1)
    token = (block * width + within).clamp(max=vocab - 1)
    chosen = padded.gather(1, token)
    if bool((chosen == 0).any()):  # the goal fell on rounding error behind the last positive cell
        token = torch.where(chosen > 0, token, padded.argmax(-1, keepdim=True))
    upper = inside.gather(1, within).squeeze(1)
    lower = upper - padded.gather(1, token).squeeze(1).double()
    margin = torch.minimum(goal - lower, upper - goal).abs() / total
    log_p = logits.gather(1, token).double().squeeze(1) - top.squeeze(1).double() - torch.log(total)
    return token.squeeze(1), log_p, margin
