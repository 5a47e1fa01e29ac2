"""Sampling and scoring built on a StepPrior's steps alone: the plain doors that every fast door is compared with."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import inverse_cdf
from credence.core.parallel import spread
from credence.core.protocols import Prior, StepPrior
from credence.core.types import Completions, Prompts, concat, pad_to

ROWS = 256
"""Rows walked at once: bounds the memory of caches and logits, never the draws themselves."""

_LEAST = 16
"""Rows below which a piece of its own costs more than it gains."""

_KEEP = 0.75
"""Finished rows are dropped from the state once fewer than this share are alive: copying a cache costs too."""


@runtime_checkable
class Concurrent(Protocol):
    """A prior whose passes may run in several threads at once, which pays for a network on a CPU."""

    @property
    def concurrent(self) -> bool:
        """Whether it is so here."""
        ...


def rows_at_once(prior: StepPrior, total: int) -> int:
    """Rows of one piece: a share for every thread, if that leaves pieces worth having, and never more than ROWS."""
    if not (isinstance(prior, Concurrent) and prior.concurrent):
        return ROWS
    return min(ROWS, max(_LEAST, -(-total // torch.get_num_threads())))


def row_numbers(prompts: int, n: int, first_prompt: int = 0, first_draw: int = 0) -> Tensor:
    """(prompts·n,) the counter of each row: draw d of prompt b has the same uniforms whatever else is drawn."""
    prompt = torch.arange(first_prompt, first_prompt + prompts)
    return ((prompt[:, None] << 32) + torch.arange(first_draw, first_draw + n)).flatten()


def sample_by_steps(prior: StepPrior, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
    """n draws a prompt from a StepPrior: one uniform a (row, step), inverse distribution function.

    Returns rows prompt-major and log q in nats. Cost: one step of at most 256 rows a token; finished rows are dropped.
    A network on a CPU walks a piece on every thread at once, which changes no draw beyond the logits' last digits.
    """
    if n < 1:
        raise ShapeError(f"n={n} draws a prompt were asked for: at least 1 is needed.")
    most = rows_at_once(prior, len(prompts) * n)
    width = min(n, most)
    per = max(1, most // width)
    pieces: list[tuple[Prompts, int, Tensor]] = []
    for first in range(0, len(prompts), per):
        part = prompts.take(range(first, min(first + per, len(prompts))))
        for draw in range(0, n, width):
            count = min(width, n - draw)
            pieces.append((part, count, row_numbers(len(part), count, first, draw)))
    jobs = [partial(_walk, prior, key, *piece) for piece in pieces]
    walked = spread(jobs) if isinstance(prior, Concurrent) and prior.concurrent else [job() for job in jobs]
    offsets = [int(rows[0] >> 32) for _, _, rows in pieces]
    merged = concat([completions for completions, _ in walked], offsets)
    log_q = torch.cat([pad_to(q, merged.ids.shape[1]) for _, q in walked])
    order = torch.argsort(torch.cat([rows for _, _, rows in pieces])).to(merged.ids.device)
    return merged.rows(order), log_q[order]


def _walk(prior: StepPrior, key: Key, prompts: Prompts, n: int, rows: Tensor) -> tuple[Completions, Tensor]:
    state = prior.start(prompts, n)
    total, horizon = len(prompts) * n, prior.horizon
    logits = prior.next_logits(state)
    device = logits.device
    ends = torch.tensor(sorted(prior.ends), device=device)
    ids = torch.zeros(total, horizon, dtype=torch.long, device=device)
    mask = torch.zeros(total, horizon, dtype=torch.bool, device=device)
    log_q = torch.zeros(total, horizon, dtype=torch.float64, device=device)
    ended = torch.zeros(total, dtype=torch.bool, device=device)
    present = torch.arange(total, device=device)  # the original row of each row in the state
    close = 0
    for t in range(horizon):
        uniform = torch.from_numpy(key.uniform(rows[present.cpu()].numpy(), t)).to(device)
        token, log_p, margin = inverse_cdf(logits, uniform)
        alive = ~ended[present]
        where = present[alive]
        ids[where, t], log_q[where, t], mask[where, t] = token[alive], log_p[alive], True
        close += int((margin[alive] < 16 * torch.finfo(logits.dtype).eps).sum())
        ended[where] = torch.isin(token[alive], ends)
        if t + 1 == horizon or bool(ended.all()):
            break
        alive = ~ended[present]
        if int(alive.sum()) < _KEEP * len(present):
            kept = torch.nonzero(alive).flatten()
            state, present, token = prior.take(state, kept), present[kept], token[kept]
        state = prior.extend(state, token)
        logits = prior.next_logits(state)
    used = int(mask.sum(-1).max())
    prompt = torch.arange(len(prompts), device=device).repeat_interleave(n)
    return Completions(ids[:, :used], mask[:, :used], ended, prompt, close_calls=close), log_q[:, :used]


def score_by_steps(prior: StepPrior, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
    """Score by walking the given tokens: (R, T) nats, zero outside the mask. Cost: one step of R rows a token."""
    out = torch.zeros(completions.ids.shape, dtype=torch.float64, device=completions.ids.device)
    for t, log_p in enumerate(laws_by_steps(prior, prompts, completions) if len(completions) else ()):
        here = completions.mask[:, t]
        out[here, t] = log_p.gather(1, completions.ids[:, t, None]).squeeze(1)[here]
    return out


def laws_by_steps(prior: Prior, prompts: Prompts, completions: Completions) -> Iterator[Float[Tensor, "R V"]]:
    """log π0(·|s_t) for t = 0, 1, … along given rows, nats; whatever stands behind a row's end.

    Raises:
        ConfigError: the prior cannot be stepped, so its laws over the vocabulary cannot be had.
    """
    if not isinstance(prior, StepPrior):
        raise ConfigError(f"{type(prior).__name__} cannot be stepped: what is needed here is its whole next-token law.")
    state = prior.start(prompts.take(completions.prompt.tolist()), 1)
    for t in range(completions.ids.shape[1]):
        yield torch.log_softmax(prior.next_logits(state).double(), -1)
        if t + 1 < completions.ids.shape[1]:
            state = prior.extend(state, completions.ids[:, t])
