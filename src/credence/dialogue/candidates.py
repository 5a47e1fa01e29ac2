"""A law over finitely many answers: retrieval proposes, a language model scores, and a small head is learnt.

For languages that the model at hand cannot write. The base measure of a state has K candidates, found by likeness:

    m(x) = (1 − ρ)/K + ρ · softmax_K(likeness/temperature)          the prior: CandidatePrior
    π(x) ∝ m(x) · exp(w · features(x))                              the policy: CandidatePolicy, w = 0 at the start

Both are Priors whose replies are one token, the candidate's number, so agent, gradient and KL are those of a language
model; here KL(π‖m) is to m, exactly what is served. Source: SCIENCE 6.5. Tests: tests/unit/test_candidates.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss
from credence.core.types import Completions, Info, Prompts
from credence.dialogue.grounding import Retriever, asked, shortened
from credence.dialogue.talk import Message, spoken_by
from credence.prior.steps import sample_by_steps, score_by_steps
from credence.prior.train import Trainer, scored

FEATURES = ("likeness", "length", "said_before", "fluency")
"""likeness of question and entry, and fluency, both standardised over the K candidates; length in hundreds of
characters; said_before, 1 for what the agent has said in this conversation."""

_STANDARD = (FEATURES.index("likeness"), FEATURES.index("fluency"))

Fluency = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, answers) -> nats a character of each answer after the question, under a language model."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """One answer that can be given: `text`, of entry number `entry`."""

    text: str
    entry: int


def versions(answers: Sequence[str], chars: Sequence[int]) -> tuple[Candidate, ...]:
    """Each answer cut to each of these lengths at a sentence's end; equal texts of one answer stand once."""
    out: list[Candidate] = []
    for entry, answer in enumerate(answers):
        out += [Candidate(text, entry) for text in dict.fromkeys(shortened(answer, n) for n in chars)]
    return tuple(out)


@dataclass(frozen=True)
class CandidateCodec:
    """States as JSON, a character a token; candidates by number."""

    candidates: tuple[Candidate, ...]

    def decode(self, ids: Sequence[int]) -> str:
        """The candidate's text."""
        return self.candidates[ids[0]].text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token as text: a whole answer."""
        return [self.candidates[i].text for i in ids]

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        """Prompts of conversations (lists of messages) or of single questions."""
        talks = [[{"role": "user", "content": g}] if isinstance(g, str) else list(g) for g in given]
        ids = tuple(tuple(map(ord, json.dumps(t, ensure_ascii=True))) for t in talks)
        return Prompts(ids, tuple(given), self, columns or {})


@dataclass(frozen=True, eq=False)
class Table:
    """What a state offers: candidate numbers (K,), log m (K,) in nats; what is read of them when it is asked for."""

    index: Int[Tensor, " K"]
    log_m: Float[Tensor, " K"]
    read: Callable[[], Float[Tensor, "K F"]] = field(repr=False)

    @cached_property
    def raw(self) -> Float[Tensor, "K F"]:
        """(K, F) cosine, hundreds of characters, 0 or 1, nats a character. A model scores here: m alone needs none."""
        return self.read()

    @cached_property
    def features(self) -> Float[Tensor, "K F"]:
        """(K, F) what the weights multiply: likeness and fluency standardised, the others as they are."""
        return torch.stack([_standard(c) if i in _STANDARD else c for i, c in enumerate(self.raw.unbind(-1))], -1)


@dataclass(eq=False)
class CandidatePrior:
    """The base measure m over the K candidates that a state calls for; see the module.

    Args:
        candidates: all that can be said.
        retriever: over the entries that they belong to.
        count: K.
        rho: share of m that goes by likeness; the rest is spread evenly.
        temperature: of the likeness soft-max, in units of cosine.
        fluency: how well a language model finds each candidate after the question; None leaves that feature 0.

    Raises:
        ConfigError: a setting out of range.
    """

    candidates: tuple[Candidate, ...]
    retriever: Retriever
    count: int = 8
    rho: float = 0.5
    temperature: float = 0.1
    fluency: Fluency | None = None
    horizon: int = 1
    _memory: dict[Ids, Table] = field(default_factory=dict[Ids, Table], repr=False)

    def __post_init__(self) -> None:
        if not (1 <= self.count <= len(self.candidates) and 0 <= self.rho <= 1 and self.temperature > 0):
            raise ConfigError(
                f"count={self.count} of {len(self.candidates)} candidates, rho={self.rho}, "
                f"temperature={self.temperature}: 1 to {len(self.candidates)}, 0 to 1, and above 0 are needed."
            )

    @property
    def codec(self) -> CandidateCodec:
        """Conversations in, texts out."""
        return CandidateCodec(self.candidates)

    @property
    def ends(self) -> frozenset[int]:
        """Every candidate is a whole reply."""
        return frozenset(range(len(self.candidates)))

    def table(self, ids: Ids) -> Table:
        """What the state offers; remembered."""
        if ids not in self._memory:
            self._memory[ids] = self._table(json.loads("".join(map(chr, ids))))
        return self._memory[ids]

    def _table(self, talk: list[Message]) -> Table:
        text, before = asked(talk), set(spoken_by(talk, "assistant"))
        by_entry = self.retriever.likeness(text)
        likeness = by_entry[torch.tensor([c.entry for c in self.candidates])]
        index = torch.argsort(likeness, descending=True, stable=True)[: self.count]
        close = likeness[index]
        even = torch.full_like(close, (1 - self.rho) / len(index))
        log_m = torch.log(even + self.rho * torch.softmax(close / self.temperature, -1))
        chosen = [self.candidates[i].text for i in index.tolist()]

        def read() -> Float[Tensor, "K F"]:
            fluent = [0.0] * len(chosen) if self.fluency is None else list(self.fluency(text, chosen))
            rows = [[len(c) / 100, float(c in before), nats] for c, nats in zip(chosen, fluent, strict=True)]
            return torch.cat([close[:, None], torch.tensor(rows, dtype=torch.float64)], -1)

        return Table(index, log_m, read)

    def spread(self, log_p: Float[Tensor, " K"], table: Table) -> Float[Tensor, " V"]:
        """A law over the K candidates as logits over all: −inf for the others."""
        return torch.full((len(self.candidates),), -torch.inf, dtype=torch.float64).scatter(0, table.index, log_p)

    def logits(self, ids: Ids) -> Float[Tensor, " V"]:
        """log m over all candidates."""
        table = self.table(ids)
        return self.spread(table.log_m, table)

    def start(self, prompts: Prompts, n: int) -> list[Ids]:
        """State: the prompt of each row."""
        return [ids for ids in prompts.ids for _ in range(n)]

    def next_logits(self, state: list[Ids]) -> Float[Tensor, "rows V"]:
        """(rows, candidates) nats."""
        return torch.stack([self.logits(ids) for ids in state])

    def extend(self, state: list[Ids], token: Int[Tensor, " rows"]) -> list[Ids]:
        """Nothing follows a candidate."""
        return state

    def take(self, state: list[Ids], rows: Int[Tensor, " k"]) -> list[Ids]:
        """The rows at these positions."""
        return [state[r] for r in rows.tolist()]

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log m of each candidate in nats."""
        return score_by_steps(self, prompts, completions)


