"""What is said: messages, the window on a conversation, and texts made fit to be shown to a model."""

import unicodedata
from collections.abc import Mapping, Sequence

from credence.core.errors import ConfigError

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}: what a chat model is prompted with."""

WINDOW = 20
"""Utterances that the model sees, the new one counted: a sliding window, from which the oldest drops out."""

MOST_CHARACTERS = 100_000
"""Of a message that a person sends: more would only be turned into tokens to be refused."""

LONGEST = 4000
"""Characters of an utterance that are kept: a message of a megabyte is no conversation."""

_KEPT = "\n\t\u200c\u200d"
"""Newline and tab, and the joiners that shape Persian, Indic scripts and emoji."""


_UNSEEN = frozenset(
    _KEPT
    + "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Of the characters that `scrub` keeps, those that show nothing alone: joiners, fillers, variation selectors."""


def blank(text: str) -> bool:
    """Whether a text has no visible character. Test: tests/unit/test_talk.py."""
    return all(c in _UNSEEN or c.isspace() for c in scrub(text)[0])


def scrub(text: str) -> tuple[str, int]:
    """The text without characters that hide or reorder others, and how many of them were taken out.

    Control, format (bidi too), surrogate, private and unassigned characters go; line breaks become newlines. What looks
    like a template token stays: a codec renders it as text, never as a turn.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    kept = "".join(c for c in lines if c in _KEPT or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    return kept, len(lines) - len(kept)


def clean(text: str, longest: int = LONGEST) -> str:
    """A simulated user's or a model's text, scrubbed; of a longer one its beginning and end, " … " between them.

    Test: tests/unit/test_talk.py.

    Args:
        text: of a user or a model.
        longest: characters that stay.
    """
    if len(text) > longest:
        head = longest * 3 // 4
        text = f"{text[:head]} … {text[len(text) - (longest - head - 3) :]}"
    return scrub(text)[0]


def accept(text: str) -> tuple[str, int]:
    """A person's message, scrubbed and stripped, and how many characters were taken out: nothing is cut in silence.

    Raises:
        ConfigError: no visible character is left, or the message is longer than any model here reads.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"this message has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read. Send the part that "
            "matters, or split it.",
            "too long",
            characters=len(text),
            most=MOST_CHARACTERS,
        )
    kept, taken_out = scrub(text)
    if blank(kept):
        raise ConfigError("the message is empty: there is nothing to answer.", "empty")
    return kept.strip(), taken_out


def window(said: Sequence[Mapping[str, str]], utterances: int = WINDOW, system: str = "") -> list[Message]:
    """The last `utterances` messages; system messages stand before them all and are not counted.

    With an even number it begins, once the talk is longer, with an answer whose question has dropped out: the oldest
    drops out, and nothing with it.

    Args:
        said: so far.
        utterances: at most.
        system: one more system message, where it is not empty.
    """
    before = [dict(m) for m in said if m["role"] == "system"]
    kept = [dict(m) for m in said if m["role"] != "system"][-utterances:]
    return ([{"role": "system", "content": system}] if system else []) + before + kept


def spoken_by(messages: Sequence[Message], role: str) -> list[str]:
    """What one side said, in order."""
    return [m["content"] for m in messages if m["role"] == role]
