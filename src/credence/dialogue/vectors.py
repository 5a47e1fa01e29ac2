"""Vectors of a knowledge kept on disk: embedding 147 answers takes half a minute, reading them back a moment."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from credence.evidence.embedding import Embedder
from credence.prior.embedded import cache_folder

FEWEST = 8
"""Fewer texts than these are embedded at once and not kept: they are what users say."""


def _nothing() -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Remembering:
    """An embedder that keeps the vectors of larger batches in the user's cache.

    A file is named after the embedder and every text in it, so another text or embedder never meets it. It is written
    aside and renamed; one that cannot be read is made again. Test: tests/unit/test_vectors.py.

    Attributes:
        embedder: what embeds.
        folder: where vectors are kept; the user's cache by default.
        advance: called after each new text, for a progress bar.
    """

    embedder: Embedder
    folder: Path | None = None
    advance: Callable[[], None] = _nothing

    @property
    def name(self) -> str:
        """Which embedder it is."""
        return self.embedder.name

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "N d"]:
        """(N, d) unit rows, from disk where these texts were embedded before."""
        if len(texts) < FEWEST:
            return self.embedder.embed(texts)
        place = self.place(texts)
        found = _stored(place, len(texts))
        if found is not None:
            return found
        rows: list[Tensor] = []
        for text in texts:
            rows.append(self.embedder.embed([text]))
            self.advance()
        vectors = torch.cat(rows)
        _store(vectors, place)
        return vectors

    def place(self, texts: Sequence[str]) -> Path:
        """The file that holds these texts' vectors, or would."""
        said = json.dumps([self.name, *texts]).encode()
        folder = cache_folder() / "vectors" if self.folder is None else self.folder
        return folder / f"{hashlib.sha256(said).hexdigest()[:32]}.safetensors"

    def missing(self, texts: Sequence[str]) -> int:
        """How many of these texts would have to be embedded now."""
        return 0 if len(texts) >= FEWEST and self.place(texts).is_file() else len(texts)


def _stored(place: Path, count: int) -> Tensor | None:
    if not place.is_file():
        return None
    try:
        vectors = load_file(place)["vectors"]
    except (OSError, KeyError, SafetensorError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == count else None


def _store(vectors: Tensor, place: Path) -> None:
    """Keep them; a cache that cannot be written costs time at the next call and nothing else."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix="writing-", dir=place.parent)
        os.close(handle)
        save_file({"vectors": vectors.contiguous()}, aside)
        os.replace(aside, place)
    except OSError:
        return
