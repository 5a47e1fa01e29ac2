"""Small rewards for what is said in a dialogue: examples to copy, in English and Chinese.

Each is fn(prompts, completions, ...) -> one float a completion, as every reward; the columns answer and satisfied come
from the dialogue environment, or from the columns of a prompt file.
"""

import re
from itertools import pairwise
from typing import Any

KIND = re.compile(
    r"\b(please|thank\w*|welcome|sorry|glad|happy to|hope (this|that|it) helps|feel free)\b"
    "|[请您]|谢谢|抱歉|欢迎|希望|不客气",
    re.IGNORECASE,
)
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:['’.\-/_][^\W_]+)*")
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be but by can could do does for from has have how i if in into is it its me my no not of "
        "on or s so some such t than that the their them then there these they this to was we were what when where "
        "which who why will with would yes you your"
    )
)
TOLD = 12
"""Content words (Chinese: pairs of characters) after which an answer has told enough: brief replies can earn it all."""


def polite(prompts: list[Any], completions: list[str]) -> list[float]:
    """1 for a reply with a friendly phrase in it (please, thank you, 请, 您, …), else 0."""
    return [float(KIND.search(text) is not None) for text in completions]


def brief(prompts: list[Any], completions: list[str]) -> list[float]:
    """Minus the reply's length in tens of words; a Chinese character counts as half a word."""
    return [-length(text) / 10 for text in completions]


def turn(prompts: list[Any], completions: list[str]) -> list[float]:
    """−1 for every reply: the user's time. Without it, a dialogue that never settles anything could earn the most."""
    return [-1.0] * len(completions)


def solved(prompts: list[Any], completions: list[str], satisfied: list[float]) -> list[float]:
    """1 for the reply after which the user was satisfied, else 0."""
    return [float(value) for value in satisfied]


def overlap(prompts: list[Any], completions: list[str], answer: list[str]) -> list[float]:
    """How much of a reference answer was told, and nothing else: F1 of content words, in [0, 1].

    Precision is the share of the reply's words that the answer has; recall the share of the answer's words that were
    told, counted as whole from 12 words on (a brief reply can be complete). Chinese counts pairs of characters. No
    model is needed; `answer` is the column of reference answers.
    """
    return [_f1(facts(text), facts(reference)) for text, reference in zip(completions, answer, strict=True)]


def length(text: str) -> float:
    """Words; a Chinese character is half of one."""
    han = len(_HAN.findall(text))
    return len(_WORD.findall(text)) - han / 2


def facts(text: str) -> frozenset[str]:
    """Content words in lower case, and pairs of neighbouring Chinese characters."""
    words = [word.lower() for word in _WORD.findall(text)]
    pairs = {a + b for a, b in pairwise(words) if _HAN.match(a) and _HAN.match(b)}
    return frozenset(w for w in words if not _HAN.match(w) and w not in _COMMON) | pairs


def _f1(said: frozenset[str], known: frozenset[str]) -> float:
    shared = len(said & known)
    if not shared:
        return 0.0
    precision, recall = shared / len(said), min(1.0, shared / min(TOLD, len(known)))
    return 2 * precision * recall / (precision + recall)
