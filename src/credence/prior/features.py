"""Replies as numbers that a reward may depend on: what a frozen model makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.prior.agreement import same_vocabulary
from credence.prior.hf import LMPrior, trim

CENTRE_DRAWS = 16
"""Draws of the prior from which a prompt's centre is taken."""


@runtime_checkable
class Raw(Protocol):
    """Features that are not yet centred."""

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """(R, d)."""
        ...


@dataclass(frozen=True, eq=False)
class PooledHidden:
    """The mean of a frozen model's last hidden states after each token of a reply, (R, d) float64.

    The state after the last token is not needed to predict anything and not computed: a reply is read up to its last
    token but one; one of a single token by the state before it. Cost: a forward pass a reply.

    Raises:
        ConfigError: no reply, or replies in the tokens of another vocabulary, which mean nothing to this model.
    """

    lm: LMPrior

    @torch.no_grad()
    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """One row a reply."""
        if len(completions) == 0:
            raise ConfigError("no reply was given: there is nothing to read.")
        same_vocabulary(prompts.codec, self.lm.codec, ("replies", "reward model"))
        found: list[Tensor] = []
        order: list[Tensor] = []
        for rows in self.lm.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            read = part.mask.clone()
            read[:, 0] = part.lengths <= 1  # the state before the first token has read the prompt alone
            weight = read.double() / read.sum(-1, keepdim=True).clamp(min=1)
            found.append(torch.einsum("rt,rtd->rd", weight, self.lm.hidden(prompts, part).double()))
            order.append(rows)
        return torch.cat(found)[torch.argsort(torch.cat(order))]


@dataclass(frozen=True, eq=False)
class ReplyVectors:
    """Replies as an embedder sees them, (R, d) float64: it reads the text alone, in any language it knows."""

    embed: Callable[[Sequence[str]], Tensor]

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """One row a reply."""
        return self.embed([str(t) for t in completions.texts(prompts.codec)]).double()


@dataclass(eq=False)
class Centred:
    """Features minus their mean over draws of the prior at the same prompt, which are remembered.

    A reward is identified only up to a constant a prompt; centred like this its mean under the prior is about 0, so
    that it says how much better than usual a reply is. Tested in tests/unit/test_feedback_evidence.py.

    Args:
        raw: the features.
        prior: whose usual replies are the centre.
        key: of these draws: the same key, the same centre.
        draws: a prompt.

    Cost: `draws` draws and their features, once a prompt.
    """

    raw: Raw
    prior: Prior
    key: Key
    draws: int = CENTRE_DRAWS
    _seen: dict[tuple[int, ...], Tensor] = field(default_factory=lambda: dict[tuple[int, ...], Tensor]())

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """φ(c, x) of each row, centred per prompt."""
        found = self.raw(prompts, completions)
        centre = torch.stack([self.usual(prompts, b).mean(0) for b in range(len(prompts))])
        return found - centre[completions.prompt.to(centre.device)].to(found)

    def knows(self, ids: tuple[int, ...]) -> bool:
        """Whether the prior's replies to this prompt are there already."""
        return ids in self._seen

    def remember(self, ids: tuple[int, ...], usual: Float[Tensor, "n d"]) -> None:
        """Take these features of the prior's replies to a prompt, which an earlier process found."""
        self._seen[ids] = usual

    def usual(self, prompts: Prompts, b: int) -> Float[Tensor, "n d"]:
        """(draws, d) features of the prior's own replies to one prompt."""
        ids = prompts.ids[b]
        if ids not in self._seen:
            one = prompts.take([b])
            completions, _ = self.prior.sample(self.key.fold("centre", *ids), one, self.draws)
            self._seen[ids] = self.raw(one, completions)
        return self._seen[ids]

    def spread(self, prompts: Prompts) -> Float[Tensor, " d"]:
        """(d,) standard deviation of each feature over the prior's replies within prompts: one unit of it.

        A feature that hardly moves counts with a thousandth of the mean spread, so that none is divided by nothing.
        """
        inner = [self.usual(prompts, b) for b in range(len(prompts))]
        squares = torch.cat([(x - x.mean(0)) ** 2 for x in inner])
        free = max(1, len(squares) - len(inner))
        sd = (squares.sum(0) / free).sqrt()
        return sd.clamp(min=max(1e-3 * float(sd.mean()), 1e-12))


def language_model(prior: Prior) -> LMPrior:
    """The model inside a reshaped prior.

    Raises:
        ConfigError: there is none.
    """
    inner: Any = prior
    while not isinstance(inner, LMPrior):
        inner = getattr(inner, "inner", None)
        if inner is None:
            raise ConfigError(f"{type(prior).__name__} holds no language model: its hidden states cannot be read.")
    return inner
