"""A tiny embedder for quick tests: hashed character n-grams, deterministic, no model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from credence.evidence.embedding import readable

SIZE = 512


def grams(text: str) -> list[str]:
    bare = f" {' '.join(readable(text).casefold().split())} "
    return [bare[i : i + n] for n in (1, 2, 3) for i in range(len(bare) - n + 1)]


@dataclass(frozen=True)
class HashedGrams:
    """Unit vectors of hashed 1- to 3-grams; a common part keeps cosines of unrelated texts away from 0, as e5's are."""

    name: str = "hashed"
    common: float = 0.0

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        out = torch.zeros(len(texts), SIZE)
        for row, text in enumerate(texts):
            for gram in grams(text):
                out[row, int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=4).digest()) % SIZE] += 1
        out = torch.nn.functional.normalize(out.sqrt(), dim=1)
        return torch.nn.functional.normalize(out + self.common / SIZE**0.5, dim=1)