def _standard(values: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if float(spread) > 1e-9 else torch.zeros_like(values)


@dataclass(eq=False)
class CandidatePolicy:
    """π ∝ m · exp(w · features): starts as the prior; build with candidate_policy."""

    prior: CandidatePrior
    weights: nn.Parameter
    trainer: Trainer

    @property
    def codec(self) -> CandidateCodec:
        """The prior's."""
        return self.prior.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.prior.ends

    @property
    def horizon(self) -> int:
        """One token: a candidate."""
        return self.prior.horizon

    def law(self, ids: Ids) -> Float[Tensor, " V"]:
        """log π over all candidates, with gradient."""
        table = self.prior.table(ids)
        return self.prior.spread(torch.log_softmax(table.log_m + table.features @ self.weights, -1), table)

    def named(self) -> dict[str, float]:
        """The weights by feature: nats a unit of each."""
        return {name: float(w) for name, w in zip(FEATURES, self.weights.detach().tolist(), strict=True)}

    def start(self, prompts: Prompts, n: int) -> list[Ids]:
        """State: the prompt of each row."""
        return self.prior.start(prompts, n)

    @torch.no_grad()
    def next_logits(self, state: list[Ids]) -> Float[Tensor, "rows V"]:
        """(rows, candidates) nats."""
        return torch.stack([self.law(ids) for ids in state])

    def extend(self, state: list[Ids], token: Int[Tensor, " rows"]) -> list[Ids]:
        """Nothing follows a candidate."""
        return state

    def take(self, state: list[Ids], rows: Int[Tensor, " k"]) -> list[Ids]:
        """The rows at these positions."""
        return self.prior.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each candidate in nats."""
        return score_by_steps(self, prompts, completions)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch."""
        rows = [self.law(batch.prompts.ids[b]) for b in batch.completions.prompt.tolist()]
        log_pi = torch.stack(rows).gather(1, batch.completions.ids)
        scalar, info = loss(scored(batch, torch.where(batch.completions.mask, log_pi, 0.0)))
        scalar.backward()
        return info

    def step(self, lr: float) -> Info:
        """One Adam step."""
        return self.trainer.step(lr)

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights, in the order of FEATURES."""
        return {"weights": self.weights.detach().clone()}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers; not copied."""
        return self.trainer.moments(("weights",))

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put weights back; the optimiser starts afresh, or from these moments."""
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        self.trainer.recall(("weights",), moments or {})


def candidate_policy(prior: CandidatePrior, clip: float = 10.0) -> CandidatePolicy:
    """A policy that starts as m."""
    weights = nn.Parameter(torch.zeros(len(FEATURES), dtype=torch.float64))
    return CandidatePolicy(prior, weights, Trainer([weights], clip=clip))
