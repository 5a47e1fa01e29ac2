"""Temperature, top-k and top-p as a map from priors to priors, so that what is scored is what is sampled."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import State, StepPrior
from credence.core.types import Codec, Completions, Prompts
from credence.prior.reading import Mapped, Reading, open_reading
from credence.prior.steps import Concurrent, sample_by_steps, score_by_steps

LogitMap = Callable[[Float[Tensor, "rows V"]], Float[Tensor, "rows V"]]


@runtime_checkable
class ScoresMapped(Protocol):
    """A prior with a fast scoring door that takes a map on its logits."""

    def score_mapped(self, prompts: Prompts, completions: Completions, to: LogitMap) -> Float[Tensor, "R T"]:
        """log-probability of each token after the map, in nats."""
        ...


@dataclass(frozen=True, eq=False)
class Reshaped:
    """π(v | s) ∝ π0(v | s)^(1/temperature) on the kept tokens; see `reshape`."""

    inner: StepPrior
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ConfigError(f"temperature={self.temperature}: a finite number above 0 is needed.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k}: at least one token must stay.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p}: a share in (0, 1] is needed.")

    @property
    def truncates(self) -> bool:
        """Whether some tokens become impossible, so that KL(p*‖π) = inf for a target that allows them."""
        return self.top_k is not None or (self.top_p is not None and self.top_p < 1)

    @property
    def codec(self) -> Codec:
        """The inner prior's."""
        return self.inner.codec

    @property
    def ends(self) -> frozenset[int]:
        """The inner prior's."""
        return self.inner.ends

    @property
    def horizon(self) -> int:
        """The inner prior's."""
        return self.inner.horizon

    @property
    def concurrent(self) -> bool:
        """As the inner prior."""
        return isinstance(self.inner, Concurrent) and self.inner.concurrent

    def map_logits(self, logits: Float[Tensor, "rows V"]) -> Float[Tensor, "rows V"]:
        """Temperature first, then top-k, then top-p: the order in which transformers' generate applies them."""
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = logits.sort(-1, descending=True)
            before = torch.softmax(ordered, -1).cumsum(-1) - torch.softmax(ordered, -1)
            drop = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= self.top_p)
            logits = logits.masked_fill(drop, -math.inf)
        return logits

    def start(self, prompts: Prompts, n: int) -> State:
        """The inner prior's state."""
        return self.inner.start(prompts, n)

    def next_logits(self, state: State) -> Float[Tensor, "rows V"]:
        """Reshaped logits."""
        return self.map_logits(self.inner.next_logits(state))

    def extend(self, state: State, token: Int[Tensor, " rows"]) -> State:
        """Append one token a row."""
        return self.inner.extend(state, token)

    def take(self, state: State, rows: Int[Tensor, " k"]) -> State:
        """The rows at these positions."""
        return self.inner.take(state, rows)

    def open(self, prompts: Prompts, n: int) -> Reading:
        """The inner prior's reading, reshaped."""
        return Mapped(open_reading(self.inner, prompts, n), self.map_logits)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats, of the reshaped law."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability in nats under the reshaped law; -inf for a token that was cut away."""
        if isinstance(self.inner, ScoresMapped):
            return self.inner.score_mapped(prompts, completions, self.map_logits)
        return score_by_steps(self, prompts, completions)


def reshape(
    prior: StepPrior, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Reshaped:
    """Return the prior at another temperature, or cut to its top-k or top-p tokens.

    The result is a prior like any other: its `score` gives exactly the law that its `sample` draws from (tested in
    tests/contract). top-k and top-p make tokens impossible: fine for sampling, but then KL(p*‖π) = inf, and a policy
    may not be built on it.

    Raises:
        ConfigError: temperature not finite and positive, top_k below 1, top_p outside (0, 1].
    """
    return Reshaped(prior, temperature, top_k, top_p)
