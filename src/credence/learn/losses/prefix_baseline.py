"""An advantage a token: what the text before it had told already is taken off the return."""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.protocols import Scored
from credence.learn.losses.groups import leave_one_out
from credence.learn.losses.policy_gradient import returns


def prefix_advantage(scored: Scored) -> Float[Tensor, "R T"]:
    """A_t = (D − D̄) − a (v_t − v̄_t) − b (k_t − k̄_t), nats, zero outside the mask.

    D = log_lik − log π/π0 of the whole row; v_t is the evidence's twist of the text before token t (half a reply
    already sounds cheerful or not), k_t its log π/π0; bars are means over the prompt's *other* draws, at step t over
    those that have this token too. a and b are fitted by least squares to D − D̄ over the tokens of the *other*
    prompts. So nothing that is taken off knows what this row says from t on, and the gradient's mean stays ∇KL(π‖p*)
    whatever a and b are. Far from p* they come near 1 and −1, which is the return-to-go; at p*, where D is constant,
    near 0, and the variance vanishes as it does without them. One prompt alone has no others: a = b = 0.

    Unbiased, by enumeration of whole batches, in tests/oracle/test_prefix_baseline.py.

    Raises:
        ShapeError: a prompt has a single draw; or the batch brought no log_twist.

    Cost: that of the twists, an evidence's look at each unfinished text (evidence.product.prefix_twists).
    Source: baselines that depend on the state (Williams 1992), their coefficients fitted on other data.
    """
    if scored.log_twist is None:
        raise ShapeError("the prefix baseline reads log_twist: collect the batch for a learner that needs it.")
    drift = torch.where(scored.mask, scored.log_pi.detach() - scored.log_prior, 0.0)
    told = torch.stack([_beside(x, scored) for x in (scored.log_twist, drift.cumsum(1) - drift)], -1)
    plain = leave_one_out(returns(scored), scored)[:, None].expand(scored.mask.shape)
    known = (told * _fitted_elsewhere(told, plain, scored)[scored.prompt][:, None]).sum(-1)
    return torch.where(scored.mask, plain - known, 0.0)


def _beside(x: Float[Tensor, "R T"], scored: Scored) -> Float[Tensor, "R T"]:
    """x minus its mean over the prompt's other rows that have this token too; 0 where there are none."""
    live = scored.mask.to(x.dtype)
    x = x * live

    def others(values: Tensor) -> Tensor:
        total = values.new_zeros(scored.prompts, values.shape[1]).index_add(0, scored.prompt, values)
        return total[scored.prompt] - values

    count = others(live)
    return torch.where(scored.mask & (count > 0), x - others(x) / count.clamp(min=1), 0.0)


def _fitted_elsewhere(
    told: Float[Tensor, "R T F"], wanted: Float[Tensor, "R T"], scored: Scored
) -> Float[Tensor, "B F"]:
    """For each prompt the least-squares coefficients over all other prompts' tokens."""
    size = told.shape[-1]
    gram = told.new_zeros(scored.prompts, size, size).index_add(0, scored.prompt, told.transpose(1, 2) @ told)
    cross = told.new_zeros(scored.prompts, size).index_add(0, scored.prompt, (told * wanted[..., None]).sum(1))
    ridge = torch.eye(size, dtype=told.dtype, device=told.device)  # 1 nat²: where nothing is told, nothing is fitted
    return torch.linalg.solve(gram.sum(0) - gram + ridge, cross.sum(0) - cross)
