"""Two small rewards as examples of the signature: brevity and politeness, in English and Chinese, in [0, 1]."""

import re
from collections.abc import Sequence
from typing import Any

_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")
ENOUGH = 40
"""Words, a Chinese character being one, up to which an answer is brief."""

_KIND = re.compile(
    r"\b(?:please|thank you|thanks|you(?:'re| are) welcome|sorry|kindly|glad to|happy to|of course|would you)\b"
    r"|请|您|谢谢|不客气|抱歉|对不起|麻烦|劳驾|很高兴",
    re.IGNORECASE,
)
_RUDE = re.compile(
    r"\b(?:stupid|idiot|dumb|shut up|moron|damn|nonsense|whatever|obviously|rtfm)\b|笨|蠢|白痴|闭嘴|滚|废话|傻|烦死",
    re.IGNORECASE,
)


def brevity(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:  # noqa: ANN401
    """1 up to 40 words (a Chinese character is one), then 40/words; 0 for an empty answer."""
    counts = [len(_WORD.findall(text)) for text in completions]
    return [0.0 if not count else min(1.0, ENOUGH / count) for count in counts]


def polite(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:  # noqa: ANN401
    """0.5 plain, 0.75 with one polite phrase, 1 with more, 0 with a rude one. A word list: an example, not a judge."""
    return [0.0 if _RUDE.search(text) else 0.5 + 0.25 * min(2, len(_KIND.findall(text))) for text in completions]
