"""What an agent is told before it answers: the entries of a knowledge that are most like what the user asks."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.dialogue.knowledge import Entry
from credence.dialogue.talk import Message, spoken_by
from credence.evidence.embedding import Embedder

WIDTH = 2048
"""Places that character sequences are hashed to."""


@dataclass(frozen=True)
class Grams:
    """An embedder without a model: hashed counts of 2- and 3-character sequences, damped by a square root.

    Finds the question that was asked in almost the same words, in any language; for other words take load_embedder.
    Cost: about a millisecond a text of a hundred characters.
    """

    name: str = "grams"

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "N d"]:
        """(N, 2048) unit rows; a text without letters is the first unit vector."""
        out = np.zeros((len(texts), WIDTH), np.float32)
        for row, text in zip(out, texts, strict=True):
            bare = "".join(c for c in text.casefold() if c.isalnum())
            for size in (2, 3):
                for i in range(len(bare) - size + 1):
                    row[zlib.crc32(bare[i : i + size].encode("utf-8", "replace")) % WIDTH] += 1
            np.sqrt(row, out=row)
            if not row.any():
                row[0] = 1
        return torch.from_numpy(out / np.linalg.norm(out, axis=1, keepdims=True))


@dataclass(eq=False)
class Retriever:
    """Entries by likeness of their question (and answer's beginning) to a text.

    Args:
        entries: to find.
        embedder: of both sides.
        answer_chars: of an answer that are read as well; 0 looks at questions only.
    """

    entries: tuple[Entry, ...]
    embedder: Embedder
    answer_chars: int = 0
    _rows: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.entries:
            raise ConfigError("a knowledge without entries: nothing can be found in it.")
        self._rows = self.embedder.embed([f"{e.question} {e.answer[: self.answer_chars]}" for e in self.entries])

    def likeness(self, text: str) -> Float[Tensor, " N"]:
        """Cosine of the text with each entry."""
        return (self._rows @ self.embedder.embed([text])[0]).double()

    def find(self, text: str, count: int) -> list[int]:
        """Numbers of the `count` entries most like the text, the likest first; ties by their order."""
        likeness = self.likeness(text)
        return torch.argsort(likeness, descending=True, stable=True)[:count].tolist()


def asked(said: Sequence[Message]) -> str:
    """What the user wants: the longest of the last three things that were said by the user (a thank-you is short)."""
    return max(spoken_by(said, "user")[-3:], key=len, default="")


@dataclass(eq=False)
class Facts:
    """A grounding for DialogueEnv: the system message with the answers found for what the user asks.

    Args:
        retriever: where they are looked up.
        template: with {knowledge} in it.
        passages: entries that are shown.
        chars: of each answer, cut at a sentence's end where there is one.

    Raises:
        ConfigError: the template has no {knowledge}.
    """

    retriever: Retriever
    template: str
    passages: int = 1
    chars: int = 300
    _memory: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        if "{knowledge}" not in self.template:
            raise ConfigError("the system message of a grounded dialogue needs {knowledge}, where the facts are put.")

    def __call__(self, said: Sequence[Message]) -> str:
        """The system message for this conversation."""
        text = asked(said)
        if text not in self._memory:
            found = [self.retriever.entries[i] for i in self.retriever.find(text, self.passages)]
            shown = "\n".join(shortened(e.answer, self.chars) for e in found)
            self._memory[text] = self.template.replace("{knowledge}", shown)
        return self._memory[text]


_STOPS = ("。", "！", "？", ". ", "! ", "? ", ".\n", "\n")


def shortened(text: str, chars: int) -> str:
    """At most `chars` characters on one line, cut after a sentence's end where there is one in the second half."""
    if len(text) > chars:
        cut = max(text.rfind(stop, chars // 2, chars) + len(stop.rstrip()) for stop in _STOPS)
        text = text[: cut if cut > chars // 2 else chars]
    return " ".join(text.split())
