"""Where SMC may resample: after every token, or only where a segment of the text is complete."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Codec


@dataclass(frozen=True)
class Segments:
    """A text cut into segments: each ends by one of `ends`, or after `most` tokens; the text's own end ends the last.

    A particle's twist is asked where one of its segments ends and is held in between, and an island is resampled only
    when each of its growing particles has ended a segment since the island was last looked at: so no text is judged
    half-way through a sentence, or against one that has not come so far. For long texts that is fewer resamplings,
    hence more ancestors, and fewer calls of a costly reward. Any choice keeps Ẑ unbiased: the intermediate targets
    are other ones, the last is the posterior.

    Args:
        ends: token ids that end a segment, such as those of a full stop or a line break. Where only `ends` is given,
            a particle that never says one holds back its island: give `most` as well.
        most: most tokens of a segment.

    Raises:
        ConfigError: neither is given, or most is below 1.
    """

    ends: frozenset[int] = frozenset()
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is None and not self.ends:
            raise ConfigError("Segments(): give the tokens that end a segment, or the most tokens it has, or both.")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"Segments(most={self.most}): a segment has at least one token.")

    def closed(self, token: Int[Tensor, " k"], since: Int[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Whether this token, the `since`-th of its segment, ends it."""
        ends = torch.isin(token, torch.tensor(sorted(self.ends), dtype=torch.long, device=token.device))
        return ends if self.most is None else ends | (since >= self.most)


def sentence_ends(codec: Codec, vocab: int, marks: str = ".!?。！？\n") -> frozenset[int]:
    """The tokens after which a sentence may be over: those whose text ends in one of `marks`, closing quotes aside.

    Args:
        codec: of a prior that speaks text.
        vocab: how many tokens it has: the width of its logits.
        marks: characters.

    Raises:
        ConfigError: the codec does not give text, or no token ends so.

    Cost: `vocab` decodings; keep the result.
    """
    texts = [codec.decode([token]) for token in range(vocab)]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError("this prior's completions are no text: give the token ids that end a segment yourself.")
    found = frozenset(i for i, text in enumerate(texts) if text.rstrip(" \"')”’」』）").endswith(tuple(marks)))
    if not found:
        raise ConfigError(f"none of {vocab} tokens ends in one of {marks!r}: give other marks, or Segments(most=...).")
    return found


EVERY_TOKEN = Segments(most=1)
"""The plain case: the twist is asked, and resampling considered, after every token."""
