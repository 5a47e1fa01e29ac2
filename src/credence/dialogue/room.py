"""How much a model can read, and a talk as tokens that fit it."""

from collections.abc import Mapping, Sequence
from typing import Any

from credence.core.errors import ConfigError
from credence.core.protocols import Prior, StepPrior
from credence.core.types import Prompts
from credence.dialogue.talk import WINDOW, Message, window


def room(prior: Prior) -> int | None:
    """Most tokens of a prompt that leaves room for a reply of the prior's horizon; None where nothing bounds it.

    The model's context bounds it, and its sliding window, beyond which it would forget the beginning.
    """
    at: object = prior
    while at is not None:
        bounds = [n for n in (getattr(at, "context", None), getattr(at, "window", None)) if isinstance(n, int)]
        if bounds:
            return max(0, min(bounds) - prior.horizon)
        at = getattr(at, "inner", None) or getattr(at, "lm", None)
    return None


def prompts_of(prior: StepPrior, messages: Sequence[Mapping[str, str]]) -> Prompts:
    """One prompt: these messages, rendered by the prior's codec."""
    return prior.codec.prompts([[dict(m) for m in messages]])


def encoded(prior: StepPrior, text: str) -> list[int]:
    """A given text as the tokens of a reply, the (smallest) end token included; special tokens in it stay text."""
    codec: Any = prior.codec
    return [*codec.encode(text), min(prior.ends)]


def fitted(prior: StepPrior, messages: Sequence[Message], utterances: int = WINDOW) -> tuple[Message, ...]:
    """The window that ends with the last message, shortened from its beginning until it and a reply fit the model.

    Raises:
        ConfigError: the last message does not fit alone.
    """
    shown = window(messages, utterances)
    most = room(prior)
    while True:
        tokens = len(prompts_of(prior, shown).ids[0])
        if most is None or tokens <= most:
            return tuple(shown)
        if len(shown) == 1:
            raise ConfigError(
                f"this message has {tokens:,} tokens; with a reply of {prior.horizon} the model reads at most "
                f"{most:,}. Send the part that matters.",
                "does not fit",
                tokens=tokens,
                reply=prior.horizon,
                most=most,
            )
        shown = window(shown, len(shown) - 1)
