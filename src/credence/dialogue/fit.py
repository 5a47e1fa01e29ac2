"""Conversations cut to what a model can read: the oldest goes first, the last question stays."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from credence.dialogue.talk import Message, clean

_LEAST = 8
"""Characters below which a message is not cut further."""


@runtime_checkable
class Renders(Protocol):
    """A codec that can say how many tokens a conversation takes."""

    def render(self, prompt: Sequence[Message]) -> list[int]:
        """Tokens up to where the reply begins."""
        ...


def fitted(codec: object, state: Any, most: int | None) -> Any:  # noqa: ANN401 - a codec's own kind of prompt
    """The state, its texts made clean, where it has at most `most` tokens; else what of it fits.

    First the oldest utterances are dropped, never the system message and never the last one; if that is not enough, the
    longest message left is cut in half again and again. Test: tests/unit/test_dialogue_agent.py.

    Args:
        codec: of the model; nothing is dropped for one that cannot render conversations.
        state: messages; another kind of prompt (a table's tokens) is left as it is.
        most: tokens; None is no limit.
    """
    if not _is_talk(state):
        return state
    kept = [{**m, "content": clean(m["content"])} for m in state]
    if most is None or not isinstance(codec, Renders):
        return kept
    while len(codec.render(kept)) > most:
        spoken = [i for i, m in enumerate(kept) if m["role"] != "system"]
        if len(spoken) > 1:
            del kept[spoken[0]]
            continue
        longest = max(range(len(kept)), key=lambda i: len(kept[i]["content"]))
        text = kept[longest]["content"]
        if len(text) <= _LEAST:
            break
        kept[longest]["content"] = text[: len(text) // 2]
    return kept


def _is_talk(state: Any) -> bool:  # noqa: ANN401 - a codec's own kind of prompt
    return isinstance(state, list) and bool(state) and all(isinstance(m, dict) for m in state)
