"""Sentences as tokens, for evidence that reads English: TOY-A's tokens as words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from credence.core.protocols import PrefixEvidence
from credence.core.types import Completions, Prompts

TEXTS = ["wonderful wonderful", "awful", "wonderful awful awful", "a table", "happy!"]
WORDS = {0: "awful", 1: "wonderful", 2: ""}


@dataclass(frozen=True)
class Sentences:
    """A codec whose token is a whole sentence."""

    def decode(self, ids: Any) -> str:
        return TEXTS[ids[0]]

    def prompts(self, given: Any, columns: Any = None) -> Prompts:
        return Prompts(tuple((0,) for _ in given), tuple(given), self, columns or {})


def worded() -> tuple[Prompts, Completions]:
    """Every one of TEXTS as a reply that ended."""
    ids = torch.arange(len(TEXTS))[:, None]
    true = torch.ones_like(ids, dtype=torch.bool)
    return Sentences().prompts(["How are you?"]), Completions(ids, true, true[:, 0], torch.zeros(len(TEXTS)).long())


@dataclass(frozen=True)
class Spoken:
    """A codec that reads TOY-A's tokens as words."""

    def decode(self, ids: Any) -> str:
        return " ".join(WORDS[i] for i in ids).strip()

    def prompts(self, given: Any, columns: Any = None) -> Prompts:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Words:
    """Evidence about English texts, for completions of TOY-A: tokens are read as words."""

    inner: PrefixEvidence

    def _heard(self, prompts: Prompts) -> Prompts:
        return Prompts(prompts.ids, prompts.given, Spoken(), prompts.columns)

    @property
    def max_log_lik(self) -> float:
        return self.inner.max_log_lik  # pyright: ignore[reportAttributeAccessIssue]

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return self.inner.log_lik(self._heard(prompts), completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, torch.Tensor]:
        return self.inner.readings(self._heard(prompts), completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return self.inner.log_twist(self._heard(prompts), completions)
