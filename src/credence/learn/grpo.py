"""GRPO, which has a target of its own, and the form of it whose target is the posterior.

As published: group rewards divided by their standard deviation, 1/|x| before each reply, k3 of each token in the loss.
Each of the three moves the fixed point (SCIENCE 2.3, 2.4, 3.3), so it converges to another law than p*: at a prefix s

    π(v|s) = L(s,v) π0(v|s) / (c(s) + L(s,v) − R(s,v))      L = E_π[w | sv],  R = E_π[w A | sv],  w = 1/|x| or 1

with c(s) such that it sums to one, and A the expected rescaled advantage of a reply among others of π. Tested in
tests/oracle/test_group_relative.py: the gradient there is zero by enumeration, and training ends there.

`GRPO(spread=None, length=False, k3=False)` is the corrected form: target the posterior, on fresh draws (G − 1)/G times
the gradient of leave-one-out REINFORCE (learn.reinforce), which needs no such factor.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.group_relative import group_relative_gradient


@dataclass(frozen=True)
class GRPO:
    """Group-relative policy optimisation.

    Args:
        prompts: a step.
        group: draws a prompt, at least 2.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        passes: over the rows of a step.
        parts: gradient steps a pass, each on its share of the prompts.
        clip: a token's ratio earns nothing beyond 1 ± clip.
        spread: nats that the evidence of every group is rescaled to, whatever β says; 1/spread is the literature's β
            (0.04). None: the evidence's own nats.
        length: every reply weighs the same, each of its tokens less the longer it is.
        k3: the KL stands in the loss, as k3 of each token; False: in the return.

    Raises:
        ConfigError: a number that cannot be.
    """

    prompts: int = 8
    group: int = 8
    lr: float = 2e-4
    warmup: int = 5
    passes: int = 1
    parts: int = 1
    clip: float = 0.2
    spread: float | None = 25.0
    length: bool = True
    k3: bool = True

    def __post_init__(self) -> None:
        for name, low in {"prompts": 1, "group": 2, "passes": 1, "parts": 1}.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name}={getattr(self, name)}: GRPO needs at least {low}.")
        if not 0 < self.clip < 1:
            raise ConfigError(f"clip={self.clip}: how far a ratio may go from 1, in (0, 1).")
        if self.spread is not None and not self.spread > 0:
            raise ConfigError(f"spread={self.spread}: nats above 0, or None for the evidence's own.")

    @property
    def target(self) -> str:
        """The posterior in the corrected form; else what moves it away."""
        moved = [
            *([f"every group's evidence rescaled to {self.spread:g} nats"] if self.spread is not None else []),
            *(["replies weighed by 1/length"] if self.length else []),
            *(["KL(π0‖π) token by token for KL(π‖π0)"] if self.k3 else []),
        ]
        return f"a law of its own, not the posterior: {'; '.join(moved)}" if moved else "posterior"

    @property
    def on_policy(self) -> bool:
        """Each step draws from the policy."""
        return True

    @property
    def needs(self) -> frozenset[str]:
        """Nothing beyond the common fields."""
        return frozenset()

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.group_relative.group_relative_gradient."""
        return group_relative_gradient(scored, self.spread, self.length, self.k3, self.clip)
