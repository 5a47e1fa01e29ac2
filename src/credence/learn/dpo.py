"""Direct preference optimisation: the policy itself as the reward of a Bradley–Terry model.

    P(x ≻ x') = σ(β(h(x) − h(x')))       h = log π/π0       loss = −log-likelihood of the judgements

Target: the posterior of the judges' reward. If judgements follow Bradley–Terry with r (logits), every reply that the
prior can say is compared, and the comparisons hang together, the only optimum is βh = r + const, that is π = p* ∝ π0
e^{r/β}. With labels that never disagree there is none: the gap grows without bound whatever β is (IPO's does not).
Tested to reach KL(π‖p*) < 1e-6 on all pairs of TOY-A in tests/oracle/test_preferences.py.

`divergence` takes another D_f(π‖π0) in the place of the reverse KL. The optimum of E[r] − β D_f(π‖π0) is then another
law, π = π0 · (f')⁻¹((r − ν)/β), and is named as the target.

Left out on purpose: means over tokens in h (they change β from reply to reply), a reference-free form (no prior, so no
posterior), and label smoothing (give the votes that the labels are worth: `Comparisons.softened`).

Source: Rafailov et al. 2023 (2305.18290); Wang et al. 2023 (2309.16240) for the divergences. From the formulas.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, nearest
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.preference import DIVERGENCES, Divergence, bradley_terry
from credence.learn.recorded import OnPairs


@dataclass(frozen=True)
class DPO(OnPairs):
    """Bradley–Terry likelihood of stored comparisons (`learn.recorded.stored_comparisons`, which hold β).

    Args:
        prompts: comparisons a step.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
        divergence: "reverse_kl" (the posterior), "forward_kl", "js" or "alpha".
        alpha: of "alpha", in (0, 1).

    Raises:
        ConfigError: fewer than one comparison, an unknown divergence, or alpha out of range.
    """

    divergence: Divergence = "reverse_kl"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divergence not in DIVERGENCES:
            raise ConfigError(
                f"divergence={self.divergence!r}: {', '.join(DIVERGENCES)} are known."
                f"{nearest(str(self.divergence), DIVERGENCES)}"
            )
        if not 0 < self.alpha < 1:
            raise ConfigError(
                f"alpha={self.alpha}: a number in (0, 1) is needed; 0 is 'reverse_kl' and 1 is 'forward_kl'."
            )

    @property
    def target(self) -> str:
        """The posterior of the judges' reward under the reverse KL, else the optimum under the divergence.

        The evidence that `fit` is given moves no step of it, so that its posterior is the target only where both agree.
        """
        if self.divergence == "reverse_kl":
            return "the posterior of the judges' reward: p* if that reward is the evidence, else not"
        name = f"alpha = {self.alpha:g}" if self.divergence == "alpha" else self.divergence
        return f"optimum of E[r] − β D({name}): not p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.preference.bradley_terry."""
        return bradley_terry(scored, self.divergence, self.alpha)
