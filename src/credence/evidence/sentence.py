"""Evidence about one target sentence, on its very tokens, the end among them: hit or miss, and how near."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Exactly(Composable):
    """`hit` nats for the reply that is x*, token by token with its end, and `miss` nats for every other.

    hit = R/β and miss = 0 is the bounded reward R·1[x = x*]: p*(x*) = π0* e^{R/β}/(1 − π0* + π0* e^{R/β}).
    hit = 0 and miss = −inf is δ itself: log Z = log π0(x*). `mixture` gives (1 − ε)δ + επ0. Another segmentation of
    the same text is another reply. Tested by enumeration in tests/oracle/test_sentence.py.

    Args:
        tokens: x*, the end token last.
        hit: nats.
        miss: nats, below `hit`; −inf only for engines that draw, and forward KL.

    Raises:
        ConfigError: no token; hit not finite, or not above miss.
    """

    tokens: Tokens
    hit: float
    miss: float = 0.0

    def __post_init__(self) -> None:
        _needs_tokens(self.tokens)
        if not (math.isfinite(self.hit) and self.miss < self.hit):
            raise ConfigError(
                f"Exactly(hit={self.hit}, miss={self.miss}): finite nats above those of a miss are needed."
            )

    @property
    def max_log_lik(self) -> float:
        """Largest possible nats."""
        return self.hit

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """`hit` or `miss`."""
        held = self.readings(prompts, completions)["hit"]
        return torch.where(held > 0, held.new_tensor(self.hit), held.new_tensor(self.miss))

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """1 where the reply is x*."""
        return {"hit": _column([float(tuple(row) == self.tokens) for row in completions.tokens()], completions)}


def mixture(tokens: Tokens, log_prior: float, epsilon: float) -> Exactly:
    """(1 − ε)δ + επ0 as a posterior of the prior: log of its ratio to π0, so log Z = 0. Both KLs to it are finite.

    It is the bounded reward with R/β = log(1 + (1 − ε)/(ε π0*)), written so that it is normalised.

    Args:
        tokens: x*, the end token last.
        log_prior: log π0(x*) in nats.
        epsilon: share of the prior; at 0 the target is δ, whose miss is −inf.

    Raises:
        ConfigError: ε outside [0, 1), or a prior that cannot say x*.
    """
    if not 0 <= epsilon < 1:
        raise ConfigError(f"epsilon={epsilon}: a share in [0, 1) is needed; at 1 the target is the prior itself.")
    if not -math.inf < log_prior <= 0:
        raise ConfigError(
            f"log π0(x*) = {log_prior}: no posterior of this prior holds the sentence. It must be possible under π0."
        )
    kept = math.log(epsilon) if epsilon > 0 else -math.inf
    return Exactly(tokens, _log_add(math.log1p(-epsilon) - log_prior, kept), kept)


def _log_add(a: float, b: float) -> float:
    """log(e^a + e^b) for finite a."""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


@dataclass(frozen=True)
class Near(Composable):
    """−d(x, x*)/β nats, d the edit distance in tokens, the end among them: near misses count, a slope to climb.

    Tested in tests/unit/test_sentence.py.

    Args:
        tokens: x*, the end token last.
        beta: edits per nat.

    Raises:
        ConfigError: no token, or β or 1/β not finite and positive.
    """

    tokens: Tokens
    beta: float

    def __post_init__(self) -> None:
        _needs_tokens(self.tokens)
        if not (self.beta > 0 and math.isfinite(self.beta) and math.isfinite(1 / self.beta)):
            raise ConfigError(f"beta={self.beta}: edits per nat must be finite and above 0, and so must 1/beta.")

    @property
    def max_log_lik(self) -> float:
        """Largest possible nats."""
        return 0.0

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """−d/β."""
        return -self.readings(prompts, completions)["edits"] / self.beta

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """Edits to x*, and 1 where there is none."""
        edits = _column([float(edit_distance(row, self.tokens)) for row in completions.tokens()], completions)
        return {"edits": edits, "hit": (edits == 0).double()}


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Fewest insertions, deletions and substitutions that turn a into b. Cost: |a|·|b|."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def _column(values: list[float], completions: Completions) -> Float[Tensor, " R"]:
    return torch.tensor(values, dtype=torch.float64, device=completions.ids.device)


def _needs_tokens(tokens: Tokens) -> None:
    if not tokens:
        raise ConfigError("a target sentence of no token: give its tokens, the end token last.")
