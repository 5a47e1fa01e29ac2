"""Where evidence is settled nothing is left to guide: values are learnt and used up to there, and no further.

A reply that must hold a word is free once the word has been said. A value of prefixes that has to learn that too spends
most of what it can on telling the two apart; told by the evidence itself it learns what comes before.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Evidence, StepPrior
from credence.core.types import Codec, Completions, Prompts
from credence.evidence.product import settled
from credence.prior.steps import sample_by_steps, score_by_steps


def until_settled(evidence: Evidence, batch: Batch) -> Batch:
    """The draws of a batch up to the token that settles the evidence, that token included, for learners of values.

    A row that is cut so counts for them as one that has ended: its value is its log_lik. The law that a learner
    converges to is the same. Tested in tests/oracle/test_settled.py.

    Cost: a look of the evidence at each prefix.
    """
    rows = batch.completions
    over = torch.zeros_like(rows.mask)
    open_ = torch.arange(len(rows), device=rows.ids.device)
    for t in range(rows.mask.shape[1] - 1):
        open_ = open_[rows.mask[open_, t + 1]]
        if not len(open_):
            break
        some = rows.rows(open_)
        prefix = Completions(some.ids[:, : t + 1], some.mask[:, : t + 1], torch.zeros_like(some.ended), some.prompt)
        done = settled(evidence, batch.prompts, prefix)
        over[open_[done], t + 1 :] = True
        open_ = open_[~done]
    mask = rows.mask & ~over
    return replace(
        batch,
        completions=replace(rows, mask=mask),
        log_q=torch.where(mask, batch.log_q, 0.0),
        log_prior=torch.where(mask, batch.log_prior, 0.0),
    )


@dataclass(frozen=True, eq=False)
class _State:
    """The states of guide and prior, and what has been said."""

    guide: Any
    prior: Any
    prompts: Prompts
    said: Int[Tensor, "rows t"]
    owner: Int[Tensor, " rows"]
    over: Bool[Tensor, " rows"]


@dataclass(frozen=True, eq=False)
class UntilSettled:
    """The guide's law until the evidence is settled, then the prior's: a StepPrior, such as SMC's proposal.

    Args:
        guide: whom to follow first, of the prior's tokens and horizon.
        prior: whom afterwards.
        evidence: says when.

    Raises:
        ConfigError: another horizon or other ends.

    Cost: a step of both models a token, and a look of the evidence at each unfinished row that is not settled yet.
    Tested in tests/oracle/test_settled.py.
    """

    guide: StepPrior
    prior: StepPrior
    evidence: Evidence

    def __post_init__(self) -> None:
        if self.guide.horizon != self.prior.horizon or self.guide.ends != self.prior.ends:
            raise ConfigError(
                f"the guide has horizon {self.guide.horizon} and ends {sorted(self.guide.ends)}, the prior "
                f"{self.prior.horizon} and {sorted(self.prior.ends)}: they must be those of one language."
            )

    @property
    def codec(self) -> Codec:
        """The prior's."""
        return self.prior.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.prior.ends

    @property
    def horizon(self) -> int:
        """The prior's."""
        return self.prior.horizon

    def start(self, prompts: Prompts, n: int) -> _State:
        """Both read the prompts."""
        owner = torch.arange(len(prompts)).repeat_interleave(n)
        said = torch.zeros(len(owner), 0, dtype=torch.long)
        none = torch.zeros(len(owner), dtype=torch.bool)
        return _State(self.guide.start(prompts, n), self.prior.start(prompts, n), prompts, said, owner, none)

    def next_logits(self, state: _State) -> Float[Tensor, "rows V"]:
        """The guide's logits, or the prior's."""
        free = self.prior.next_logits(state.prior)
        return torch.where(
            state.over.to(free.device)[:, None], free, self.guide.next_logits(state.guide).to(free.dtype)
        )

    def extend(self, state: _State, token: Int[Tensor, " rows"]) -> _State:
        """Append one token a row, and look where the evidence is settled now."""
        said = torch.cat([state.said, token.to(state.said)[:, None]], 1)
        over = state.over.clone()
        looking = torch.nonzero(~over).flatten()
        if len(looking):
            whole = torch.ones(len(looking), said.shape[1], dtype=torch.bool)
            ended = torch.zeros(len(looking), dtype=torch.bool)
            rows = Completions(said[looking], whole, ended, state.owner[looking])
            over[looking] = settled(self.evidence, state.prompts, rows).cpu()
        return _State(
            self.guide.extend(state.guide, token), self.prior.extend(state.prior, token), state.prompts, said,
            state.owner, over,
        )  # fmt: skip

    def take(self, state: _State, rows: Int[Tensor, " k"]) -> _State:
        """The rows at these positions."""
        here = rows.cpu()
        return _State(
            self.guide.take(state.guide, rows), self.prior.take(state.prior, rows), state.prompts, state.said[here],
            state.owner[here], state.over[here],
        )  # fmt: skip

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log q of each token in nats. Cost: step by step."""
        return score_by_steps(self, prompts, completions)
