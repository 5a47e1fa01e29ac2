"""Supervised fine-tuning: maximum likelihood of recorded replies, the loss on replies only.

    loss = −mean log π(reply | prompt)       summed over the reply's tokens, its end included

Target: the law of the data, KL(data‖π) → 0; no reward and no prior are in it, π only starts at π0. Whether that is a
posterior depends on where the data came from: draws of p* make it the forward KL to p* (distillation). Tested to reach
the data's law on TOY-A in tests/oracle/test_preferences.py.

Left out on purpose: the mean over tokens, which gives a reply's token less weight the longer the reply is.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.recorded import maximum_likelihood
from credence.learn.recorded import OnRecords


@dataclass(frozen=True)
class SFT(OnRecords):
    """Maximum likelihood of stored replies (`learn.recorded.stored_demonstrations`).

    Args:
        prompts: a step.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        group: recorded replies a prompt that are used, the first ones.

    Raises:
        ConfigError: fewer than one prompt or reply.
    """

    group: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least_one("group", self.group)

    @property
    def target(self) -> str:
        """What was recorded."""
        return "law of the data"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.recorded.maximum_likelihood."""
        return maximum_likelihood(scored)
