"""A helpdesk that knows how sure it is: a belief over the questions it can answer, moved by every utterance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.belief import Belief
from credence.core.errors import ConfigError
from credence.dialogue.knowledge import Entry, Knowledge
from credence.dialogue.smalltalk import choice, phrase, small_talk
from credence.evidence.embedding import Embedder

NOTHING = "(nothing fits)"
"""The hypothesis that the user asks something which the knowledge does not hold."""

SHARPNESS = 100.0
"""Nats per unit of cosine before tempering: e5 was trained with exp(cosine/0.01) as its likelihood of a match."""

READ = 600
"""Characters of an answer that are compared with what was asked."""

LONGEST_UTTERANCE = 2000
"""Characters of an utterance that are listened to."""

_PICKED = 12.0
"""Nats by which a candidate gains on all others when the user picks it."""

_NEUTRAL = (
    "I had lunch with my sister yesterday.",
    "The train leaves at half past nine.",
    "She likes to sing in the evening.",
    "昨天我和姐姐一起吃了午饭。",
    "火车九点半开。",
    "她喜欢晚上唱歌。",
)
"""Everyday sentences that ask nothing: what cosine an unrelated text has with this knowledge, for this embedder."""


def readings(knowledge: Knowledge) -> tuple[list[str], list[str]]:
    """The texts that are embedded once: questions, and beginnings of answers."""
    return [entry.question for entry in knowledge.entries], [entry.answer[:READ] for entry in knowledge.entries]


@dataclass(frozen=True)
class Act:
    """What the helpdesk says.

    Attributes:
        kind: "answer" where one question is clearly meant; "clarify" where several may be; "unknown" where nothing
            fits; "talk" for a greeting, thanks or a farewell, which move no belief.
        text: the words, in the knowledge's language.
        entries: the entry answered, or the candidates of a clarifying question, likeliest first.
        entropy: of the belief, in nats.
    """

    kind: Literal["answer", "clarify", "unknown", "talk"]
    text: str
    entries: tuple[Entry, ...]
    entropy: float


@dataclass(frozen=True, eq=False)
class Helpdesk:
    """Answers from knowledge by Bayes' rule: p(entry | u_1..u_n) ∝ p(entry) Π_i L(u_i | entry)^tau.

    L(u | entry) = exp(100 · (cos(u, question) + cos(u, answer))) and L(u | nothing fits) = exp(100 · level): what an
    unrelated sentence would reach, plus a margin. tau and margin are fitted on held-out paraphrases by log-loss
    (dialogue/fitting.py; the defaults are those of Debian's FAQ in two languages, docs/knowledge.md).

    Attributes:
        knowledge: what it can answer.
        embedder: how utterances are read.
        tau: power of the likelihood.
        margin: how far, in summed cosine, a fitting entry must lie above unrelated text.
        sure: it answers where the likeliest entry has at least this probability; else it asks back.
        nothing: prior probability that nothing fits.

    Raises:
        ConfigError: a setting outside its range.

    Cost: one embedding of every question and answer when made (20 s of one core for Debian's 147; dialogue/vectors.py
    keeps them), then one an utterance.
    Tests: tests/unit/test_helpdesk.py, tests/e2e/test_ask.py.
    """

    knowledge: Knowledge
    embedder: Embedder
    tau: float = 1.1
    margin: float = 0.19
    sure: float = 0.6
    nothing: float = 0.1
    _questions: Float[Tensor, "K d"] = field(init=False, repr=False)
    _answers: Float[Tensor, "K d"] = field(init=False, repr=False)
    _level: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (self.tau > 0 and math.isfinite(self.tau) and math.isfinite(self.margin)):
            raise ConfigError(f"tau={self.tau}, margin={self.margin}: finite numbers are needed, tau above 0.")
        if not (0 < self.nothing < 1 and 0 < self.sure < 1):
            raise ConfigError(f"sure={self.sure}, nothing={self.nothing}: probabilities between 0 and 1 are needed.")
        entries = self.knowledge.entries
        if any(entry.name == NOTHING for entry in entries):
            raise ConfigError(
                f"an entry is called {NOTHING!r}, the name of the hypothesis that no entry fits. Rename it."
            )
        questions, answers = readings(self.knowledge)
        object.__setattr__(self, "_questions", self.embedder.embed(questions))
        object.__setattr__(self, "_answers", self.embedder.embed(answers))
        object.__setattr__(self, "_level", float(self.similarities(_NEUTRAL).median()))

    @property
    def background(self) -> float:
        """Summed cosine that an unrelated sentence has with an entry, the median of six sentences and all entries."""
        return self._level

    def similarities(self, utterances: Sequence[str]) -> Float[Tensor, "N K"]:
        """cos(u, question) + cos(u, answer), between −2 and 2, float64."""
        rows = self.embedder.embed([utterance[:LONGEST_UTTERANCE] for utterance in utterances]).double()
        return rows @ self._questions.double().T + rows @ self._answers.double().T

    def start(self) -> Belief:
        """Before anything was said: every entry alike, and `nothing` for none of them."""
        count = len(self.knowledge)
        each = math.log1p(-self.nothing) - math.log(count)
        names = (*(entry.name for entry in self.knowledge.entries), NOTHING)
        return Belief(names, torch.tensor([each] * count + [math.log(self.nothing)], dtype=torch.float64))

    def log_lik(self, utterances: Sequence[str]) -> Float[Tensor, "N H"]:
        """Untempered nats of each utterance under each entry and, last, under "nothing fits"; 0 is unrelated text."""
        above = self.similarities(utterances) - self._level
        none = torch.full((len(utterances), 1), self.margin, dtype=torch.float64)
        return SHARPNESS * torch.cat([above, none], 1)

    def listen(self, belief: Belief, utterance: str, asked: Act | None = None) -> Belief:
        """The belief after an utterance; small talk and empty messages leave it as it is.

        Args:
            belief: before.
            utterance: what the user said.
            asked: the clarifying question that it answers, so that "the second" or 都不是 is understood.
        """
        if asked is not None and asked.kind == "clarify" and asked.entries:
            picked = choice(utterance, len(asked.entries))
            if picked is not None:
                return belief.update(self._picked(belief, asked, picked))
        _, rest = small_talk(utterance)
        return belief.update(self.log_lik([rest])[0], tau=self.tau) if rest else belief

    def _picked(self, belief: Belief, asked: Act, picked: int) -> Float[Tensor, " H"]:
        offered = [entry.name for entry in asked.entries]
        nats = torch.zeros(len(belief), dtype=torch.float64)
        for index, name in enumerate(belief.hypotheses):
            if (name != offered[picked - 1]) if picked else (name in offered):
                nats[index] = -_PICKED
        return nats

    def act(self, belief: Belief) -> Act:
        """What to say, knowing this: the answer, a question back, or that nothing fits."""
        language, entropy = self.knowledge.language, belief.entropy()
        if belief.updates == 0:
            return Act("clarify", phrase("open", language), (), entropy)
        if belief.probability(NOTHING) >= 0.5:
            said = phrase("unknown", language, source=self.knowledge.source, count=len(self.knowledge))
            return Act("unknown", said, (), entropy)
        likely = [(self.knowledge.entry(name), p) for name, p in belief.top(4) if name != NOTHING][:3]
        best, log_p = likely[0]
        if log_p >= math.log(self.sure):
            return Act("answer", best.answer, (best,), entropy)
        close = [entry for entry, p in likely if p >= log_p - math.log(20)]
        entries = tuple(close if len(close) > 1 else [entry for entry, _ in likely[:2]])
        choices = "\n".join(f"{n}. {entry.question}" for n, entry in enumerate(entries, 1))
        return Act("clarify", phrase("clarify", language, choices=choices), entries, entropy)

    def before(self, belief: Belief, asked: Act | None) -> Belief:
        """The belief to which the next utterance is added: the prior again, once a question is done with."""
        return self.start() if asked is not None and asked.kind in ("answer", "unknown") else belief

    def reply(self, belief: Belief, utterance: str, asked: Act | None = None) -> tuple[Belief, Act]:
        """One turn: the belief after it, and what to say.

        After an answer, or after nothing was found, the next question starts from the prior; after a clarifying
        question the evidence adds up.

        Args:
            belief: before.
            utterance: what the user said.
            asked: what the helpdesk said last.
        """
        kind, rest = small_talk(utterance)
        picks = asked is not None and asked.kind == "clarify" and choice(utterance, len(asked.entries)) is not None
        belief = self.before(belief, asked)
        if kind is not None and not rest and not picks:
            return belief, Act("talk", phrase(kind, self.knowledge.language), (), belief.entropy())
        belief = self.listen(belief, utterance, asked)
        return belief, self.act(belief)

    def with_settings(self, tau: float, margin: float) -> "Helpdesk":
        """The same helpdesk with other fitted settings."""
        return replace(self, tau=tau, margin=margin)
