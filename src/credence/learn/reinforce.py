"""Leave-one-out REINFORCE with the KL inside the return.

Target: the posterior. It descends KL(π‖p*) = log Z − E_π[log_lik − log π/π0] on fresh draws of the policy:

    D_i = log_lik(x_i) − log π(x_i)/π0(x_i)      A_i = D_i − mean_{j≠i} D_j      loss = −mean_i A_i log π(x_i)

Tested to reach KL(π‖p*) < 1e-3 on TOY-A in tests/oracle/test_training.py.

Left out on purpose: length normalisation and division by the group's standard deviation (both move the fixed point),
clipping (one gradient step a batch), k3 or any KL term outside the return (another fixed point, SCIENCE 2.3).
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.policy_gradient import Advantage, leave_one_out_gradient
from credence.learn.losses.prefix_baseline import prefix_advantage


@dataclass(frozen=True)
class Reinforce:
    """Leave-one-out REINFORCE.

    Args:
        prompts: a step.
        group: draws a prompt, at least 2: the others are each draw's baseline.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        passes: over the rows of a step, each corrected by π/q; 1 is on policy.
        parts: gradient steps a pass, each on its share of the prompts.
        baseline: "group": the mean of the others, as above; "prefix": besides, a token's own is taken off what the text
            before it had told already (losses.prefix_baseline). Less variance where the evidence reads prefixes, the
            same mean.
        advantage: another than A; a callable on `Scored`. What the loss then converges to is its author's affair.

    Raises:
        ConfigError: fewer than one prompt or two draws a prompt.
    """

    prompts: int = 8
    group: int = 8
    lr: float = 2e-4
    warmup: int = 5
    passes: int = 1
    parts: int = 1
    baseline: Literal["group", "prefix"] = "group"
    advantage: Advantage | None = None

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise ConfigError(f"prompts={self.prompts}: a step needs at least one prompt.")
        if self.group < 2:
            raise ConfigError(f"group={self.group}: the leave-one-out baseline needs at least 2 draws a prompt.")
        if min(self.passes, self.parts) < 1:
            raise ConfigError(f"passes={self.passes}, parts={self.parts}: at least one of each is needed.")

    @property
    def target(self) -> str:
        """The posterior, unless another advantage was given."""
        return "posterior" if self.advantage is None else "what its own advantage makes of it"

    @property
    def on_policy(self) -> bool:
        """Each step draws from the policy."""
        return True

    @property
    def needs(self) -> frozenset[str]:
        """The twist of each prefix, for its baseline."""
        return frozenset({"log_twist"} if self.baseline == "prefix" and self.advantage is None else ())

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.policy_gradient.leave_one_out_gradient."""
        own = self.advantage or (prefix_advantage if self.baseline == "prefix" else None)
        return leave_one_out_gradient(scored) if own is None else leave_one_out_gradient(scored, own)
