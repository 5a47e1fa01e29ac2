"""What users want: questions with answers, from recorded conversations and from FAQs."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from credence.core.errors import ConfigError, MissingExtraError, nearest
from credence.dialogue.talk import clean

LANGUAGES = {"english": "en", "chinese": "zh"}
"""Of chatterbot-corpus: those in which simulated users have phrases."""


@dataclass(frozen=True)
class Goal:
    """What one user wants.

    Attributes:
        question: as the source asks it.
        answer: what would settle it.
        language: "en" or "zh".
        entry: names where both come from.
        rewordings: the question in other words: dialogue/rewordings.py reads them from a file.
    """

    question: str
    answer: str
    language: str = "en"
    entry: str = ""
    rewordings: tuple[str, ...] = ()


def load_goals(source: str, folder: Path = Path()) -> tuple[Goal, ...]:
    """Goals with distinct questions, in the source's order.

    Args:
        source: "chatterbot:english" or "chatterbot:chinese" (first line of each conversation and its reply), or
            whatever `read_knowledge` reads: "debian-faq:en", "debian-faq:zh", a file of questions and answers.
        folder: where a relative path begins.

    Raises:
        ConfigError: an unknown source or language, or no question with an answer in it.
        MissingExtraError: chatterbot-corpus is not installed.
    """
    scheme, colon, name = source.partition(":")
    if colon and scheme == "chatterbot":
        return distinct(_conversations(name), source)
    from credence.dialogue.knowledge import read_knowledge

    known = read_knowledge(source, folder)
    language = "zh" if known.language.startswith("zh") else "en"
    return distinct([Goal(e.question, e.answer, language, e.name) for e in known.entries], source)


def distinct(goals: Sequence[Goal], source: str) -> tuple[Goal, ...]:
    """The goals with text on both sides, the first of each question.

    Raises:
        ConfigError: none is left.
    """
    first: dict[str, Goal] = {}
    for goal in goals:
        question, answer = clean(goal.question).strip(), clean(goal.answer).strip()
        if question and answer:
            first.setdefault(question.casefold(), Goal(question, answer, goal.language, goal.entry))
    if not first:
        raise ConfigError(f"{source} holds no question with an answer: users would want nothing.")
    return tuple(first.values())


def _conversations(name: str) -> list[Goal]:
    """First line and reply of each conversation, file by file in alphabetical order."""
    if name not in LANGUAGES:
        raise ConfigError(
            f"chatterbot:{name}: simulated users speak {' and '.join(LANGUAGES)}.{nearest(name, LANGUAGES)}"
        )
    found = importlib.util.find_spec("chatterbot_corpus")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "users from chatterbot:… need the package chatterbot-corpus. Run: pip install 'credence-lm[examples]'"
        )
    import yaml

    out: list[Goal] = []
    for file in sorted((Path(found.submodule_search_locations[0]) / "data" / name).glob("*.yml")):
        talks = yaml.safe_load(file.read_text("utf-8"))["conversations"]
        out += [Goal(str(t[0]), str(t[1]), LANGUAGES[name], file.stem) for t in talks if len(t) > 1]
    return out
