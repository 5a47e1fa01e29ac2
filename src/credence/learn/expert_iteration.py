"""Expert iteration: draw, keep the best, fit them, and again from the policy that came of it (RAFT, ReST, STaR).

Target: no posterior at this β. A round fits best-of-n of the law that it draws from by the forward KL, so k rounds that
begin at the prior end at best-of-n^k of it, and go on to the single best reply: β is nowhere. With a threshold the law
is the prior given log_lik > τ, a posterior of that event, and further rounds change nothing:

    loss = −mean_i w_i log π(x_i)      w_i = n P(x_i is the best of a random `of` of n draws), or 1[log_lik > τ]/share

Held by tests/oracle/test_weighted_fits.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Policy, Scored
from credence.core.types import Info, Prompts
from credence.evidence.product import measure
from credence.learn.losses.groups import sizes, sums
from credence.learn.losses.ranks import log_win
from credence.learn.losses.weighted import likelihood
from credence.learn.settings import Common
from credence.posterior.posterior import Posterior


@dataclass(frozen=True)
class ExpertIteration(Common):
    """Maximum likelihood on the best of stored draws; `rounds_of` draws them anew from the policy, round by round.

    Args:
        of: n of best-of-n, at most `group`; 0: by threshold.
        above: τ in nats of log_lik, looked at where of = 0.
        rounds: that are meant to be made from the prior; it only says what the target is.
        on_policy: draw from the policy in each step, a round a step; else recall stored draws.

    Cost: a step as DPG's without its baseline, and only on rows that are kept.

    Raises:
        ConfigError: of beyond the group or below 0, fewer than one round, prompt or draw.
    """

    of: int = 4
    above: float = 0.0
    rounds: int = 1
    on_policy: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.of <= self.group:
            raise ConfigError(f"of={self.of}, group={self.group}: the best of 1 to {self.group} draws, or 0 for above.")
        if self.rounds < 1:
            raise ConfigError(f"rounds={self.rounds}: at least one.")

    @property
    def target(self) -> str:
        """The law by name."""
        if self.on_policy:
            by_chance = f"replies above {self.above:g} nats, which of them by chance"
            return f"{'the single best reply' if self.of else by_chance}: not p*"
        if self.of:
            return f"best-of-{self.of**self.rounds} of the prior, on to the best reply: not p*"
        return f"the prior given log-likelihood above {self.above:g} nats: not p*"

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """See losses.weighted.likelihood. Info: also kept, the share of rows with weight.

        Raises:
            ShapeError: a prompt has fewer than `of` rows.
        """
        log_w = log_win(scored, self.of) if self.of else self._passed(scored)
        loss, info = likelihood(scored, log_w)
        return loss, {**info, "kept": float((~torch.isneginf(log_w)).double().mean())}

    def _passed(self, scored: Scored) -> Tensor:
        passed = (scored.log_lik > self.above).double()
        share = sums(passed, scored) / sizes(scored)
        return torch.log(passed) - torch.log(share.clamp(min=1e-300))[scored.prompt]


def drawn(policy: Policy, posterior: Posterior, prompts: Prompts, key: Key, n: int) -> Batch:
    """n draws a prompt of the policy as it stands, with their nats, to be recalled."""
    completions, log_q = policy.sample(key, prompts, n)
    log_lik, readings = measure(posterior.evidence, prompts, completions)
    return Batch(prompts, completions, log_q, posterior.prior.score(prompts, completions), log_lik, readings=readings)


def rounds_of(
    policy: Policy, posterior: Posterior, prompts: Prompts, key: Key, n: int, rounds: int,
    train: Callable[[int, Batch], object],
) -> None:  # fmt: skip
    """Draw n replies a prompt from the policy, train on them, and again.

    Args:
        policy: changed in place by `train`.
        posterior: whose evidence judges the draws.
        prompts: to draw on.
        key: round k draws with key.fold("round", k).
        n: draws a prompt and round.
        rounds: how many.
        train: called with the round's number from 1 and its rows: a `fit(..., stored=rows)`.

    Cost: n draws a prompt and round, beside the training.
    """
    for k in range(1, rounds + 1):
        train(k, drawn(policy, posterior, prompts, key.fold("round", k), n))
