"""Identity preference optimisation: how often a reply wins is itself the reward, and no label makes the gap infinite.

    loss = (h(w) − h(l) − 1/(2β))²       h = log π/π0,  β: winning probability per nat (the paper's τ)

Target: the posterior of the winning probability, π0(x) · exp(P(x beats a reply of the judged law)/β)/Z. Between two
replies the gap h(w) − h(l) is (p − ½)/β: at p = 1 it is 5, 1 and 0.5 nats for β = 0.1, 0.5 and 1, where DPO's grows for
ever. Tested in tests/oracle/test_preferences.py.

It is not DPO's target: P(x wins) is bounded by 1 and depends on what the replies were compared with.

Source: Azar et al. 2023 (2310.12036), from the formulas. Left out: means over tokens in h, which some libraries take.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.preference import identity_preference
from credence.learn.recorded import OnPairs


@dataclass(frozen=True)
class IPO(OnPairs):
    """Squared gap of stored comparisons (`learn.recorded.stored_comparisons`, which hold β).

    Args:
        prompts: comparisons a step.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.

    Raises:
        ConfigError: fewer than one comparison.
    """

    @property
    def target(self) -> str:
        """Another posterior than that of the judges' logits."""
        return "posterior of the winning probability"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.preference.identity_preference."""
        return identity_preference(scored)
