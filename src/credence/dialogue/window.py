"""What a user types and how much of the talk the model is shown."""

import unicodedata
from collections.abc import Mapping, Sequence

from credence.core.errors import ConfigError

WINDOW = 20
"""Utterances that the model sees, the new one counted: a sliding window, from which the oldest drops out."""

MOST_CHARACTERS = 100_000
"""Of one message: more would only be turned into tokens to be refused."""

_KEPT = "\n\t\u200c\u200d"
"""Line breaks, and the joiners that shape Persian, Indic scripts and emoji."""

Message = Mapping[str, str]


def clean(text: str) -> tuple[str, int]:
    """A message without characters that hide or reorder others, and how many of them were taken out.

    Control, format (bidi too), surrogate and unassigned characters go; line breaks become newlines. Template tokens
    that a user types stay: the codec renders them as text, and they never become turns.

    Raises:
        ConfigError: nothing is left, or the message is longer than any model here reads.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"this message has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read. Send the part that "
            "matters, or split it."
        )
    kept, taken_out = scrub(text)
    if not kept:
        raise ConfigError("the message is empty: there is nothing to answer.")
    return kept, taken_out


def scrub(text: str) -> tuple[str, int]:
    """As clean, of any text: an empty one stays empty."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    kept = "".join(c for c in lines if c in _KEPT or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Cn"})
    return kept.strip(), len(lines) - len(kept)


def window(messages: Sequence[Message], most: int = WINDOW) -> tuple[Message, ...]:
    """The last `most` utterances, from a user's on; system messages stand before them all and are not counted."""
    system = tuple(m for m in messages if m["role"] == "system")
    said = [m for m in messages if m["role"] != "system"][-most:]
    while said and said[0]["role"] != "user":  # an answer whose question has dropped out
        said = said[1:]
    return (*system, *said)
