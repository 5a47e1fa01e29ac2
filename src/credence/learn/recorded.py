"""Recorded replies as what a learner recalls: comparisons, labels and demonstrations with their nats under the prior.

What the judges said rides in the readings, for it is evidence, and β beside it: no learner of preferences has one.
Nothing is known of what recorded replies were drawn from, so log q is the prior's, and no figure of these batches rests
on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.protocols import Batch, Prior
from credence.core.types import Completions, Prompts
from credence.evidence.comparisons import Comparisons
from credence.learn.losses.preference import BETA, VOTES
from credence.learn.losses.recorded import LIKED
from credence.prior.agreement import same_vocabulary


@dataclass(frozen=True)
class OnRecords:
    """Settings of every learner of recorded replies: it draws none.

    Args:
        prompts: a step.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.
    """

    prompts: int = 16
    lr: float = 1e-4
    warmup: int = 5

    def __post_init__(self) -> None:
        self.at_least_one("prompts", self.prompts)

    def at_least_one(self, name: str, value: int) -> None:
        """Refuse a step of nothing.

        Raises:
            ConfigError: names the setting.
        """
        if value < 1:
            raise ConfigError(f"{type(self).__name__}({name}={value}): at least one is needed.")

    @property
    def on_policy(self) -> bool:
        """It recalls stored replies."""
        return False

    @property
    def needs(self) -> frozenset[str]:
        """What the readings carry."""
        return frozenset()


@dataclass(frozen=True)
class OnPairs(OnRecords):
    """Two rows a prompt."""

    @property
    def group(self) -> int:
        """Both of them."""
        return 2


def stored_comparisons(prior: Prior, comparisons: Comparisons, beta: float) -> Batch:
    """Comparisons for DPO and IPO; train on `comparisons.prompts`.

    Args:
        prior: π0 of the policy that will learn.
        comparisons: who won.
        beta: logits of preference per nat (DPO), winning probability per nat (IPO): small is strong evidence.

    Raises:
        ConfigError: beta, another vocabulary, or a reply that is too long for the prior or impossible under it.

    Cost: one scoring pass over the replies.
    """
    readings = {VOTES: comparisons.votes.flatten().double(), BETA: _constant(beta, 2 * len(comparisons))}
    return _stored(prior, comparisons.prompts, comparisons.replies, readings)


def stored_labels(prior: Prior, prompts: Prompts, replies: Completions, liked: Sequence[bool], beta: float) -> Batch:
    """Labelled replies for KTO, each beside the next example's to another prompt, which measures the drift.

    Args:
        prior: π0 of the policy that will learn.
        prompts: N.
        replies: N rows, row i answers prompt i.
        liked: N labels.
        beta: logits per nat.

    Raises:
        ConfigError: as stored_comparisons, or all replies answer one prompt.
        ShapeError: other than one reply and one label a prompt.

    Cost: one scoring pass over 2N replies.
    """
    n = len(prompts)
    if replies.prompt.tolist() != list(range(n)) or len(liked) != n:
        raise ShapeError(f"{n} prompts, {len(replies)} replies, {len(liked)} labels: one each, in order, is needed.")
    if len(set(prompts.ids)) < 2:
        raise ConfigError(
            "every labelled reply answers the same prompt: KTO measures the drift on replies to other prompts. Add "
            "such, or pair the replies and use DPO."
        )
    other = [next(j % n for j in range(i + 1, i + n) if prompts.ids[j % n] != prompts.ids[i]) for i in range(n)]
    order = torch.tensor([k for i in range(n) for k in (i, other[i])])
    rows = replies.rows(order)
    rows = Completions(rows.ids, rows.mask, rows.ended, torch.arange(n).repeat_interleave(2))
    label = torch.tensor([x for like in liked for x in (1.0 if like else -1.0, 0.0)], dtype=torch.float64)
    return _stored(prior, prompts, rows, {LIKED: label, BETA: _constant(beta, 2 * n)})


def stored_demonstrations(prior: Prior, prompts: Prompts, replies: Completions) -> Batch:
    """Replies to imitate, for SFT.

    Args:
        prior: π0 of the policy that will learn.
        prompts: B.
        replies: at least one row a prompt.

    Raises:
        ConfigError: as stored_comparisons.

    Cost: one scoring pass over the replies.
    """
    return _stored(prior, prompts, replies, {})


def _constant(beta: float, rows: int) -> Float[Tensor, " R"]:
    if not (beta > 0 and math.isfinite(beta) and math.isfinite(1 / beta)):
        raise ConfigError(
            f"beta={beta}: logits of preference per nat must be finite and above 0, and so must 1/beta. 0.1 is what "
            "DPO is often used with; it says that one nat of log π/π0 moves the judges by a tenth of a logit."
        )
    return torch.full((rows,), beta, dtype=torch.float64)


def _stored(prior: Prior, prompts: Prompts, rows: Completions, readings: dict[str, Tensor]) -> Batch:
    same_vocabulary(prompts.codec, prior.codec, ("recorded prompts", "prior"))
    longest = int(rows.lengths.max())
    if longest > prior.horizon:
        raise ConfigError(
            f"a recorded reply has {longest} tokens and the prior's horizon is {prior.horizon}: raise it to "
            f"{longest}, or leave longer replies out."
        )
    log_prior = prior.score(prompts, rows)
    lost = torch.isneginf(log_prior.sum(-1)).nonzero().flatten().tolist()
    if lost:
        said = prompts.codec.decode(rows.tokens()[lost[0]])
        raise ConfigError(
            f"{len(lost)} recorded replies are impossible under the prior, so log π/π0 does not exist for them; the "
            f"first: {str(said)[:60]!r}. Leave them out, or take a prior that can say them (no top_k or top_p)."
        )
    zero = torch.zeros(len(rows), dtype=torch.float64, device=log_prior.device)
    carried = {name: values.to(log_prior.device) for name, values in readings.items()}
    return Batch(prompts, rows, log_prior, log_prior, zero, readings=carried)
