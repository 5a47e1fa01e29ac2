"""Path consistency: along any reply, the value lost must be the nats gained.

    V(s_t) − V(s_t+d) + Σ_u<d log π/π0(x_t+u | s_t+u) = 0      log π/π0 = Q − V,  V(s_L) = log_lik

Over whole replies V(root) is one number a prompt, and the square becomes a variance over the prompt's draws of
D = log_lik − log π/π0: VarGrad, that is trajectory balance without a log Z of its own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.losses.groups import log_sums, sizes, sums
from credence.learn.values.rows import Recall, following, prior_weights, refuse_impossible, root, told


@dataclass(frozen=True)
class PathConsistency(Recall):
    """Squared path residuals on stored draws, whoever drew them.

    Args:
        span: tokens of a path; 0: whole replies, as the variance over a prompt's draws.
        tilt: of whole replies: draws weigh e^(tilt · log_lik), normalised; 0 weighs them as the prior does, 1 as the
            posterior. The minimiser is the same for every tilt, what little is learnt first is not.

    Target: the posterior, for draws whose support is whole. V(root) = log Z with a span; whole replies leave it free,
    and the law alone is learnt.

    Cost: one sum over the vocabulary a token, with its gradient. Errors: whole replies have one number for all their
    tokens, short spans need many steps for the end to reach the beginning.

    Source: SCIENCE 3.5, 4.3; Nachum et al. 2017; Richter et al. 2020. Tested in tests/oracle/test_token_values.py.

    Raises:
        ConfigError: a span below 0, whole replies with fewer than 2 draws, a tilt that is used by neither.
    """

    span: int = 0
    tilt: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.span < 0 or (self.span == 0 and self.group < 2):
            raise ConfigError(
                f"PathConsistency(span={self.span}, group={self.group}): a span of 0 (whole replies, which are "
                "compared within a prompt, so at least 2 draws) or more tokens is needed."
            )
        if self.span and self.tilt:
            raise ConfigError(f"tilt={self.tilt} weighs whole replies: with span={self.span} leave it at 0.")

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """The variance of D, or the squared residuals of every path of `span` tokens.

        Raises:
            ContractError: an impossible draw.
            ShapeError: whole replies, and a prompt with a single draw.
        """
        refuse_impossible(valued, "path consistency")
        return spans(valued, self.span) if self.span else variance(valued, self.tilt)


def variance(valued: Valued, tilt: float) -> tuple[Float[Tensor, ""], Info]:
    """Σ w (D − Σ w D)² over each prompt's draws, mean over prompts, nats²; w ∝ (π0/q) e^(tilt · log_lik).

    With w the policy's own law its gradient is 2∇KL(π‖p*) (SCIENCE 3.5). Info: value_loss.
    """
    if bool((sizes(valued)[valued.prompt] < 2).any()):
        raise ShapeError("a prompt has a single draw: whole replies are compared within a prompt, so give at least 2.")
    log_ratio = torch.where(valued.mask, valued.chosen() - valued.soft(), 0.0).sum(-1)
    log_w = (valued.log_prior - valued.log_q).sum(-1) + tilt * valued.log_lik
    w = torch.exp(log_w - log_sums(log_w, valued)[valued.prompt])
    gain = valued.log_lik - log_ratio
    centred = gain - sums(w * gain, valued)[valued.prompt]
    loss = (w * centred**2).sum() / valued.prompts
    return loss, told(loss, valued)


def spans(valued: Valued, span: int) -> tuple[Float[Tensor, ""], Info]:
    """½ Σ_t (V(s_t) + Σ_u (Q − V) − V(s_t+d))², nats²; a path that meets the end of the reply ends there with log_lik.

    Info: value_loss; root, V(root) in nats.
    """
    soft = valued.soft()
    # V(s_t) + (Q − V)(s_t) − V(s_t+1): what one step fails by; a longer path fails by their sum
    step = torch.where(valued.mask, valued.chosen() - following(soft, valued), 0.0)
    total = torch.nn.functional.pad(step, (0, span - 1)).unfold(-1, span, 1).sum(-1)
    loss = (prior_weights(valued) * 0.5 * (total**2).sum(-1)).sum()
    return loss, {**told(loss, valued), "root": root(soft, valued)}
