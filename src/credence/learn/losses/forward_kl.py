"""The forward-KL gradient from weighted draws of any proposal: distributional policy gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.logspace import ess
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import log_sums, off_policy, row_weights, sizes, summary


def posterior_weights(scored: Scored) -> Float[Tensor, " R"]:
    """w/Z = p*/q of each draw; see `log_posterior_weights`."""
    return torch.exp(log_posterior_weights(scored))


def log_posterior_weights(scored: Scored) -> Float[Tensor, " R"]:
    """log of π0 e^log_lik / (q Z): with the given log Z, else self-normalised to mean one within each prompt.

    An impossible draw weighs 0, also where every draw of its prompt is impossible.

    Raises:
        ShapeError: no log Z is given and a prompt has a single draw, whose self-normalised weight would be 1 whatever
            the evidence says.
    """
    log_w = scored.log_lik + (scored.log_prior - scored.log_q).sum(-1)
    count = sizes(scored)[scored.prompt]
    if scored.log_z is not None:
        log_z = scored.log_z[scored.prompt]
    elif bool((count < 2).any()):
        raise ShapeError(
            "a prompt has a single stored draw and no log Z: its weight would be 1 whatever the evidence says. Give at "
            "least 2 draws a prompt, or log_z."
        )
    else:
        log_z = log_sums(log_w, scored)[scored.prompt] - torch.log(count)
    return torch.where(torch.isneginf(log_w), log_w, log_w - log_z)


def weighted_likelihood(scored: Scored, baseline: bool = True, spare: bool = False) -> tuple[Float[Tensor, ""], Info]:
    """−mean (w/Z − π/q) log π with w/Z = p*/q: E_q[∇loss] = ∇KL(p*‖π), whatever the proposal q (Z is the prompt's own).

    The baseline π/q has mean gradient zero on and off policy; at π = p* it makes every coefficient zero. Unbiased with
    a given log Z; self-normalised weights are consistent, biased by O(1/n). Tested by enumeration in
    tests/oracle/test_gradients.py.

    With `spare`, and no baseline to keep them alive, weights below 1/n of the mean of their prompt's n count as zero,
    so that most rows need no backward pass: less than 1/n of the mass is left out, within the O(1/n) that
    self-normalising costs anyway.

    Info, beside `summary`: ess_share, effective draws over draws, of all weights together.

    Source: Korbak et al. 2022 (2206.00761); Go et al. 2023 (2302.08215), from the formulas.
    """
    w = posterior_weights(scored)
    ratio = off_policy(scored)
    if spare:
        w = torch.where(w < 1 / sizes(scored)[scored.prompt], 0.0, w)
    coefficient = w - ratio if baseline else w
    terms = coefficient * torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    loss = -(row_weights(scored) * terms).sum()
    share = ess(torch.log(w)) / len(w)
    return loss, {**summary(scored), "ess_share": float(share)}
