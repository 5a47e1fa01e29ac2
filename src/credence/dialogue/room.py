"""A talk as tokens that fit the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from credence.core.errors import ConfigError
from credence.core.protocols import StepPrior
from credence.core.types import Prompts
from credence.dialogue.talk import Message, window


def prompts_of(prior: StepPrior, messages: Sequence[Mapping[str, str]]) -> Prompts:
    """One prompt: these messages, rendered by the prior's codec."""
    return prior.codec.prompts([[dict(m) for m in messages]])


def encoded(prior: StepPrior, text: str) -> list[int]:
    """A given text as the tokens of a reply, the (smallest) end token included; special tokens in it stay text."""
    codec: Any = prior.codec
    return [*codec.encode(text), min(prior.ends)]


def room_of(prior: StepPrior) -> int:
    """Most tokens that prompt and reply may have together, by the model's context and sliding window."""
    inner: Any = prior
    while (below := getattr(inner, "inner", None) or getattr(inner, "lm", None)) is not None:
        inner = below
    context, sliding = getattr(inner, "context", None), getattr(inner, "window", None)
    return min(context or 1 << 30, sliding or 1 << 30)


def fitted(prior: StepPrior, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The window that ends with the last message, shortened from its beginning until it and a reply fit the model.

    Raises:
        ConfigError: the last message does not fit alone.
    """
    shown = window(messages)
    room = room_of(prior) - prior.horizon
    while True:
        tokens = len(prompts_of(prior, shown).ids[0])
        if tokens <= room:
            return tuple(shown)
        if len(shown) == 1:
            raise ConfigError(
                f"this message has {tokens:,} tokens; with a reply of {prior.horizon} the model reads at most "
                f"{max(0, room):,}. Send the part that matters.",
                "does not fit",
                tokens=tokens,
                reply=prior.horizon,
                most=max(0, room),
            )
        shown = window(shown, len(shown) - 2)
