"""KTO: single replies that were liked or disliked, judged against how far the policy has drifted.

    loss = λ_y (1 − σ(±β(h − z0)))       h = log π/π0,  z0 = max(0, mean h of replies to *other* prompts), held fixed

Target: none with a name. The utility saturates on both sides and z0 moves with the policy, so the fixed point is no
posterior of a stated reward; nothing here claims p*. Take it where labels have no partner; where they follow a thumb's
probability, the Bayesian reading is the Bernoulli part of `evidence.feedback`. Its gradient, z0 held fixed, is held to
its own formula in tests/oracle/test_preferences.py.

Source: Ethayarajh et al. 2024 (2402.01306), from the formulas.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.recorded import prospect
from credence.learn.recorded import OnPairs


@dataclass(frozen=True)
class KTO(OnPairs):
    """Prospect utility of stored labels (`learn.recorded.stored_labels`, which hold β).

    Args:
        prompts: labelled replies a step; they share one z0.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        liked: weight of a liked reply.
        disliked: weight of a disliked reply: raise the rarer one until the two sums are near each other.

    Raises:
        ConfigError: fewer than one reply, or a weight that is not positive.
    """

    liked: float = 1.0
    disliked: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.liked < float("inf") and 0 < self.disliked < float("inf")):
            raise ConfigError(f"KTO(liked={self.liked}, disliked={self.disliked}): positive weights are needed.")

    @property
    def target(self) -> str:
        """No law of its own is claimed."""
        return "prospect utility: no claim of p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.recorded.prospect."""
        return prospect(scored, self.liked, self.disliked)
