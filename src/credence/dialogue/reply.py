"""What an agent says: a text that remembers its own tokens, so that nothing is tokenised again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """The tokens of a reply as they were sampled.

    Attributes:
        prompt: tokens of the state, as rendered.
        ids: tokens of the reply, the end token included.
        log_q: nats of each under what it was sampled from.
        ended: False where the horizon cut.
        by: the engine that drew it: "policy", or a sampler's name.
        version: how often the policy had been updated.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    log_q: tuple[float, ...]
    ended: bool
    by: str
    version: int


class Reply(str):
    """The decoded text, for users and environments; `said` is what training needs."""

    __slots__ = ("said",)
    said: Said

    def __new__(cls, text: str, said: Said) -> "Reply":
        """The text with its tokens."""
        made = super().__new__(cls, text)
        made.said = said
        return made

    @property
    def ended(self) -> bool:
        """Whether it came to its own end."""
        return self.said.ended
