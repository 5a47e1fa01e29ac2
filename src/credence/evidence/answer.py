"""Was the question answered? A reward from reference answers: likeness of meaning, and the facts that must be there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.evidence.calling import RewardFunction
from credence.evidence.embedding import Embedder
from credence.evidence.key_facts import Facts, KeyFacts

UNRELATED = 0.95
"""Quantile of the cosines between answers to different questions that counts as no likeness at all."""


@dataclass(frozen=True)
class Verdict:
    """Why an answer got its reward.

    Attributes:
        score: the reward, in [0, 1].
        similarity: calibrated likeness of meaning, in [0, 1].
        facts: the reference's key facts, found and missing; None where it states none.
    """

    score: float
    similarity: float
    facts: Facts | None


@dataclass(frozen=True, eq=False)
class AnswerCorrect:
    """Reward in [0, 1]: how much of a reference answer a completion gives.

    score = weight · similarity + (1 − weight) · share of key facts; similarity alone where the reference states none.
    similarity = (cos − floor)/(1 − floor), clipped: `floor` is what answers to different questions reach, so that an
    unrelated answer gets about 0. e5's raw cosine of such answers is 0.8, which reads like success.

    A reward function of the usual signature: `Reward(AnswerCorrect(embedder, floor), beta=0.2)` with a column `answer`
    in the prompts. The parts are reward functions too: `correct.similarity`, `correct.facts`; `Reward(correct, 0.2,
    parts=correct.parts)` reads them beside it. It measures agreement
    with the reference, not truth, and a completion that recites everything finds every fact: pair it with a length one.

    Attributes:
        embedder: of meanings.
        floor: cosine of unrelated answers; `calibrated` measures it.
        key_facts: what counts as a fact, and how much.
        weight: of similarity, in [0, 1].

    Raises:
        ConfigError: floor or weight out of range.

    Tests: tests/unit/test_answer.py; separation on Debian's FAQ in docs/knowledge.md.
    """

    embedder: Embedder
    floor: float = 0.0
    key_facts: KeyFacts = field(default_factory=KeyFacts)
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not (-1 <= self.floor < 1 and 0 <= self.weight <= 1):
            raise ConfigError(
                f"floor={self.floor}, weight={self.weight}: floor in [-1, 1) and weight in [0, 1] are needed."
            )

    @property
    def __name__(self) -> str:
        """What Reward calls its reading."""
        return "answer_correct"

    @property
    def parts(self) -> Mapping[str, RewardFunction]:
        """What the reward is made of, by name."""
        return {"similarity": self.similarity, "facts": self.facts}

    @classmethod
    def calibrated(cls, embedder: Embedder, answers: Sequence[str], weight: float = 0.5) -> "AnswerCorrect":
        """With the floor and the rarity of facts taken from answers to different questions, at least three of them.

        Raises:
            ConfigError: fewer than three answers.
        """
        if len(answers) < 3:
            raise ConfigError(
                f"{len(answers)} answers: at least three are needed to see what unrelated ones have in common."
            )
        rows = embedder.embed(answers).double()
        above = torch.triu_indices(len(answers), len(answers), 1)
        cosines = (rows @ rows.T)[above[0], above[1]]
        floor = min(float(torch.quantile(cosines, UNRELATED)), 0.999)
        return cls(embedder, floor, KeyFacts(answers), weight)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[str],
        answer: Sequence[str],
        **columns: Any,  # noqa: ANN401
    ) -> list[float]:
        """The reward of each completion against its reference."""
        return [verdict.score for verdict in self.judge(completions, answer)]

    def similarity(
        self,
        prompts: Sequence[Any],
        completions: Sequence[str],
        answer: Sequence[str],
        **columns: Any,  # noqa: ANN401
    ) -> list[float]:
        """The first part by itself: calibrated likeness of meaning."""
        return [verdict.similarity for verdict in self.judge(completions, answer)]

    def facts(
        self,
        prompts: Sequence[Any],
        completions: Sequence[str],
        answer: Sequence[str],
        **columns: Any,  # noqa: ANN401
    ) -> list[float]:
        """The second part by itself: the share of key facts, 1 where the reference states none."""
        return [1.0 if v.facts is None else v.facts.share for v in self.judge(completions, answer)]

    def judge(self, completions: Sequence[str], answer: Sequence[str]) -> list[Verdict]:
        """Both parts of each completion, with the facts found and missing.

        Raises:
            ContractError: not one reference a completion, or an empty reference.
        """
        if len(answer) != len(completions):
            raise ContractError(
                f"{len(answer)} reference answers for {len(completions)} completions: one each is needed."
            )
        for index, reference in enumerate(answer):
            if not str(reference or "").strip():
                raise ContractError(f"reference answer {index} is empty: there is nothing to compare with.")
        if not completions:
            return []
        likeness = self._likeness(completions, answer)
        return [
            self._verdict(text, reference, float(value))
            for text, reference, value in zip(completions, answer, likeness, strict=True)
        ]

    def _likeness(self, completions: Sequence[str], answer: Sequence[str]) -> Float[Tensor, " N"]:
        said, meant = self.embedder.embed(completions).double(), self.embedder.embed(answer).double()
        return (((said * meant).sum(1) - self.floor) / (1 - self.floor)).clamp(0, 1)

    def _verdict(self, text: str, reference: str, similarity: float) -> Verdict:
        if not text.strip():
            return Verdict(0.0, 0.0, self.key_facts.held("", reference))
        facts = self.key_facts.held(text, reference)
        share = similarity if facts is None else facts.share
        return Verdict(self.weight * similarity + (1 - self.weight) * share, similarity, facts)
