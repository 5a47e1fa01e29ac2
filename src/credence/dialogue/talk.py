"""What is said: messages, the window on a conversation, and texts made fit to be shown to a model."""

import unicodedata
from collections.abc import Sequence

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}: what a chat model is prompted with."""

LONGEST = 4000
"""Characters of an utterance that are kept: a message of a megabyte is no conversation."""

_KEPT = "\n\t\u200c\u200d"
"""Newline and tab, and the joiners that shape Persian, Indic scripts and emoji."""


def clean(text: str, longest: int = LONGEST) -> str:
    """The text without characters that hide or reorder others, and not longer than `longest` characters.

    Control and format characters (bidi overrides too), lone surrogates and private ones are dropped; a longer text
    keeps its beginning and its end, with " … " between them. What looks like a template token stays: a codec renders
    it as text, never as a turn. Test: tests/unit/test_talk.py.

    Args:
        text: of a user or a model.
        longest: characters that stay.
    """
    if len(text) > longest:
        head = longest * 3 // 4
        text = f"{text[:head]} … {text[len(text) - (longest - head - 3) :]}"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in _KEPT or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})


def window(said: Sequence[Message], utterances: int, system: str = "") -> list[Message]:
    """The last `utterances` messages, the system message (no utterance) before them where there is one.

    It begins with a user's message: an assistant's, whose question has dropped out, drops out with it.
    """
    kept = [dict(m) for m in said[-utterances:]]
    while kept and kept[0]["role"] == "assistant":
        kept.pop(0)
    return ([{"role": "system", "content": system}] if system else []) + kept


def spoken_by(messages: Sequence[Message], role: str) -> list[str]:
    """What one side said, in order."""
    return [m["content"] for m in messages if m["role"] == role]
