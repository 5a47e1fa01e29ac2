"""Proximal policy optimisation: several clipped steps on the rows of one collection, a learnt value a token.

Target: the posterior. The KL stands inside the reward of each token, and γ = 1:

    gain_t = −log q/π0(x_t) (+ log_lik at the end)     A_t = Σ_k λ^k δ_{t+k}
    loss = −mean Σ_t min(ρ_t A_t, clip(ρ_t) A_t)

q is the policy that drew the rows; it needs no copy of the weights, since log q travels with them. At p* the soft value
V(s) = log Z(s) makes every A_t zero, draw by draw, so that p* is a fixed point for every λ once v is right. With λ < 1
and a v that cannot be right (a linear head on a model) it is only near it. Tested to reach KL(π‖p*) < 1e-3 on TOY-A in
tests/oracle/test_policy_gradients.py.

Left out on purpose: whitened advantages (they move β from batch to batch), γ < 1 and an entropy bonus (other targets),
clipping of the value's loss.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.clipped import clipped_gradient


@dataclass(frozen=True)
class PPO:
    """Clipped policy gradient with a value of each prefix.

    Args:
        prompts: a step.
        group: draws a prompt; 1 is enough with a value.
        lr: Adam's step size after warm-up; the value's is ten times it (prior.critic.PACE).
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        passes: over the rows of a step.
        parts: gradient steps a pass, each on its share of the prompts.
        clip: a token's ratio earns nothing beyond 1 ± clip.
        trace: λ of GAE: 1 is unbiased whatever the value says, less is less noisy.
        value: a learnt value; False takes the group's other draws as baseline, and the policy needs no value.

    Raises:
        ConfigError: a number that cannot be.
    """

    prompts: int = 8
    group: int = 8
    lr: float = 2e-4
    warmup: int = 5
    passes: int = 2
    parts: int = 1
    clip: float = 0.2
    trace: float = 1.0
    value: bool = True

    def __post_init__(self) -> None:
        least = {"prompts": 1, "group": 1 if self.value else 2, "passes": 1, "parts": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name}={getattr(self, name)}: PPO needs at least {low}.")
        if not 0 < self.clip < 1:
            raise ConfigError(f"clip={self.clip}: how far a ratio may go from 1, in (0, 1).")
        if not 0 <= self.trace <= 1:
            raise ConfigError(f"trace={self.trace}: λ of GAE, in [0, 1].")

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    @property
    def on_policy(self) -> bool:
        """Each step draws from the policy."""
        return True

    @property
    def needs(self) -> frozenset[str]:
        """A value of each prefix, unless the group is the baseline."""
        return frozenset({"value"} if self.value else ())

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.clipped.clipped_gradient."""
        return clipped_gradient(scored, self.clip, self.trace, value=self.value)
