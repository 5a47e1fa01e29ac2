"""The parts of a dialogue run, from checked settings: users, environment, prior and policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Evidence, Policy, StepPrior
from credence.dialogue.candidates import CandidatePrior, Fluency, candidate_policy, versions
from credence.dialogue.env import DialogueEnv
from credence.dialogue.goals import Goal, load_goals
from credence.dialogue.grounding import Facts, Grams, Retriever, shortened
from credence.dialogue.knowledge import Entry, read_knowledge
from credence.dialogue.rewordings import reworded
from credence.dialogue.users import Crowd, User, crowd
from credence.evidence.embedding import load_embedder
from credence.evidence.reward import Reward
from credence.prior.policy import LMPolicy
from credence.prior.reshape import Reshaped
from credence.study import build
from credence.study.dialogue_config import CandidatesConfig, DialogueConfig
from credence.study.functions import load_function

TRAINED_TOKENS = 4096
"""Prompt and reply tokens in one backward pass: bounds activations to about 3 GB on the embedded model. Fewer read a
prompt once for every two or three of its replies."""


@dataclass(eq=False)
class World:
    """What a dialogue run is made of."""

    people: Crowd
    evidence: Evidence
    satisfaction: Evidence
    grounding: Facts | None
    prior: StepPrior
    policy: Policy

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is looked up while talking."""
        if isinstance(self.prior, CandidatePrior):
            return tuple(self.prior.retriever.entries)
        return () if self.grounding is None else tuple(self.grounding.retriever.entries)

    @property
    def literal(self) -> int:
        """Held-out users who ask in the source's own words where answers are looked up by likeness to them."""
        return sum(not user.goal.rewordings for user in self.people.heldout) if self.entries else 0

    def env(self, users: Sequence[User], config: DialogueConfig) -> DialogueEnv:
        """An environment of these users."""
        return DialogueEnv(
            users,
            self.evidence,
            self.satisfaction,
            grounding=self.grounding,
            context_window=config.talk.context_window,
            max_turns=config.talk.max_turns,
        )


def world(config: DialogueConfig) -> World:
    """Everything that a run needs.

    Raises:
        ConfigError: anything that cannot be used, or settings that do not go together.
        BackendError: a model or Debian's FAQ is not here; the message holds the command.
    """
    check_together(config)
    given = config.users
    goals = [replace(g, answer=shortened(g.answer, given.answer_chars)) for g in _goals(config)]
    people = crowd(
        goals, Key(config.seed), given.train, given.validation, given.heldout, given.patience, given.strictness
    )
    found = None
    if config.talk.knowledge:  # files first: rewards and models take longer
        found = retriever_of(config, read_knowledge(config.talk.knowledge, config.folder).entries)
    answers = [goal.answer for goal in goals]
    evidence = build.evidence(config, answers)
    satisfaction = Reward(load_function(given.satisfaction, config.folder, answers), 1.0, name="satisfaction")
    if config.candidates is not None and found is not None:
        prior = candidates(config, config.candidates, found)
        return World(people, evidence, satisfaction, None, prior, candidate_policy(prior))
    grounding = None if found is None else _facts(config, found)
    prior = build.prior(config)
    return World(people, evidence, satisfaction, grounding, prior, _policy(config, prior))


def _goals(config: DialogueConfig) -> tuple[Goal, ...]:
    """What users may want, in the words that they may ask it in."""
    given = config.users
    goals = load_goals(given.source, config.folder)
    return reworded(goals, config.folder / given.rewordings) if given.rewordings else goals


def check_together(config: DialogueConfig) -> None:
    """Refuse settings that exclude each other.

    Raises:
        ConfigError: top-k or top-p in training, evidence of −inf, or candidates without knowledge.
    """
    for name in ("top_k", "top_p"):
        if getattr(config.prior, name) is not None:
            raise ConfigError(
                f"prior.{name} makes tokens impossible, and a policy that is trained may not. Remove it; "
                "prior.temperature may stay."
            )
    hard = [c for c in config.evidence.constraint if c.otherwise == -float("inf")]
    if hard or config.evidence.ended.cut == -float("inf"):
        raise ConfigError("evidence of -inf nats makes J -inf for every policy that can fail it. Give finite nats.")
    if config.candidates is not None and not config.talk.knowledge:
        raise ConfigError("candidates are answers found in talk.knowledge, which is empty. Name a source there.")
    if config.talk.knowledge and config.candidates is None and "{knowledge}" not in config.talk.system:
        raise ConfigError("talk.system needs {knowledge}, where the answers found are put.")


def retriever_of(config: DialogueConfig, entries: Sequence[Entry]) -> Retriever:
    """These entries, found as the settings say."""
    embedder = Grams() if config.talk.embedder == "grams" else load_embedder(config.talk.embedder)
    return Retriever(tuple(entries), embedder)


def _facts(config: DialogueConfig, retriever: Retriever) -> Facts:
    given = config.talk
    return Facts(retriever, given.system, given.passages, given.passage_chars)


def _policy(config: DialogueConfig, prior: Reshaped) -> LMPolicy:
    policy = build.policy(prior, config.learn, Key(config.seed).fold("adapters"))
    policy.train_tokens = TRAINED_TOKENS
    return policy


def candidates(config: DialogueConfig, given: CandidatesConfig, retriever: Retriever) -> CandidatePrior:
    """The base measure over the retriever's answers."""
    every = versions([e.answer for e in retriever.entries], given.chars)
    fluency = _fluency(config) if given.score else None
    return CandidatePrior(every, retriever, min(given.count, len(every)), given.rho, given.temperature, fluency)


def _fluency(config: DialogueConfig) -> Fluency:
    """log p of each candidate's beginning after the question under the config's model, nats a character."""
    import torch

    from credence.core.types import Completions

    model = build.model(config)
    codec = model.codec
    beginning = 24  # characters: about 60 tokens of a model that was not made for Chinese
    most = 400  # characters of a question: every model reads that many, and no user's question here has more

    known: dict[tuple[str, str], float] = {}

    def score(question: str, answers: Sequence[str]) -> list[float]:
        cut = [answer[:beginning] or " " for answer in answers]
        new = [text for text in dict.fromkeys(cut) if (question, text) not in known]
        if new:
            rows = [codec.encode(text) for text in new]
            width = max(map(len, rows))
            ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
            mask = torch.tensor([[True] * len(r) + [False] * (width - len(r)) for r in rows])
            said = Completions(ids, mask, mask[:, 0], torch.zeros(len(rows), dtype=torch.long))
            nats = model.score(codec.prompts([question[:most]]), said).sum(-1).tolist()
            known.update({(question, text): n / len(text) for text, n in zip(new, nats, strict=True)})
        return [known[question, text] for text in cut]

    return score
