"""In which language a text is, as far as credence itself has phrases to speak it: English and Chinese."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from credence.core.errors import ConfigError, nearest

LANGUAGES = {"en": "English", "zh": "Chinese"}
"""Languages that the helpdesk speaks itself. It reads every language that the embedder knows."""

UNKNOWN = "und"
"""ISO 639's code for undetermined."""

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = """the a an is are was be to of in on for and or not it you i we do does can how what where when why who which
with from as by this that if there my your have has will no yes at"""
_COMMON = frozenset(_WORDS.split())
_ENOUGH = 0.12
"""Share of these words in running English is near 0.4; in French or German text below 0.05."""


def check_language(code: str) -> str:
    """The code itself.

    Raises:
        ConfigError: not a language that the helpdesk speaks.
    """
    if code not in LANGUAGES:
        known = ", ".join(f"{name} ({title})" for name, title in LANGUAGES.items())
        raise ConfigError(f"language {code!r}: the helpdesk speaks {known}.{nearest(code, LANGUAGES)}")
    return code


def detect(texts: Iterable[str]) -> str:
    """Return "zh" for Han characters without kana, "en" for Latin letters with English words, else "und".

    Tested on nine languages in tests/unit/test_language.py.
    """
    text = " ".join(texts)
    scripts = Counter(_script(char) for char in text if char.isalpha())
    total = sum(scripts.values())
    if not total:
        return UNKNOWN
    if scripts["kana"] + scripts["hangul"] > 0.02 * total:
        return UNKNOWN
    if scripts["han"] >= 0.2 * total:  # commands and names stand in Latin letters in a Chinese text, never the reverse
        return "zh"
    if scripts["latin"] < 0.8 * total:
        return UNKNOWN
    words = re.findall(r"[^\W\d_]+", text.lower())
    return "en" if sum(word in _COMMON for word in words) >= _ENOUGH * len(words) else UNKNOWN


def _script(char: str) -> str:
    if re.match(f"[{HAN}]", char):
        return "han"
    name = unicodedata.name(char, "")
    for prefix, script in (("HIRAGANA", "kana"), ("KATAKANA", "kana"), ("HANGUL", "hangul"), ("LATIN", "latin")):
        if name.startswith(prefix):
            return script
    return "other"
