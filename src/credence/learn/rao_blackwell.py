"""REINFORCE whose KL is summed over the vocabulary at every step, with return-to-go.

Target: the posterior, by KL(π‖p*), as leave-one-out REINFORCE; the same expected gradient, another noise:

    a_t = log_lik − Σ_{u<t} ℓ_u − Σ_{u>t} KL_u − b      loss = mean over rows of Σ_t (KL_t − a_t log π_t)

The KL's own gradient is far less noisy so; the whole gradient is where the KL is not what the evidence pays for (a
policy that went too far, a bad start), and is more noisy near p*, where the sampled log-ratio cancels the noise of the
evidence. `share` mixes the two, exact at every value. Tested to reach KL(π‖p*) < 1e-3 on TOY-A in
tests/oracle/test_policy_gradients.py.

Left out on purpose: dropping the future's KLs (a token-level KL in the loss alone): that gradient is myopic.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.policy_gradient import rao_blackwell_gradient
from credence.learn.reinforce import Reinforce


@dataclass(frozen=True)
class RaoBlackwell:
    """REINFORCE with the KL of each step over the whole vocabulary.

    Args:
        prompts: a step.
        group: draws a prompt, at least 2.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        share: of the KL that is summed over the vocabulary, in [0, 1]; the rest is the sampled log-ratio.

    Raises:
        ConfigError: fewer than one prompt or two draws a prompt, or a share outside [0, 1].
    """

    prompts: int = 8
    group: int = 8
    lr: float = 2e-4
    warmup: int = 5
    share: float = 1.0

    def __post_init__(self) -> None:
        Reinforce(self.prompts, self.group)
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share={self.share}: the part of the KL that is summed over the vocabulary, in [0, 1].")

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
        """The KL of each token."""
        return frozenset({"kl"})

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.policy_gradient.rao_blackwell_gradient."""
        return rao_blackwell_gradient(scored, self.share)
