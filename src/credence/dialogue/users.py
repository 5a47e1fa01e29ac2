"""Simulated users: each wants one thing, asks for it in words of its own, and stays as long as patience lasts.

Users make chance: two dialogues with one user differ, also where the agent says the same. Everything about a user is
fixed by a key; what happens in a dialogue is fixed by another. Nobody's words are invented: goals come from recorded
conversations and FAQs (dialogue/goals.py), their rewordings from a file (dialogue/rewordings.py); only the phrases
around them stand here.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.dialogue.goals import Goal

FIRM = 0.08
"""How sharply satisfaction decides: the chance of a thank-you is σ((satisfaction − strictness)/FIRM)."""

ASKS = {
    "en": ("{}", "Hello. {}", "I have a question. {}", "Could you help me? {}", "I am new here. {}"),
    "zh": ("{}", "你好，{}", "请问，{}", "我想问一下：{}", "麻烦问一下，{}"),
}
AGAIN = {
    "en": ("That does not answer my question. {}", "I still do not understand. {}", "Let me ask again: {}"),
    "zh": ("还是不明白，{}", "您没有回答我的问题：{}", "我再问一遍：{}"),
}
THANKS = {
    "en": ("Thank you, that helps.", "Thanks!", "Great, thank you."),
    "zh": ("谢谢！", "明白了，谢谢。", "好的，谢谢你。"),
}
LEAVES = {"en": ("Never mind. Goodbye.", "I will look elsewhere."), "zh": ("算了，再见。", "我还是自己找吧。")}


@dataclass(frozen=True)
class Response:
    """What a user does after a reply: says `text`, and is then satisfied, or has left, or neither and goes on."""

    text: str
    satisfied: bool
    left: bool


@dataclass(frozen=True)
class User:
    """One simulated user.

    Args:
        name: told apart by this in reports.
        goal: the question, its rewordings, and the answer that would settle it.
        language: "en" or "zh": of the phrases around the question.
        patience: replies after which a dissatisfied user leaves; math.inf never does (max_turns then ends it).
        strictness: satisfaction in [0, 1] at which a thank-you is as likely as not.
        key: fixes how this user opens, and in which order the wordings come.

    Raises:
        ConfigError: a language without phrases, or a patience below 1.
    """

    name: str
    goal: Goal
    language: str = "en"
    patience: int | float = 2
    strictness: float = 0.5
    key: Key = Key(0)  # noqa: RUF009 - a Key is a frozen number

    def __post_init__(self) -> None:
        if self.language not in ASKS:
            raise ConfigError(f"a user of language {self.language!r}: phrases exist in {', '.join(ASKS)}.")
        if not self.patience >= 1:
            raise ConfigError(f"patience={self.patience}: a user listens to at least one reply.")

    @property
    def wordings(self) -> tuple[str, ...]:
        """How this user puts the question, in this order: its rewordings, and last as the source asks it."""
        other = self.goal.rewordings
        order = self.key.fold("wordings").generator().permutation(len(other))
        return (*(other[int(i)] for i in order), self.goal.question)

    def opens(self) -> str:
        """The first utterance: always the same of one user."""
        return _one(ASKS[self.language], self.key.fold("opens"), 0).format(self.wordings[0])

    def responds(self, key: Key, turn: int, satisfaction: float) -> Response:
        """What is said after reply number `turn` (from 1), by a chance that is a function of key and turn alone.

        Who goes on asks in the next wording; after the last one the first comes again.

        Args:
            key: of this dialogue.
            turn: replies heard so far, this one counted.
            satisfaction: in [0, 1], how well the reply answered the question.
        """
        chance = 1 / (1 + math.exp(-min(50.0, max(-50.0, (satisfaction - self.strictness) / FIRM))))
        if float(key.fold("satisfied").uniform(np.array([0]), turn)[0]) < chance:
            return Response(_one(THANKS[self.language], key.fold("thanks"), turn), True, False)
        if turn >= self.patience:
            return Response(_one(LEAVES[self.language], key.fold("leaves"), turn), False, True)
        again = _one(AGAIN[self.language], key.fold("again"), turn)
        wordings = self.wordings
        return Response(again.format(wordings[turn % len(wordings)]), False, False)


def _one(choices: Sequence[str], key: Key, step: int) -> str:
    return choices[int(float(key.uniform(np.array([0]), step)[0]) * len(choices))]


@dataclass(frozen=True)
class Crowd:
    """Users of three disjoint kinds: no goal of one kind, in whatever words, is a goal of another."""

    train: tuple[User, ...]
    validation: tuple[User, ...]
    heldout: tuple[User, ...]


def crowd(
    goals: Sequence[Goal], key: Key, train: int, validation: int, heldout: int, patience: tuple[int, int] = (1, 3),
    strictness: tuple[float, float] = (0.4, 0.6),
) -> Crowd:  # fmt: skip
    """Users with these goals, one each, split by key: the held-out first, so that other counts never move them.

    Args:
        goals: of one language or several.
        key: decides who goes where, and every user's patience, strictness and opening.
        train: wanted; 0 takes all that the other two leave.
        validation: wanted.
        heldout: wanted.
        patience: least and most.
        strictness: least and most.

    Raises:
        ConfigError: fewer goals than users wanted, or two goals that are asked in the same words.
    """
    asked = Counter(words for g in goals for words in {g.question, *g.rewordings})
    twice = next((words for words, goals_of in asked.items() if goals_of > 1), None)
    if twice is not None:
        raise ConfigError(f"two goals are asked as {twice!r}: a held-out user would ask what was trained on. Drop one.")
    wanted = heldout + validation + max(1, train)
    if wanted > len(goals):
        raise ConfigError(
            f"{len(goals)} goals, but {heldout} held-out users + {validation} for validation + at least "
            f"{max(1, train)} to train on are {wanted}. Name a larger source, or lower users.heldout or users.train."
        )
    if not (1 <= patience[0] <= patience[1] and strictness[0] <= strictness[1]):
        raise ConfigError(f"patience={patience}, strictness={strictness}: least and most are needed, in this order.")
    order = key.fold("split").generator().permutation(len(goals))
    people = [_user(goals[int(i)], int(i), key, patience, strictness) for i in order]
    rest = people[heldout + validation :]
    return Crowd(tuple(rest[: train or None]), tuple(people[heldout : heldout + validation]), tuple(people[:heldout]))


def _user(goal: Goal, number: int, key: Key, patience: tuple[int, int], strictness: tuple[float, float]) -> User:
    own = key.fold("user", number)
    lot = own.uniform(np.arange(2), 0)
    stays = patience[0] + int(float(lot[0]) * (patience[1] - patience[0] + 1))
    strict = strictness[0] + float(lot[1]) * (strictness[1] - strictness[0])
    return User(f"user {number}", goal, goal.language, stays, strict, own)
