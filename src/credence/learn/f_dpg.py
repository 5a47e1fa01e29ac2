"""f-DPG: fit the policy to the posterior by the divergence of your choice.

Target: the posterior; of all policies the one with least D_f(π‖p*), which is p* itself where the policy can be p*, and
a different compromise for each divergence where it cannot (docs/engines/f-dpg.md):

    loss = −mean_i (π/q)(f'(1) − f'(t)) log π(x_i)      t = π/p*,  p* = π0 e^log_lik / Z

Held to each divergence's exact gradient for any proposal, to its optimum within a restricted family, and to p* in
tests/oracle/test_f_divergence.py.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.f_divergence import Divergence, f_gradient
from credence.learn.settings import Common


@dataclass(frozen=True)
class FDPG(Common):
    """Any f-divergence, on the policy's own draws or on stored ones.

    Args:
        divergence: one of losses.f_divergence.Divergence.
        on_policy: draw from the policy in each step; else recall stored draws of any proposal, weighted by π/q.
        baseline: subtract −f'(1), the value at π = p*: mean zero, and no variance at all at p*.

    Cost: a step as DPG's or REINFORCE's. Errors: Z is self-normalised where none is given, biased by O(1/n) for all but
    reverse KL; π/q of stored draws grows as the policy leaves them.

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    divergence: Divergence = Divergence.FORWARD_KL
    on_policy: bool = False
    baseline: bool = True

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.f_divergence.f_gradient."""
        return f_gradient(scored, self.divergence, self.baseline)
