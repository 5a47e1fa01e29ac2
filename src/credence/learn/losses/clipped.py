"""PPO's surrogate: a token's ratio to the policy that drew it, clipped; advantages from a value of prefixes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import leave_one_out, row_weights, summary
from credence.learn.losses.policy_gradient import refuse_impossible


def gains(scored: Scored) -> Float[Tensor, "R T"]:
    """What each token earns in nats, of the policy that drew it: −log q/π0, and log_lik at the last one."""
    gain = torch.where(scored.mask, scored.log_prior - scored.log_q, 0.0)
    last = scored.mask.sum(-1, keepdim=True) - 1
    return gain.scatter_add(1, last, scored.log_lik[:, None].to(gain))


def gae(
    gain: Float[Tensor, "R T"], value: Float[Tensor, "R T"], mask: Bool[Tensor, "R T"], trace: float
) -> Float[Tensor, "R T"]:
    """A_t = Σ_k trace^k δ_{t+k}, δ_t = gain_t + v(s_{t+1}) − v(s_t); nothing is worth anything after the end. γ = 1.

    At trace = 1 it is the return-to-go minus v(s_t), which needs no right v to be unbiased. Tested in
    tests/unit/test_clipped.py.
    """
    ahead = torch.nn.functional.pad(value, (0, 1))[:, 1:]
    delta = torch.where(mask, gain + ahead - value, 0.0)  # v is 0 outside the mask
    out, later = torch.zeros_like(delta), delta.new_zeros(len(delta))
    for t in reversed(range(delta.shape[1])):
        later = delta[:, t] + trace * later
        out[:, t] = later
    return torch.where(mask, out, 0.0)


def surrogate(scored: Scored, advantage: Float[Tensor, "R T"], clip: float) -> tuple[Tensor, Tensor]:
    """(R, T) min(ρ A, clip(ρ, 1 ± ε) A) with ρ_t = π/q of the token, and (R, T) where the clip cut its gradient."""
    ratio = torch.exp(torch.where(scored.mask, scored.log_pi - scored.log_q, 0.0))
    plain, held = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    return torch.where(scored.mask, torch.minimum(plain, held), 0.0), scored.mask & (held < plain)


def old_values(scored: Scored) -> tuple[Tensor, Tensor]:
    """v(s_t) now, with gradient, and as it was when the rows were drawn.

    Raises:
        ContractError: the policy did not give them.
    """
    if scored.value is None or scored.value_q is None:
        raise ContractError(
            'PPO needs a value of each prefix and the policy gave none: its learner must name "value" in `needs`, and '
            "the policy be built with value=True."
        )
    return scored.value, scored.value_q


def clipped_gradient(
    scored: Scored, clip: float = 0.2, trace: float = 1.0, weight: float = 0.5, value: bool = True
) -> tuple[Float[Tensor, ""], Info]:
    """−mean Σ_t min(ρ_t A_t, clip(ρ_t) A_t) + weight · mean Σ_t (v(s_t) − (A_t + v_q(s_t)))².

    At π = q the first part's gradient is that of REINFORCE: E[∇] = ∇KL(π‖p*) for trace = 1 and any v. After the first
    step on the same rows it is biased, by the clip and by token ratios in place of the prefix's. Sums over tokens,
    means over rows: no length weights, no whitening, γ = 1. Tested in tests/oracle/test_policy_gradients.py.

    Info, beside `summary`: advantage_sd over tokens, nats; clip_share, tokens whose gradient the clip cut; kl_step,
    E_q[log q/π], nats a reply; value_loss, mean squared error of v a token, nats².

    Args:
        scored: with `value` and `value_q`, unless `value` is False.
        clip: ε.
        trace: λ of GAE.
        weight: of the value's loss; the head has an optimiser of its own, so only noise against noise is weighed.
        value: False takes the group's other draws as baseline: A = D − mean_{j≠i} D for each token.

    Raises:
        ContractError: a draw is impossible under the evidence, or no value was given.
        ShapeError: without a value, a prompt with a single draw.
    """
    refuse_impossible(scored)
    gain, mask = gains(scored), scored.mask
    fit, error = gain.new_zeros(()), {}
    if value:
        now, then = old_values(scored)
        advantage = gae(gain, then, mask, trace)
        wrong = torch.where(mask, now - (advantage + then), 0.0).square()
        fit, error = (row_weights(scored) * wrong.sum(-1)).sum(), {"value_loss": float(wrong.detach()[mask].mean())}
    else:
        advantage = torch.where(mask, leave_one_out(gain.sum(-1), scored)[:, None], 0.0)
    terms, cut = surrogate(scored, advantage, clip)
    loss = weight * fit - (row_weights(scored) * terms.sum(-1)).sum()
    step = (scored.log_q - scored.log_pi.detach()).sum(-1)
    return loss, {
        **summary(scored),
        "advantage_sd": float(advantage[mask].std()) if int(mask.sum()) > 1 else 0.0,
        "clip_share": float(cut[mask].double().mean()),
        "kl_step": float((row_weights(scored) * step).sum()),
        **error,
    }
