"""A value of prefixes with a number of its own for each, on an enumerable prior: the oracle's guide."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, Valued, ValueLoss
from credence.core.types import Completions, Info, Prompts
from credence.prior.steps import sample_by_steps, score_by_steps
from credence.prior.table import TableCodec, TablePrior
from credence.prior.tabular import Place, TabularPolicy, tabular_policy
from credence.prior.train import Trainer, scored, valued


@dataclass(eq=False)
class GuidedTable:
    """π(v|s) = π0(v|s) e^(Q(s,v) − V(s)), V(s) = log Σ_v π0(v|s) e^Q(s,v); build with `guided_table`.

    Attributes:
        start_law: the prior as a table, never trained.
        q: (N, V) Q of each prefix and next token, nats.
        v: (N,) a value of each prefix that is learnt by itself; the law does not use it.
        lagged: (N, V) Q of the target network.
        follow: share of the way that it goes towards Q after a step; 1: no target network.
    """

    start_law: TabularPolicy
    q: nn.Parameter
    v: nn.Parameter
    lagged: Tensor
    follow: float
    trainer: Trainer

    @property
    def codec(self) -> TableCodec:
        """The prior's."""
        return self.start_law.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.start_law.ends

    @property
    def horizon(self) -> int:
        """The prior's."""
        return self.start_law.horizon

    @property
    def places(self) -> Mapping[Place, int]:
        """The row of each prompt and reply so far."""
        return self.start_law.places

    def start(self, prompts: Prompts, n: int) -> list[Place | None]:
        """State: prompt and reply of each row; None once it has ended."""
        return self.start_law.start(prompts, n)

    @torch.no_grad()
    def next_logits(self, state: list[Place | None]) -> Float[Tensor, "rows V"]:
        """log π0 + Q."""
        rows = torch.tensor([0 if s is None else self.places[s] for s in state])
        return self._logits(self.q)[rows]

    def extend(self, state: list[Place | None], token: Int[Tensor, " rows"]) -> list[Place | None]:
        """Append one token a row."""
        return self.start_law.extend(state, token)

    def take(self, state: list[Place | None], rows: Int[Tensor, " k"]) -> list[Place | None]:
        """The rows at these positions."""
        return self.start_law.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return score_by_steps(self, prompts, completions)

    def _logits(self, q: Tensor) -> Tensor:
        return torch.log_softmax(self.start_law.logits.detach(), -1) + q

    def log_probs(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """The same with gradient, zero outside the mask."""
        place, token = self.start_law.locate(prompts, completions)
        return torch.where(completions.mask, torch.log_softmax(self._logits(self.q), -1)[place, token], 0.0)

    def log_value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Q of each row's last token, nats."""
        place, token = self.start_law.locate(prompts, completions)
        last = completions.lengths[:, None] - 1
        return self.q.detach()[place.gather(1, last), token.gather(1, last)].squeeze(1)

    def log_state(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """v of each unfinished row, nats."""
        return self.v.detach()[
            torch.tensor(
                [
                    self.places[prompts.ids[b], tuple(row)]
                    for b, row in zip(completions.prompt.tolist(), completions.tokens(), strict=True)
                ]
            )
        ]

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of a policy's loss on this batch."""
        columns = {"log_pi": self.log_probs(batch.prompts, batch.completions)}
        place, _ = self.start_law.locate(batch.prompts, batch.completions)
        if "kl" in batch.needs:
            log_pi, log_prior = (torch.log_softmax(x, -1) for x in (self._logits(self.q), self.start_law.logits))
            kl = torch.where(torch.isneginf(log_pi), 0.0, torch.exp(log_pi) * (log_pi - log_prior.detach())).sum(-1)
            columns["kl"] = torch.where(batch.completions.mask, kl[place], 0.0)
        if "value" in batch.needs:
            columns["value"] = torch.where(batch.completions.mask, self.v[place], 0.0)
        scalar, info = loss(scored(batch, **columns))
        scalar.backward()
        return info

    @torch.no_grad()
    def value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """v(s_t) before each token in nats, zero outside the mask."""
        place, _ = self.start_law.locate(prompts, completions)
        return torch.where(completions.mask, self.v[place], 0.0)

    def value_backward(self, batch: Batch, loss: ValueLoss) -> Info:
        """Accumulate the gradient of a value's loss on this batch."""
        scalar, info = loss(self.look(batch))
        scalar.backward()
        return info

    def look(self, batch: Batch) -> Valued:
        """What a value's loss sees of this batch."""
        place, token = self.start_law.locate(batch.prompts, batch.completions)
        mask = batch.completions.mask

        def on(values: Tensor) -> Tensor:
            return torch.where(mask, values, 0.0)

        return valued(
            batch,
            chosen=lambda: on(self.q[place, token]),
            soft=lambda: on(torch.logsumexp(self._logits(self.q), -1)[place]),
            ahead=lambda: on(torch.logsumexp(self._logits(self.lagged), -1)[place]),
            state=lambda: on(self.v[place]),
        )

    def step(self, lr: float) -> Info:
        """One Adam step; the target network follows."""
        info = self.trainer.step(lr)
        self.lagged = self.lagged + self.follow * (self.q.detach() - self.lagged)
        return info

    def state(self) -> dict[str, Tensor]:
        """A copy of both tables."""
        return {"q": self.q.detach().clone(), "v": self.v.detach().clone()}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers, and the target network."""
        return {**self.trainer.moments(("q", "v")), "lagged": self.lagged}

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put values back; optimiser and target network start afresh, or from these moments."""
        with torch.no_grad():
            self.q.copy_(state["q"])
            self.v.copy_(state["v"])
        self.lagged = (moments or {}).get("lagged", self.q.detach()).clone()
        self.trainer.recall(("q", "v"), moments or {})


def guided_table(prior: TablePrior, prompts: Prompts, follow: float = 1.0, clip: float = 1e9) -> GuidedTable:
    """Values of 0 nats on the whole tree of these prompts: the law starts as the prior.

    Args:
        prior: enumerable.
        prompts: all that it will ever be asked about.
        follow: as GuidedTable's.
        clip: largest gradient norm.

    Raises:
        ConfigError: follow outside (0, 1].

    Cost: as tabular_policy.
    """
    check_follow(follow)
    table = tabular_policy(prior, prompts)
    q, v = nn.Parameter(torch.zeros_like(table.logits)), nn.Parameter(torch.zeros(len(table.places)).double())
    return GuidedTable(table, q, v, q.detach().clone(), follow, Trainer([q, v], clip=clip, betas=(0.9, 0.99)))


def check_follow(follow: float) -> None:
    """Refuse a target network that cannot be.

    Raises:
        ConfigError: names the setting.
    """
    if not 0 < follow <= 1:
        raise ConfigError(f"follow={follow}: the share of the way that the target network goes a step, in (0, 1].")
