"""Distributional policy gradient (CDPG): fit the policy to weighted draws of the prior.

Target: the posterior, by the forward KL(p*‖π): mass covering, off-policy, no sampling from the policy:

    loss = −mean_i (w_i/Z − π/q) log π(x_i)       w = π0 e^log_lik / q

with the prompt's own Z, estimated from the same stored draws where none is given. The draws are paid for once and used
for every epoch. Impossible draws (log_lik = -inf) are legal: they weigh nothing.

Tested to reach KL(π‖p*) < 1e-3 on TOY-A in tests/oracle/test_training.py.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.forward_kl import weighted_likelihood


@dataclass(frozen=True)
class DPG:
    """Forward KL on stored, weighted draws.

    Args:
        prompts: a step.
        group: stored draws a prompt that are used, the first ones; at least 2 where no log Z is stored.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        baseline: subtract π/q: mean zero, less variance, but then every draw needs a backward pass. Without it draws
            of weight below 1/n of their prompt's mean are spared (losses.forward_kl).

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    prompts: int = 8
    group: int = 16
    lr: float = 2e-4
    warmup: int = 3
    baseline: bool = True

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.group < 1:
            raise ConfigError(f"prompts={self.prompts}, group={self.group}: at least one of each is needed.")

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    @property
    def on_policy(self) -> bool:
        """It recalls stored draws."""
        return False

    @property
    def needs(self) -> frozenset[str]:
        """Nothing beyond the common fields: weights are self-normalised where no log Z is given."""
        return frozenset()

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.forward_kl.weighted_likelihood."""
        return weighted_likelihood(scored, self.baseline, spare=not self.baseline)
