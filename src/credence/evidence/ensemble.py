"""Several rewards as one, by a stated rule: the mean, the least, the mean less k standard deviations, or the average.

A learnt reward is wrong somewhere, and optimising finds the place. Members that were learnt apart are wrong in
different places: where they disagree, "min" and "pessimistic" pay less. The rule acts on nats, r/β of each member, so
the members may have their own β. Rewards that comparisons taught are known up to a constant a prompt: members must be
centred per prompt before a minimum over them means anything, as Bradley–Terry heads on `Centred` features are.
"posterior_averaged" is log-mean-exp, log E[e^{r/β}] with the members as the belief: it pays more where they disagree,
for one enthusiast is enough (evidence.rules says why that is not the average that most people want).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, nearest
from credence.core.protocols import Evidence
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable, max_log_lik, measure

EnsembleRule = Literal["mean", "min", "pessimistic", "posterior_averaged"]
ENSEMBLE_RULES: tuple[str, ...] = get_args(EnsembleRule)


@dataclass(frozen=True, eq=False)
class Ensemble(Composable):
    """log_lik = mean, min, mean − k·sd, or log-mean-exp over the members' nats.

    Not a product: members answer the same question, so their evidence must not add up. −inf from one member makes a
    reply impossible under every rule.

    Args:
        members: at least two.
        rule: "mean", "min", "pessimistic" or "posterior_averaged".
        k: standard deviations (over members, n − 1) that "pessimistic" takes off, at least 0.
        name: of the readings.

    Readings: `name`, the combined nats, and `name`_sd, the standard deviation over members, nats; 0 where a reply is
    impossible.

    Raises:
        ConfigError: fewer than two members, an unknown rule, or k below 0.

    Cost: one look of each member. Tested in tests/unit/test_ensemble.py and as any evidence in
    tests/contract/test_evidence_laws.py. Source: Coste et al. 2024 (2310.02743); Yang et al. 2024 (2402.13210).
    """

    members: tuple[Evidence, ...]
    rule: EnsembleRule = "pessimistic"
    k: float = 1.0
    name: str = "ensemble"

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ConfigError(f"Ensemble of {len(self.members)} members: at least two are needed to disagree.")
        if self.rule not in ENSEMBLE_RULES:
            raise ConfigError(
                f"rule={self.rule!r}: {', '.join(ENSEMBLE_RULES)} are known.{nearest(str(self.rule), ENSEMBLE_RULES)}"
            )
        if not 0 <= self.k < math.inf:
            raise ConfigError(f"k={self.k}: a finite number of standard deviations, at least 0, is needed.")

    @property
    def max_log_lik(self) -> float:
        """The largest that the rule can give, by the members' bounds: the least, their log-mean-exp, or their mean."""
        bounds = [max_log_lik(m) for m in self.members]
        if self.rule == "posterior_averaged":
            return float(torch.logsumexp(torch.tensor(bounds, dtype=torch.float64), 0)) - math.log(len(bounds))
        return min(bounds) if self.rule == "min" else sum(bounds) / len(bounds)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The rule's nats, float64."""
        return self.measure(prompts, completions)[0]

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """The combined nats and the spread over members."""
        return self.measure(prompts, completions)[1]

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """Both, from one look of each member."""
        nats = torch.stack([measure(m, prompts, completions)[0] for m in self.members]).double()
        lost = torch.isneginf(nats).any(0)
        known = torch.where(lost, 0.0, nats)
        sd = known.std(0)
        match self.rule:
            case "mean":
                found = known.mean(0)
            case "min":
                found = known.amin(0)
            case "pessimistic":
                found = known.mean(0) - self.k * sd
            case "posterior_averaged":
                found = torch.logsumexp(known, 0) - math.log(len(known))
        found = torch.where(lost, -torch.inf, found)
        return found, {self.name: found, f"{self.name}_sd": sd}
