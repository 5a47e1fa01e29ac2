"""Balance: at the posterior log π − log π0 − log_lik is one number for all replies of a prompt, −log Z.

    Δ(x) = log π(x) − log π0(x) − log_lik(x)       trajectory balance: ½(log Z + Δ)²       VarGrad: ½ Var(Δ)

A squared distance needs no weights: whoever made the draws, so long as they could make every reply, its only minimum
is Δ = −log Z, that is π = p*.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import leave_one_out, refuse_beyond_prior, row_weights, sizes, summary


def gap(scored: Scored) -> Float[Tensor, " R"]:
    """Δ in nats, with gradient: minus the return of losses.policy_gradient.

    Raises:
        ContractError: a draw impossible under evidence or prior: no policy is at a finite distance from it.
    """
    lost = int(torch.isneginf(scored.log_lik).sum())
    if lost:
        raise ContractError(
            f"a balance met {lost} of {len(scored.log_lik)} draws that are impossible under the evidence (log_lik = "
            "-inf): the square is infinite for every policy. Remedies: a finite penalty (Ended(cut=-3.0), "
            "Constraint(..., otherwise=-8.0)), a forward-KL learner (DPG), or an engine that draws (rejection, SMC)."
        )
    refuse_beyond_prior(scored)
    return torch.where(scored.mask, scored.log_pi - scored.log_prior, 0.0).sum(-1) - scored.log_lik


def balance(scored: Scored) -> tuple[Float[Tensor, ""], Info]:
    """½ mean (log Z + Δ)²: on policy E[∇] = ∇KL(π‖p*) for any log Z, off policy its minimum is p* if log Z is true.

    log Z comes with the rows. Where it carries a gradient (prior.flowing) it is learnt by the same square, and then the
    minimum off policy is p* and log Z. Tested by enumeration in tests/oracle/test_balance.py.

    Info, beside `summary`: imbalance, the root of the mean square in nats, 0 at π = p*; log_z, mean over prompts.

    Raises:
        ConfigError: no log Z came with the rows.
        ContractError: an impossible draw.

    Source: Malkin et al. 2022; Hu et al. 2024 (2310.04363), from the formulas of SCIENCE 3.5.
    """
    if scored.log_z is None:
        raise ConfigError(
            "trajectory balance needs log Z of each prompt, and none came with the draws: wrap the policy in "
            "learnt_log_z(policy, prompts), give the stored draws a log_z, or use VarGrad, which needs none."
        )
    square = (scored.log_z[scored.prompt] + gap(scored)) ** 2
    loss = 0.5 * (row_weights(scored) * square).sum()
    log_z = float(scored.log_z.detach().mean())
    return loss, {**summary(scored), "imbalance": float((2 * loss.detach()).sqrt()), "log_z": log_z}


def log_variance(scored: Scored) -> tuple[Float[Tensor, ""], Info]:
    """½ Σ (Δ − mean Δ)²/(n − 1) a prompt, mean over prompts: balance with log Z = −mean Δ of the draws at hand.

    Its gradient is leave-one-out REINFORCE's without a weight π/q, draw by draw, wherever they came from; on policy
    that is ∇KL(π‖p*), and on any others it still has p* as its only minimum. Tested in tests/oracle/test_balance.py.

    Info: as `balance`; log_z is −mean Δ.

    Raises:
        ContractError: an impossible draw.
        ShapeError: a prompt has a single draw.

    Source: Richter et al. 2020, from the formulas of SCIENCE 3.5.
    """
    delta = gap(scored)
    n = sizes(scored)[scored.prompt]
    lone = leave_one_out(delta, scored)  # (Δ − mean Δ) n/(n − 1)
    loss = 0.5 * (row_weights(scored) * lone**2 * (n - 1) / n).sum()
    log_z = -float((row_weights(scored) * delta.detach()).sum())
    return loss, {**summary(scored), "imbalance": float((2 * loss.detach()).sqrt()), "log_z": log_z}
