"""Texts cut into the units that are aligned and looked up: words, but single characters where no spaces are written."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Chinese characters: their scripts leave no space between words."""
_UNIT = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W\d_])+|\d+|[^\w\s]|_")


def units(text: str) -> list[str]:
    """Words in lower case, numbers, single marks, single Chinese characters; full-width forms count as plain ones.

    `Linux 内核 2.6` gives linux 内 核 2 . 6. No dictionary is needed, and none is pinned; a word of several characters
    is then as many pieces of evidence, which the tempered channel mends. Test: tests/oracle/test_ibm1.py.
    """
    return _UNIT.findall(unicodedata.normalize("NFKC", text).casefold())


def grams(found: Sequence[str]) -> list[str]:
    """Units and neighbouring pairs of them: what a translation memory looks texts up by."""
    return [*found, *(f"{a} {b}" for a, b in pairwise(found))]
