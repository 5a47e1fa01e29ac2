"""A Bradley–Terry reward model as evidence: comparisons in, r/β nats out, by the belief of `evidence.feedback`.

    P(x ≻ x' | c) = σ(θ·(φ(c,x) − φ(c,x')))      θ ~ N(0, τ²/d)      the posterior of θ is Laplace's

φ is any `Features`: a frozen model's hidden states (prior.features.PooledHidden) or an embedder's vectors
(ReplyVectors), both centred per prompt (Centred), since comparisons identify r only up to a constant a prompt. The
reward's unit is a logit of preference and β is logits per nat, the same β as in `learn.recorded.stored_comparisons`:
what DPO trains towards directly, every other engine reaches through this evidence, as far as θ·φ can say what the
judges want.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.evidence.comparisons import Comparisons
from credence.evidence.feedback import Features, Head, Opinions, fit_head

AT_ONCE = 32
"""Comparisons whose replies are read at once."""


def opinions(comparisons: Comparisons, features: Features) -> Opinions:
    """Comparisons as what a head is fitted on: each side that won votes, by their number.

    Cost: the features of all replies.
    """
    gaps: list[Tensor] = []
    for begin in range(0, len(comparisons), AT_ONCE):
        part = comparisons.take(range(begin, min(begin + AT_ONCE, len(comparisons))))
        phi = features(part.prompts, part.replies).double()
        gaps.append(phi[0::2] - phi[1::2])
    gap = torch.cat(gaps)
    pairs, votes = torch.cat([gap, -gap]), comparisons.votes.T.flatten().double()
    none = gap[:0]
    return Opinions(none, torch.zeros(0, dtype=torch.bool), pairs[votes > 0], votes[votes > 0])


def bootstrap(
    found: Opinions, scale: Float[Tensor, " d"], key: Key, members: int, tau: float = 3.0
) -> tuple[Head, ...]:
    """Heads fitted to as many opinions, drawn anew with replacement: an ensemble whose spread no Laplace assumes.

    Args:
        found: all opinions.
        scale: as fit_head's.
        key: of the draws.
        members: at least 2.
        tau: as fit_head's.

    Raises:
        ConfigError: fewer than 2 members, or no opinion.
    """
    if members < 2:
        raise ConfigError(f"members={members}: an ensemble of at least 2 is needed.")
    heads: list[Head] = []
    for m in range(members):
        drawn = torch.from_numpy(key.fold("member", m).generator().integers(0, max(1, len(found)), len(found)))
        heads.append(fit_head(found.weighted(torch.bincount(drawn, minlength=len(found)).double()), scale, tau))
    return tuple(heads)


@dataclass(eq=False)
class OneLook:
    """Features that remember the rows they saw last, so that the members of an ensemble cost one look together."""

    features: Features
    _last: tuple[Prompts, Completions, Tensor] | None = field(default=None, repr=False)

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """φ(c, x) of each row."""
        last = self._last  # read once: another thread may put its own in between
        if last is None or last[0] is not prompts or last[1] is not completions:
            last = prompts, completions, self.features(prompts, completions)
            self._last = last
        return last[2]


def agreement(head: Head, comparisons: Comparisons, features: Features) -> tuple[float, float]:
    """Share of judgements that the mean reward agrees with (half for a draw), and their mean log-likelihood in nats.

    −log 2 is a coin. On comparisons that the head was not fitted on, this is what the reward model is worth.
    """
    return agreed(head, opinions(comparisons, features))


def agreed(head: Head, found: Opinions) -> tuple[float, float]:
    """As `agreement`, of comparisons whose features are known already."""
    reward, _ = head.reward(found.pairs)
    votes = found.weights
    right = (1 + torch.sign(reward)) / 2
    told = torch.nn.functional.logsigmoid(reward)
    return float((votes * right).sum() / votes.sum()), float((votes * told).sum() / votes.sum())
