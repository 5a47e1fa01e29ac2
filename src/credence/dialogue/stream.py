"""A reply token by token, as text that can be shown at once.

The draw is the one that `prior.sample(key, prompts, 1)` makes, token by token: one uniform a step, inverse distribution
function. Tested in tests/unit/test_stream.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from credence.core.keys import Key
from credence.core.logspace import inverse_cdf
from credence.core.protocols import StepPrior
from credence.core.types import Codec, Completions, Prompts
from credence.prior.steps import row_numbers

PARTIAL = "�"
"""What a decoder writes for bytes that are not yet a whole character."""


@dataclass(eq=False)
class Reader:
    """Turns growing tokens into growing text, whole characters only; all it gave is at the end what codec.decode gives.

    Bytes of an unfinished character, and space that the reply may end with, are held back until they are settled.
    """

    codec: Codec
    ids: list[int] = field(default_factory=list)
    shown: str = ""

    def push(self, token: int) -> str:
        """What can be shown now that was not before."""
        self.ids.append(token)
        return self._more(str(self.codec.decode(self.ids)).rstrip(PARTIAL).rstrip())

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        return self._more(str(self.codec.decode(self.ids)))

    def _more(self, text: str) -> str:
        if not text.startswith(self.shown):  # a decoder that tidies spaces changed its mind: wait until they agree
            return ""
        new, self.shown = text[len(self.shown) :], text
        return new


@dataclass(eq=False)
class Draw:
    """One reply while it is drawn.

    Attributes:
        ids: tokens so far, the end token included.
        log_q: nats of each under the law that it was drawn from.
        ended: whether the end token came.
    """

    ids: list[int] = field(default_factory=list)
    log_q: list[float] = field(default_factory=list)
    ended: bool = False

    def completions(self) -> Completions:
        """The reply as one row; a row without a token is one that the first token has not reached."""
        return as_row(self.ids, self.ended)


def as_row(ids: Sequence[int], ended: bool) -> Completions:
    """Tokens as one row that answers prompt 0."""
    tokens = torch.tensor([list(ids)], dtype=torch.long).view(1, -1)
    mask = torch.ones(1, len(ids), dtype=torch.bool)
    return Completions(tokens, mask, torch.tensor([ended]), torch.zeros(1, dtype=torch.long))


def stream(prior: StepPrior, key: Key, prompts: Prompts, draw: Draw) -> Iterator[str]:
    """Draw one reply to the one prompt, yielding text as it settles; `draw` holds the tokens at every moment.

    Cost: one forward pass over the prompt, and one of a token a token.
    """
    row, ends, reader = row_numbers(1, 1).numpy(), prior.ends, Reader(prior.codec)
    state = prior.start(prompts, 1)
    for t in range(prior.horizon):
        logits = prior.next_logits(state)
        token, log_p, _ = inverse_cdf(logits, torch.from_numpy(key.uniform(row, t)).to(logits.device))
        draw.ids.append(int(token))
        draw.log_q.append(float(log_p))
        draw.ended = int(token) in ends
        yield reader.push(int(token))
        if draw.ended or t + 1 == prior.horizon:
            break
        state = prior.extend(state, token)
    yield reader.finish()
