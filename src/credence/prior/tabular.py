"""A policy that can be any law on the tree of an enumerable prior: one free row of logits for each prefix."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, Prior
from credence.core.types import Completions, Info, Prompts
from credence.prior.steps import laws_by_steps, sample_by_steps, score_by_steps
from credence.prior.table import TableCodec, TablePrior, Tokens
from credence.prior.train import Trainer, scored

Place = tuple[Tokens, Tokens]
"""A prompt and the reply so far: kept apart, since one prompt may begin with another."""


@dataclass(eq=False)
class TabularPolicy:
    """One free row of logits for each prefix of each prompt; build with tabular_policy.

    Attributes:
        values: (N,) a value of each prefix in nats, for learners that need "value"; None: it has none.
    """

    prior: TablePrior
    places: Mapping[Place, int]
    logits: nn.Parameter
    trainer: Trainer
    values: nn.Parameter | None = None

    @property
    def codec(self) -> TableCodec:
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

    def start(self, prompts: Prompts, n: int) -> list[Place | None]:
        """State: prompt and reply of each row; None once it has ended.

        Raises:
            ConfigError: a prompt that the policy was not built for.
        """
        for ids in prompts.ids:
            if (ids, ()) not in self.places:
                raise ConfigError(
                    f"the prompt {ids} has no rows in this policy: name it in tabular_policy(prior, prompts)."
                )
        return [(ids, ()) for ids in prompts.ids for _ in range(n)]

    @torch.no_grad()
    def next_logits(self, state: list[Place | None]) -> Float[Tensor, "rows V"]:
        """(rows, V) logits; whatever stands at rows that have ended."""
        return self.logits[torch.tensor([0 if s is None else self.places[s] for s in state])]

    def extend(self, state: list[Place | None], token: Int[Tensor, " rows"]) -> list[Place | None]:
        """Append one token a row."""
        return [
            None if s is None or t in self.ends else (s[0], (*s[1], t))
            for s, t in zip(state, token.tolist(), strict=True)
        ]

    def take(self, state: list[Place | None], rows: Int[Tensor, " k"]) -> list[Place | None]:
        """The rows at these positions."""
        return [state[r] for r in rows.tolist()]

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return score_by_steps(self, prompts, completions)

    def log_probs(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """The same with gradient, zero outside the mask. Cost: one row of the table a token of each distinct row."""
        place, token = self.locate(prompts, completions)
        return torch.where(completions.mask, torch.log_softmax(self.logits, -1)[place, token], 0.0)

    def locate(self, prompts: Prompts, completions: Completions) -> tuple[Int[Tensor, "R T"], Int[Tensor, "R T"]]:
        """The table's row before each token, and the token; (0, a token) outside the mask."""
        ids = torch.where(completions.mask, completions.ids, self.prior.vocab)
        code = completions.prompt.clone()  # one number a distinct row: the tree is small enough to be enumerated
        for column in ids.T:
            code = code * (self.prior.vocab + 1) + column
        codes, again = torch.unique(code, return_inverse=True)
        first = torch.zeros_like(codes).scatter_(0, again, torch.arange(len(code)))
        rows = torch.cat([completions.prompt[first, None], ids[first]], 1)
        place = torch.zeros(len(rows), ids.shape[1], dtype=torch.long)
        for r, (prompt, *reply) in enumerate(rows.tolist()):
            for t, token in enumerate(reply):
                if token < self.prior.vocab:
                    place[r, t] = self.places[prompts.ids[prompt], tuple(reply[:t])]
        return place[again], ids.clamp(max=self.prior.vocab - 1)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch."""
        columns = {"log_pi": self.log_probs(batch.prompts, batch.completions)}
        if "kl" in batch.needs:
            columns["kl"] = self.kl(batch.prompts, batch.completions, batch.prior or self.prior)
        if "value" in batch.needs:
            columns["value"] = self._value(batch.prompts, batch.completions)
        scalar, info = loss(scored(batch, **columns))
        scalar.backward()
        return info

    def kl(self, prompts: Prompts, completions: Completions, prior: Prior) -> Float[Tensor, "R T"]:
        """KL(π(·|s_t)‖π0(·|s_t)) of each token's place in nats, with gradient, zero outside the mask."""
        place, _ = self.locate(prompts, completions)
        laws = torch.stack(list(laws_by_steps(prior, prompts, completions)), 1)
        log_pi = torch.log_softmax(self.logits, -1)[place]
        ratio = torch.where(torch.isneginf(log_pi), 0.0, log_pi - laws)  # 0 · log 0 = 0, and so is its gradient
        terms = torch.exp(log_pi) * ratio
        return torch.where(completions.mask, terms.sum(-1), 0.0)

    def _value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        if self.values is None:
            raise ConfigError("this learner needs a value of prefixes: build the policy with value=True.")
        place, _ = self.locate(prompts, completions)
        return torch.where(completions.mask, self.values[place], 0.0)

    @torch.no_grad()
    def value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """v(s_t) before each token in nats, zero outside the mask.

        Raises:
            ConfigError: the policy was built without one.
        """
        return self._value(prompts, completions)

    def step(self, lr: float) -> Info:
        """One Adam step."""
        return self.trainer.step(lr)

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {"logits": self.logits} if self.values is None else {"logits": self.logits, "values": self.values}

    def state(self) -> dict[str, Tensor]:
        """A copy of the logits, and of the values where there are some."""
        return {name: x.detach().clone() for name, x in self._parameters().items()}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers; not copied."""
        return self.trainer.moments(tuple(self._parameters()))

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put logits and values back (values that are not named stay); the optimiser starts afresh, or from these."""
        with torch.no_grad():
            for name, x in self._parameters().items():
                x.copy_(state.get(name, x))
        self.trainer.recall(tuple(self._parameters()), moments or {})


def tabular_policy(prior: TablePrior, prompts: Prompts, clip: float = 1e9, value: bool = False) -> TabularPolicy:
    """A policy over the whole tree of these prompts, started at the prior.

    Args:
        prior: enumerable.
        prompts: all that it will ever be asked about.
        clip: largest gradient norm.
        value: with a value of each prefix, for learners that need one.

    Cost: one row of logits a prefix, Σ_{t<horizon} (vocabulary − ends)^t of them a prompt.
    """
    inner = [v for v in range(prior.vocab) if v not in prior.ends]
    places = [
        (given, reply)
        for given in dict.fromkeys(prompts.ids)
        for length in range(prior.horizon)
        for reply in product(inner, repeat=length)
    ]
    logits = nn.Parameter(torch.stack([prior.logits((*given, *reply)) for given, reply in places]))
    index = {place: i for i, place in enumerate(places)}
    values = nn.Parameter(torch.zeros(len(places), dtype=torch.float64)) if value else None
    trained = [logits] if values is None else [logits, values]
    return TabularPolicy(prior, index, logits, Trainer(trained, clip=clip), values)
