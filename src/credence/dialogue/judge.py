"""Evidence read on what was said: the same Evidence that engines infer with, on texts instead of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from credence.core.errors import ContractError
from credence.core.protocols import Evidence
from credence.core.types import Completions, Prompts
from credence.evidence.product import measure


@dataclass(frozen=True)
class SpokenCodec:
    """Whole texts as tokens: token i is text i. So evidence that reads decoded completions reads them as they are."""

    texts: tuple[str, ...]

    def decode(self, ids: Sequence[int]) -> str:
        """The text."""
        return self.texts[ids[0]]

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        """Prompts without tokens: evidence looks at what was given."""
        return Prompts(tuple(() for _ in given), tuple(given), self, columns or {})


@dataclass(frozen=True)
class Verdict:
    """What evidence says of one reply: nats and readings by name, or why it could say nothing."""

    nats: float
    readings: Mapping[str, float]
    error: str = ""


def judge(
    evidence: Evidence, given: Sequence[Any], replies: Sequence[str], ended: Sequence[bool],
    columns: Mapping[str, Sequence[Any]],
) -> list[Verdict]:  # fmt: skip
    """One verdict a reply, from one call of the evidence where nothing fails.

    Where it fails, each reply is judged by itself, so that one bad reply costs no other; the failing ones get NaN nats
    and the error's message. Test: tests/unit/test_dialogue_env.py.

    Args:
        evidence: any; it receives `given` as prompts, `replies` as completions, and the columns by name.
        given: the conversations.
        replies: as many texts.
        ended: whether each came to its own end.
        columns: further lists as long.
    """
    if not replies:
        return []
    try:
        return _judged(evidence, given, replies, ended, columns)
    except Exception as error:  # noqa: BLE001 - evidence may be anybody's code, and its mistake ends no dialogue
        if len(replies) == 1:
            return [Verdict(float("nan"), {}, f"{type(error).__name__}: {error}")]
    out: list[Verdict] = []
    for i in range(len(replies)):
        one = slice(i, i + 1)
        out += judge(evidence, given[one], replies[one], ended[one], {k: v[one] for k, v in columns.items()})
    return out


def _judged(
    evidence: Evidence, given: Sequence[Any], replies: Sequence[str], ended: Sequence[bool],
    columns: Mapping[str, Sequence[Any]],
) -> list[Verdict]:  # fmt: skip
    count = len(replies)
    rows = torch.arange(count)
    prompts = SpokenCodec(tuple(str(r) for r in replies)).prompts(given, columns)
    said = Completions(rows[:, None], torch.ones(count, 1, dtype=torch.bool), torch.tensor(list(ended)), rows)
    nats, readings = measure(evidence, prompts, said)
    if bool(torch.isnan(nats).any()) or bool((nats == torch.inf).any()):
        raise ContractError("the evidence gave NaN or +inf nats: a number is needed (-inf forbids a reply).")
    return [Verdict(float(nats[i]), {name: float(v[i]) for name, v in readings.items()}) for i in range(count)]
