"""The forward-KL gradient from weighted draws of any proposal: distributional policy gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.logspace import ess
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import row_weights, sizes, summary


def posterior_weights(scored: Scored) -> Float[Tensor, " R"]:
    """w/Z = π0 e^log_lik / (q Z): with the given log Z, else self-normalised to mean one within each prompt."""
    log_w = scored.log_lik + (scored.log_prior - scored.log_q).sum(-1)
    if scored.log_z is not None:
        return torch.exp(log_w - scored.log_z[scored.prompt])
    out = torch.zeros_like(log_w)
    for b in range(scored.prompts):
        mine = scored.prompt == b
        if not bool(torch.isneginf(log_w[mine]).all()):
            out[mine] = torch.softmax(log_w[mine], 0) * int(mine.sum())
    return out


def weighted_likelihood(scored: Scored, baseline: bool = True) -> tuple[Float[Tensor, ""], Info]:
    """−Σ (p*/q − π/q) log π: E_q[∇loss] = ∇KL(p*‖π), whatever the proposal q (CDPG: Z is the prompt's own).

    The baseline π/q has mean gradient zero on and off policy; at π = p* it makes every coefficient zero. Unbiased with
    a given log Z; self-normalised weights are consistent, biased by O(1/n). Tested by enumeration in
    tests/oracle/test_gradients.py.

    Source: Korbak et al. 2022 (2206.00761); Go et al. 2023 (2302.08215), from the formulas.
    """
    w = posterior_weights(scored)
    ratio = torch.exp((scored.log_pi.detach() - scored.log_q).sum(-1)) if baseline else torch.zeros_like(w)
    terms = (w - ratio) * torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    loss = -(row_weights(scored) * terms).sum()
    share = ess(torch.log(w)) / sizes(scored).sum()
    return loss, {**summary(scored), "ess_share": float(share), "ratio_max": float(ratio.max())}
