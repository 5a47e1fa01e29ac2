"""What a listener makes of a reply: how likely the model that heard it would be to say a given text. Bayes in reverse.

    log_lik(x) = τ · log p(u | asked(x))        0 at most, since p is a probability

u is what a good reply should bring to mind: the very question that was asked, the source of a summary, a keyword. With
u the prompt itself and the right model this is the channel of p(x | u) ∝ p(x) p(u | x).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Listener(Composable):
    """τ · log p(u | asked(prompt, reply)) nats under a second prompt of a model.

    Args:
        model: who listens; usually the prior's own model at temperature 1. Fixed: it is never trained.
        asked: (prompt as given, decoded reply) -> what the listener is asked, in the form that its codec renders.
        says: prompt as given -> tokens of u, an end token among them where u is to be all that is said.
        tau: power of the likelihood. Hundreds of tokens of u want one well below 1 (belief.temper fits it).
        name: of the reading, log p(u | asked(x)) in nats before τ.

    Raises:
        ConfigError: tau not finite and positive; a prompt for which u is empty.

    Cost: a scoring pass a distinct reply, each after its own prompt. Source: SCIENCE 6.1; Min et al. 2022
    (acl-long.365) for channels of language models. Tested against enumeration in tests/oracle/test_listener.py.
    """

    model: Prior
    asked: Callable[[Any, Any], Any]
    says: Callable[[Any], Tokens]
    tau: float = 1.0
    name: str = "listener"

    def __post_init__(self) -> None:
        if not (self.tau > 0 and math.isfinite(self.tau)):
            raise ConfigError(f"{self.name}: tau={self.tau}: a finite power above 0 is needed; 1 takes p(u | x) whole.")

    @property
    def max_log_lik(self) -> float:
        """0: a probability is at most 1."""
        return 0.0

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """τ · log p(u | asked(x)) in nats."""
        return self.tau * self._heard(prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """log p(u | asked(x)) in nats."""
        return {self.name: self._heard(prompts, completions)}

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """log_lik and readings from one look."""
        heard = self._heard(prompts, completions)
        return self.tau * heard, {self.name: heard}

    def _heard(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """log p(u | asked(x)) of each row; equal replies to one prompt are heard once."""
        if not len(completions):
            return torch.zeros(0, dtype=torch.float64)
        owner, texts = completions.prompt.tolist(), completions.texts(prompts.codec)
        place: dict[tuple[int, Any], int] = {}
        index = [place.setdefault((b, text), len(place)) for b, text in zip(owner, texts, strict=True)]
        wanted = {b: self._wanted(prompts.given[b]) for b in dict.fromkeys(owner)}
        heard = self.model.codec.prompts([self.asked(prompts.given[b], text) for b, text in place])
        rows = [wanted[b] for b, _ in place]
        width = max(map(len, rows))
        device = completions.ids.device
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        mask = torch.tensor([[t < len(row) for t in range(width)] for row in rows], device=device)
        ended = torch.tensor([row[-1] in self.model.ends for row in rows], device=device)
        said = Completions(ids, mask, ended, torch.arange(len(rows), device=device))
        return self.model.score(heard, said).sum(-1).double()[torch.tensor(index, device=device)]

    def _wanted(self, given: Any) -> Tokens:  # noqa: ANN401 - a prompt as its user wrote it
        tokens = tuple(self.says(given))
        if not tokens:
            raise ConfigError(f"{self.name}: nothing is to be heard for the prompt {given!r}: u has no token.")
        return tokens
