"""What an answer must hold to be the answer: its commands, file names, numbers, names and rare words."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_CODE = re.compile(r"`([^`\n]{1,80})`")
_TOKEN = re.compile(r"[A-Za-z0-9_~/.][A-Za-z0-9_./~+:@%=-]*|--?[A-Za-z][\w=-]*", re.ASCII)
_HAN_RUN = re.compile(rf"[{_HAN}]+")
_SENTENCE_START = re.compile(r"(?:^|[.!?:\n]\s+|[-*]\s)$")

_GRAMMAR = """
the a an is are was were be been to of in on at for and or not it its you your i we they he she do does did can
could will would should may might must how what where when why who which with from as by this that these those if
then there here have has had no yes so but than into about only also any some all more most very just use using
used one two like get make see e.g i.e etc
"""
_PLAIN = frozenset(_GRAMMAR.split())
_SOFT = frozenset(
    "的了是在有和与或及也都就而但如果可以会能要这那个们您你我他它一不没有吗呢吧啊请将被把从到对于为以上下中"
)
"""Characters that carry grammar: a pair with one of them is no fact."""

MOST = 12
"""Facts of an answer that are asked for: the weightiest ones."""


@dataclass(frozen=True)
class Facts:
    """Which of a reference's key facts a text holds, heaviest first; weights in nats of surprise, log(N/df)."""

    found: tuple[str, ...]
    missing: tuple[str, ...]
    share: float


@dataclass(frozen=True)
class KeyFacts:
    """Key facts of reference answers, weighted by how rare each is among all references.

    A fact is a command, option, path, file name or anything else in backticks; a number; a name (a Latin word with a
    capital inside a sentence, any Latin word in a Chinese text); a rare word (in Chinese a rare pair of characters).
    No word list of a language is needed beyond a few words of grammar. Tests: tests/unit/test_answer.py.

    Attributes:
        references: the answers among which rarity is counted; with none, all facts of a kind weigh the same.
    """

    references: Sequence[str] = ()
    _count: Counter[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seen = Counter(token for text in self.references for token in set(_tokens(text)))
        object.__setattr__(self, "_count", seen)

    def of(self, reference: str) -> dict[str, float]:
        """The at most twelve weightiest facts of a reference, with their weights."""
        kinds = _facts(reference)
        weights = {fact: boost * self._rarity(fact) for fact, boost in kinds.items()}
        best = sorted(weights.items(), key=lambda item: -item[1])[:MOST]
        return dict(best)

    def held(self, text: str, reference: str) -> Facts | None:
        """Which of the reference's facts the text holds; None where the reference states none."""
        weights = self.of(reference)
        if not weights:
            return None
        bare, tokens = re.sub(r"[`\s]+", " ", text).casefold(), set(_tokens(text))
        found = tuple(fact for fact in weights if fact in tokens or (len(fact) > 3 and " " in fact and fact in bare))
        missing = tuple(fact for fact in weights if fact not in found)
        return Facts(found, missing, sum(weights[fact] for fact in found) / sum(weights.values()))

    def _rarity(self, fact: str) -> float:
        if not self.references:
            return 1.0
        parts = [fact] if fact in self._count or " " not in fact else _tokens(fact) or [fact]
        seen = min(self._count[part] for part in parts)
        return math.log((len(self.references) + 1) / (seen + 0.5))


def _tokens(text: str) -> list[str]:
    """Latin words, numbers and paths in one letter case; pairs of Chinese characters."""
    found = [match.rstrip(".:,").casefold() for match in _TOKEN.findall(text)]
    pairs = [run[i : i + 2] for run in _HAN_RUN.findall(text) for i in range(len(run) - 1)]
    return [token for token in found if token] + pairs


def _facts(reference: str) -> dict[str, float]:
    """Facts of a text by kind: code and paths 2, numbers and names 1.5, other words 1."""
    facts: dict[str, float] = {}

    def add(fact: str, weight: float) -> None:
        bare = " ".join(fact.casefold().split()).strip(" .,:;")
        if bare and bare not in _PLAIN:
            facts[bare] = max(weight, facts.get(bare, 0.0))

    for code in _CODE.findall(reference):
        add(code, 2.0)
    for match in _TOKEN.finditer(reference):
        token = match.group().rstrip(".:,")
        if not token:
            continue
        add(token, _kind(token, reference[: match.start()], chinese=bool(_HAN_RUN.search(reference))))
    for run in _HAN_RUN.findall(reference):
        for i in range(len(run) - 1):
            if not set(run[i : i + 2]) & _SOFT:
                add(run[i : i + 2], 0.5)  # a word of two pairs would otherwise count twice
    return facts


def _kind(token: str, before: str, chinese: bool) -> float:
    if token.startswith("-") or re.search(r"[/_~@=]|\w\.\w|\d-?[a-z]|[a-z]\d|\w-\w", token):
        return 2.0
    if token[0].isdigit():
        return 1.5
    inside = token[:1].isupper() and not _SENTENCE_START.search(before[-3:]) and before.strip() != ""
    return 1.5 if chinese or inside or token.isupper() else 1.0
