"""One long reply scored in passages, so that a bar can move: on one core a thousand tokens take seconds."""

from collections.abc import Callable

import torch

from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior
from credence.prior.logprob import mapped_log_probs
from credence.prior.reshape import Reshaped

PASSAGE = 64
"""Tokens that are read between two ticks."""


def passages(prompts: Prompts, row: Completions) -> int:
    """How often `score_in_passages` ticks for the one row that answers the one prompt."""
    return -(-(len(prompts.ids[0]) + row.ids.shape[1] - 1) // PASSAGE)


@torch.no_grad()
def score_in_passages(
    prior: Prior, prompts: Prompts, row: Completions, tick: Callable[[], None]
) -> tuple[float, ...]:  # fmt: skip
    """prior.score(prompts, row)[0] in nats, up to rounding; other priors than language models are scored at once.

    Tested in tests/unit/test_why.py. Cost: one pass over prompt and reply.
    """
    lm = prior.inner if isinstance(prior, Reshaped) else prior
    if not isinstance(lm, LMPrior):
        found = prior.score(prompts, row)[0].tolist()
        for _ in range(passages(prompts, row)):
            tick()
        return tuple(found)
    to = prior.map_logits if isinstance(prior, Reshaped) else (lambda logits: logits)
    prompt = torch.tensor(prompts.ids[0], device=lm.device)
    reply = row.ids[0].to(lm.device)
    whole, read = torch.cat([prompt, reply]), 0
    out: list[float] = []
    for hidden in lm.passage(whole[:-1], PASSAGE):
        begin, end = max(read, len(prompt) - 1), read + hidden.shape[1]  # the state at i predicts the token at i + 1
        if begin < end:
            states = hidden[0, begin - read :]
            out += mapped_log_probs(states, lm.head, whole[begin + 1 : end + 1], to).double().tolist()
        read = end
        tick()
    return tuple(out)
