"""Evidence that a reply came to its own end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable


@dataclass(frozen=True)
class Ended(Composable):
    """0 nats for a reply that ended, `cut` nats for one that the horizon cut.

    A finite cut keeps every divergence finite; cut = -inf is a hard constraint, legal for engines that draw.
    """

    cut: float = -3.0

    def __post_init__(self) -> None:
        if math.isnan(self.cut) or self.cut > 0:
            raise ConfigError(f"Ended(cut={self.cut}): nats of at most 0 are needed (-inf forbids a cut reply).")

    @property
    def max_log_lik(self) -> float:
        """Largest possible nats."""
        return 0.0

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """0 or `cut`."""
        zero = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        return torch.where(completions.ended, zero, zero + self.cut)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Nothing is known before the end: 0."""
        return torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """1 where ended."""
        return {"ended": completions.ended.double()}
