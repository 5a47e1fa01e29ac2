"""Hard or soft events about the text: contains, regex, length."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable


@dataclass(frozen=True, eq=False)
class Constraint(Composable):
    """0 nats where the event holds, `otherwise` nats where it does not.

    p* = π0(· | event) when otherwise = -inf: then Z is the event's probability. Build one with `contains`, `matches`
    or `between`; a text's event is tested on the decoded reply, a table's on its tuple of tokens.

    Args:
        holds: decoded completion -> bool.
        name: of the reading.
        otherwise: nats where the event fails; finite values keep reverse KL finite.
        lasting: a text for which it holds can be continued in no way for which it does not.
    """

    holds: Callable[[Any], bool]
    name: str
    otherwise: float = -math.inf
    lasting: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.otherwise) or self.otherwise >= 0:
            raise ConfigError(f"{self.name}: otherwise={self.otherwise} nats must lie below 0.")

    @property
    def max_log_lik(self) -> float:
        """Largest possible nats."""
        return 0.0

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """0 or `otherwise`."""
        held = self.readings(prompts, completions)[self.name]
        return torch.where(held > 0, 0.0, torch.tensor(self.otherwise, dtype=torch.float64, device=held.device))

    def settled(self, prompts: Prompts, completions: Completions) -> Bool[Tensor, " R"]:
        """Where a lasting event has come about."""
        if not self.lasting:
            return torch.zeros(len(completions), dtype=torch.bool, device=completions.ids.device)
        return self.readings(prompts, completions)[self.name] > 0

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """1 where the event holds."""
        held = [float(bool(self.holds(text))) for text in completions.texts(prompts.codec)]
        return {self.name: torch.tensor(held, dtype=torch.float64, device=completions.ids.device)}


def contains(*words: str, otherwise: float = -math.inf) -> Constraint:
    """At least one of these words stands in the reply; letter case does not matter."""
    if not words or any(not w for w in words):
        raise ConfigError(f"contains{words}: at least one word that is not empty is needed.")
    lowered = [w.lower() for w in words]
    name = f"contains {'|'.join(words)}"
    return Constraint(lambda text: any(w in text.lower() for w in lowered), name, otherwise, lasting=True)


def matches(pattern: str, otherwise: float = -math.inf) -> Constraint:
    """The regular expression is found in the reply."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"matches({pattern!r}): not a regular expression: {error}.") from error
    return Constraint(lambda text: compiled.search(text) is not None, f"matches {pattern}", otherwise)


def between(least: int = 0, most: int | None = None, otherwise: float = -math.inf) -> Constraint:
    """The reply has from `least` to `most` characters (tokens for a table)."""
    if least < 0 or (most is not None and most < least):
        raise ConfigError(f"between({least}, {most}): 0 <= least <= most is needed.")
    limit = math.inf if most is None else most
    return Constraint(lambda text: least <= len(text) <= limit, f"length {least}..{most or ''}", otherwise)
