"""What the losses of values share: their settings, weights of rows, and what follows a token."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.protocols import Valued
from credence.learn.losses.groups import log_sums, row_weights, sizes

Shape = Literal["token", "state"]
"""Which value is learnt: Q(s, v) of every next token, which gives a law; or v(s), one number a prefix, a twist only."""


@dataclass(frozen=True)
class Recall:
    """Settings of every learner of values: it recalls stored draws and draws none.

    Args:
        prompts: a step.
        group: stored draws a prompt that are used, the first ones.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    prompts: int = 16
    group: int = 16
    lr: float = 1e-4
    warmup: int = 5

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.group < 1:
            raise ConfigError(f"prompts={self.prompts}, group={self.group}: at least one of each is needed.")

    @property
    def on_policy(self) -> bool:
        """It recalls stored draws."""
        return False

    @property
    def needs(self) -> frozenset[str]:
        """A value of prefixes."""
        return frozenset({"value"})


def check_shape(shape: str) -> None:
    """Refuse a shape that there is not.

    Raises:
        ConfigError: names the two.
    """
    if shape not in ("token", "state"):
        raise ConfigError(f'shape={shape!r}: "token" (Q of every next token) or "state" (one number a prefix).')


def learnt(valued: Valued, shape: Shape) -> Float[Tensor, "R T"]:
    """The value that is learnt, a column a prefix: of the prefix that ends with the token, or that stands before it."""
    return valued.chosen() if shape == "token" else valued.state()


def prior_weights(valued: Valued) -> Float[Tensor, " R"]:
    """π0/q of each row over (rows of its prompt × prompts): sums become means over the prior's replies.

    Draws of the prior weigh the same. What follows a prefix must be drawn from π0 in these means, so draws of another
    proposal carry the weight of their whole text.
    """
    return row_weights(valued) * torch.exp((valued.log_prior - valued.log_q).sum(-1))


def log_mean_lik(valued: Valued) -> Float[Tensor, " B"]:
    """log Z of each prompt: as given, else log mean e^log_lik of its rows, weighted to the prior; 0 where all are -inf.

    It only scales a loss, or is a constant that the value finds back: its error moves no minimiser.
    """
    if valued.log_z is not None:
        return valued.log_z
    log_w = valued.log_lik + (valued.log_prior - valued.log_q).sum(-1)
    found = log_sums(log_w, valued) - torch.log(sizes(valued))
    return torch.where(torch.isfinite(found), found, 0.0)


def following(soft: Float[Tensor, "R T"], valued: Valued) -> Float[Tensor, "R T"]:
    """V(s_t+1): what follows each token, log_lik where it is the row's last; 0 outside the mask."""
    after = torch.nn.functional.pad(soft[:, 1:], (0, 1))
    last = valued.mask & ~torch.nn.functional.pad(valued.mask[:, 1:], (0, 1))
    return torch.where(last, valued.log_lik[:, None], torch.where(valued.mask, after, 0.0))


def told(loss: Float[Tensor, ""], valued: Valued) -> dict[str, float]:
    """What every learner of values reports: value_loss, and means over the prior's replies of log_lik and readings."""
    w = prior_weights(valued)
    w = w / w.sum()
    readings = {name: float((w * values).sum()) for name, values in valued.readings.items()}
    return {
        **readings,
        "log_lik": float(torch.where(w > 0, w * valued.log_lik, 0.0).sum()),
        "value_loss": float(loss.detach()),
    }


def root(soft: Float[Tensor, "R T"], valued: Valued) -> float:
    """V before the first token, mean over prompts, nats."""
    return float((row_weights(valued) * soft[:, 0].detach()).sum())


def refuse_impossible(valued: Valued, name: str) -> None:
    """A squared distance to -inf has no minimum.

    Raises:
        ContractError: with the learners that can.
    """
    lost = int(torch.isneginf(valued.log_lik).sum())
    if lost:
        raise ContractError(
            f"{name} met {lost} of {len(valued.log_lik)} stored draws that are impossible under the evidence (log_lik "
            "= -inf): no finite value fits them. Give finite nats (Ended(cut=-3.0), Constraint(..., otherwise=-8.0)), "
            "or learn by FUDGE, Gumbel, CTL, SIXO or DPG, to which an impossible draw is a likelihood of 0."
        )
