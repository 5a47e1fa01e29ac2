"""Several given tokens in one pass, and from an earlier place again: what speculative sampling asks of its models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.protocols import StepPrior
from credence.core.types import Prompts


@runtime_checkable
class Reading(Protocol):
    """Rows of replies being read, each at its own place; reading from an earlier place forgets what stood behind."""

    @property
    def device(self) -> torch.device:
        """Where the logits come out."""
        ...

    def read(self, tokens: Int[Tensor, "rows S"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows S V"]:
        """Put tokens[:, i] at place at + i of each reply; returns the logits after each.

        Place −1 is the end of the prompt: `at` = −1 asks for the logits before the first token, and whatever token
        stands there is not looked at. Everything before `at` has been read already. What stood at `at` or behind is
        forgotten. Places from the horizon on do not exist: their tokens are not kept, and the logits after them, and
        after the last place, may be anything.
        """
        ...

    def take(self, rows: Int[Tensor, " k"]) -> None:
        """Go on with the rows at these positions alone."""
        ...


@runtime_checkable
class Rereads(Protocol):
    """A StepPrior with a fast door to several tokens at once; the plain one is `Walked`."""

    def open(self, prompts: Prompts, n: int) -> Reading:
        """B·n rows, prompt-major, before any token."""
        ...


def open_reading(prior: StepPrior, prompts: Prompts, n: int) -> Reading:
    """The prior's own reading, or one that walks its steps."""
    return prior.open(prompts, n) if isinstance(prior, Rereads) else Walked(prior, prompts, n)


class Walked:
    """A reading built on the steps of any StepPrior: each call walks the replies again from their prompts.

    Right for every prior, and fast for none. Cost: a start and one step a token of the longest reply so far, each call.
    """

    def __init__(self, prior: StepPrior, prompts: Prompts, n: int) -> None:
        self.prior = prior
        self.prompts = prompts.take([b for b in range(len(prompts)) for _ in range(n)])
        self.ids = torch.zeros(len(self.prompts), prior.horizon, dtype=torch.long, device=self.device)

    @property
    def device(self) -> torch.device:
        """The prior's, where it says so."""
        return getattr(self.prior, "device", torch.device("cpu"))

    def read(self, tokens: Int[Tensor, "rows S"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows S V"]:
        """See Reading. A row is walked no further than its own last place."""
        rows, width = tokens.shape
        place = at[:, None] + torch.arange(width, device=at.device)
        real = (place >= 0) & (place < self.prior.horizon)
        owner = torch.arange(rows, device=at.device)[:, None].expand_as(place)
        self.ids[owner[real], place[real]] = tokens[real]
        last = (at + width - 1).clamp(max=self.prior.horizon - 2)
        state, present = self.prior.start(self.prompts, 1), torch.arange(rows, device=at.device)
        logits = self.prior.next_logits(state)
        out = logits.new_zeros(rows, width, logits.shape[-1])
        for t in range(-1, self.prior.horizon - 1):
            asked = (at[present] <= t) & (t <= last[present])
            out[present[asked], t - at[present[asked]]] = logits[asked]
            on = torch.nonzero(last[present] > t).flatten()
            if len(on) == 0:
                break
            if len(on) < len(present):
                state, present = self.prior.take(state, on), present[on]
            state = self.prior.extend(state, self.ids[present, t + 1])
            logits = self.prior.next_logits(state)
        return out

    def take(self, rows: Int[Tensor, " k"]) -> None:
        """See Reading."""
        self.prompts, self.ids = self.prompts.take(rows.tolist()), self.ids[rows]


@dataclass(eq=False)
class Mapped:
    """A reading whose logits pass through a map: that of a reshaped prior."""

    inner: Reading
    to: Callable[[Float[Tensor, "rows V"]], Float[Tensor, "rows V"]]

    @property
    def device(self) -> torch.device:
        """The inner one's."""
        return self.inner.device

    def read(self, tokens: Int[Tensor, "rows S"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows S V"]:
        """See Reading."""
        logits = self.inner.read(tokens, at)
        return self.to(logits.flatten(0, 1)).view(logits.shape)

    def take(self, rows: Int[Tensor, " k"]) -> None:
        """See Reading."""
        self.inner.take(rows)
