"""What other models say of a reply, as evidence: the ratio of an expert to an anti-expert, to a power."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.protocols import StepPrior
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable


@dataclass(frozen=True, eq=False)
class Expert:
    """(π⁺/π⁻)^weight: one expert and the anti-expert that it is compared with.

    Args:
        expert: π⁺, such as a small model that was tuned.
        anti: π⁻, such as the same model before.
        weight: 1 takes the ratio as it is, 0 ignores it, a negative one turns it round.
    """

    expert: StepPrior
    anti: StepPrior
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ConfigError(f"weight={self.weight} of an expert: a finite number is needed.")


@dataclass(frozen=True, eq=False)
class Experts(Composable):
    """log_lik = Σ_i weight_i · (log π_i⁺(x) − log π_i⁻(x)) nats, of whole sequences.

    With the base as prior this is the product of experts π0 · Π (π_i⁺/π_i⁻)^{w_i} / Z. Build it with
    posterior.experts, whose `realigned` and `product_of_experts` say what it means. A prefix has its own ratio, a twist
    that says what the experts have made of it so far.

    Supports: what an expert of positive weight cannot say has −inf nats, also where its anti-expert cannot say it
    either (0/0 is 0), and so has what the base cannot say. Tested in tests/oracle/test_products.py.

    Args:
        base: the prior it goes with; asked only where an anti-expert finds a reply impossible.
        experts: their pairs.

    Raises:
        ConfigError: no expert.
        DegeneracyError: a reply that base and expert can say and the anti-expert cannot: the ratio is infinite.

    Cost: a scoring pass of each distinct model.
    """

    base: StepPrior
    experts: tuple[Expert, ...]

    def __post_init__(self) -> None:
        if not self.experts:
            raise ConfigError("no expert was given: at least one Expert(expert, anti, weight) is needed.")

    @property
    def powers(self) -> tuple[tuple[StepPrior, float], ...]:
        """(model, power): experts at +weight, anti-experts at −weight."""
        return tuple(p for e in self.experts for p in ((e.expert, e.weight), (e.anti, -e.weight)) if e.weight)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Σ weight · log ratio in nats, float64; −inf where impossible, never NaN."""
        total = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        impossible = torch.zeros_like(total, dtype=torch.bool)
        endless = torch.zeros_like(impossible)
        powers: dict[int, tuple[StepPrior, float]] = {}
        for model, power in self.powers:
            powers[id(model)] = (model, powers.get(id(model), (model, 0.0))[1] + power)
        for model, power in powers.values():
            log_p = model.score(prompts, completions).sum(-1)
            never = torch.isneginf(log_p)
            total += power * log_p.masked_fill(never, 0.0)
            if power > 0:
                impossible |= never
            elif power < 0:
                endless |= never
        self._check(prompts, completions, endless & ~impossible)
        return total.masked_fill(impossible | endless, -torch.inf)

    def _check(self, prompts: Prompts, completions: Completions, endless: Tensor) -> None:
        """An infinite ratio is harmless where the base cannot say the reply: such a reply is in no product."""
        if not bool(endless.any()):
            return
        rows = completions.rows(endless)
        said = torch.isfinite(self.base.score(prompts, rows).sum(-1))
        if bool(said.any()):
            text = prompts.codec.decode(rows.tokens()[int(said.nonzero()[0])])
            raise DegeneracyError(
                f"the reply {text!r} is possible under the base and impossible under an anti-expert: its ratio is "
                "infinite, so no product exists. Do not cut an anti-expert to top-k or top-p, or cut the base as well."
            )

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The same of what has been said so far."""
        return self.log_lik(prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """experts: the nats."""
        return {"experts": self.log_lik(prompts, completions)}

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """log_lik and readings from one look."""
        nats = self.log_lik(prompts, completions)
        return nats, {"experts": nats}
