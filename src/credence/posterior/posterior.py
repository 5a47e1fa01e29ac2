"""The one object that every engine aims at."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Evidence, Prior
from credence.core.types import Completions, Prompts
from credence.evidence.product import Tempered, twist


@dataclass(frozen=True, eq=False)
class Posterior:
    """p*(x|c) = π0(x|c) · exp(log_lik(x,c)) / Z(c).

    The target is stated once; engines, settings and machines do not enter it. Exact where the prior can be
    enumerated: `enumerate_posterior`.
    """

    prior: Prior
    evidence: Evidence

    def log_joint(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """log π0(x) + log_lik(x) in nats: log p* up to log Z. Cost: one scoring pass of the prior."""
        return self.prior.score(prompts, completions).sum(-1) + self.log_lik(prompts, completions)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The evidence's nats."""
        return self.evidence.log_lik(prompts, completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """What unfinished rows already tell, in nats; log_lik on rows that have ended."""
        return twist(self.evidence, prompts, completions)

    def tempered(self, lam: float) -> "Posterior":
        """The path from prior (lam = 0) to posterior (lam = 1): π0 · exp(lam · log_lik)."""
        return Posterior(self.prior, Tempered(self.evidence, lam))
