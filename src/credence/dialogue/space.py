"""Gymnasium's spaces for talk: gymnasium's own Text knows a fixed alphabet; people use all of Unicode."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import Space

from credence.dialogue.talk import LONGEST, Message

_SAMPLE = "abcdefghijklmnopqrstuvwxyz ?!.,你好吗我是的谢了在有什么天气吃饭éñüß🙂"
"""What `sample` draws from: enough scripts to notice who counts bytes; `contains` takes any text."""

_ROLES = ("system", "user", "assistant")


class Utterance(Space[str]):
    """One side's turn: any Unicode text of at most `longest` characters, empty too.

    Args:
        longest: characters.
        seed: of `sample`.
    """

    def __init__(self, longest: int = LONGEST, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)
        self.longest = longest

    @property
    def is_np_flattenable(self) -> bool:
        """A text is no array."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """A random text of at most 32 characters, by the space's own generator."""
        length = int(self.np_random.integers(0, min(32, self.longest) + 1))
        return "".join(_SAMPLE[i] for i in self.np_random.integers(0, len(_SAMPLE), length))

    def contains(self, x: object) -> bool:
        """Whether x is a text of this length."""
        return isinstance(x, str) and len(x) <= self.longest

    def to_jsonable(self, sample_n: Iterable[str]) -> list[str]:
        """Texts are JSON."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        """And back."""
        return [str(text) for text in sample_n]

    def __repr__(self) -> str:
        return f"Utterance({self.longest})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Utterance) and other.longest == self.longest

    __hash__ = None  # pyright: ignore[reportAssignmentType] - mutable by its generator, as gymnasium's spaces are


class Conversation(Space[list[Message]]):
    """What the agent sees: at most `utterances` messages, a system message before them perhaps.

    Args:
        utterances: messages of users and assistant.
        longest: characters of each.
        seed: of `sample`.
    """

    def __init__(
        self, utterances: int = 20, longest: int = LONGEST, seed: int | np.random.Generator | None = None
    ) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)
        self.utterances, self.longest = utterances, longest
        self._utterance = Utterance(longest)

    @property
    def is_np_flattenable(self) -> bool:
        """A conversation is no array."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> list[Message]:
        """A conversation of random texts, a user's first."""
        self._utterance._np_random = self.np_random  # pyright: ignore[reportPrivateUsage] - one stream
        length = int(self.np_random.integers(1, self.utterances + 1))
        return [{"role": _ROLES[1 + i % 2], "content": self._utterance.sample()} for i in range(length)]

    def contains(self, x: object) -> bool:
        """Whether x is a list of messages that fits."""
        if not isinstance(x, list) or not x:
            return False
        good = all(
            isinstance(m, dict) and set(m) == {"role", "content"} and m["role"] in _ROLES and m["content"] is not None
            for m in x
        )
        turns = [m for m in x if m["role"] != "system"] if good else []
        return good and 0 < len(turns) <= self.utterances and all(self._utterance.contains(m["content"]) for m in turns)

    def to_jsonable(self, sample_n: Iterable[list[Message]]) -> list[list[Message]]:
        """Messages are JSON."""
        return [list(talk) for talk in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[list[Message]]:
        """And back."""
        return [[dict(m) for m in talk] for talk in sample_n]

    def __repr__(self) -> str:
        return f"Conversation({self.utterances}, {self.longest})"

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Conversation)
        return same and (other.utterances, other.longest) == (self.utterances, self.longest)

    __hash__ = None  # pyright: ignore[reportAssignmentType] - mutable by its generator, as gymnasium's spaces are
