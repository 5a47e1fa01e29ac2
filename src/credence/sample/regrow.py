"""Redrawing a part of given texts: what stands before it is kept, what stands after it is kept too, or drawn as well.

The one door through which chains change a text. It walks a StepPrior along the kept tokens and draws the others, so all
rows advance together, one forward pass a token, whatever their cuts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import inverse_cdf
from credence.core.parallel import spread
from credence.core.protocols import StepPrior
from credence.core.types import Completions, Prompts
from credence.prior.steps import Concurrent, rows_at_once

_KEEP = 0.75
"""Finished rows are dropped from the state once fewer than this share grow: copying a cache costs too."""

Lot = Callable[[Int[Tensor, " k"], int], Float[Tensor, " k"]]
"""One uniform in (0, 1) for each of these rows at this position."""


def lots(key: Key, rows: Int[Tensor, " R"]) -> Lot:
    """The key's uniforms, where row r is known to the key as rows[r]."""
    return lambda index, t: torch.from_numpy(key.uniform(rows[index.cpu()].numpy(), t)).to(index.device)


@dataclass(frozen=True, eq=False)
class Regrown:
    """Texts of which a part was drawn anew, all `horizon` tokens wide.

    Attributes:
        completions: whole texts, kept and new tokens; they end at the first end token, or are cut at the horizon.
        log_q: (R, horizon) nats of each token under the prior that was walked, zero outside the mask.
        tokens: fed to the model.
    """

    completions: Completions
    log_q: Float[Tensor, "R T"]
    tokens: int


def regrow(
    prior: StepPrior,
    lot: Lot,
    prompts: Prompts,
    present: Completions,
    log_q: Float[Tensor, "R T"],
    first: Int[Tensor, " R"],
    last: Int[Tensor, " R"],
) -> Regrown:
    """Draw the tokens at positions first ≤ t < last of each row anew from the prior; keep the others.

    A row whose drawn part holds an end token ends there, also before `last`.

    Args:
        prior: walked; its own law draws the new tokens.
        lot: the randomness, see `lots`.
        prompts: whom the rows answer.
        present: R texts, each `horizon` tokens wide.
        log_q: (R, horizon) nats of the present texts under this prior; those before `first` are copied, not recomputed.
        first: position of the first new token; 0 draws a whole text.
        last: position behind the last new token; the horizon draws on to the end. Below it, what follows is kept and
            scored after the new tokens.

    Cost: one pass over the distinct prompts and one step of at most 256 rows a token, as sampling.
    """
    total = len(present)
    size = rows_at_once(prior, total)
    pieces = list(torch.arange(total, device=present.ids.device).split(size))

    def work(rows: Tensor) -> Regrown:
        return _walk(prior, _of(lot, rows), prompts, present.rows(rows), log_q[rows], first[rows], last[rows])

    jobs = [partial(work, rows) for rows in pieces]
    done = spread(jobs) if isinstance(prior, Concurrent) and prior.concurrent else [job() for job in jobs]
    out = [d.completions for d in done]
    return Regrown(
        Completions(
            torch.cat([c.ids for c in out]),
            torch.cat([c.mask for c in out]),
            torch.cat([c.ended for c in out]),
            present.prompt,
            close_calls=sum(c.close_calls for c in out),
        ),
        torch.cat([d.log_q for d in done]),
        sum(d.tokens for d in done),
    )


def _of(lot: Lot, rows: Int[Tensor, " k"]) -> Lot:
    return lambda index, t: lot(rows[index], t)


def _walk(
    prior: StepPrior,
    lot: Lot,
    prompts: Prompts,
    present: Completions,
    log_q: Float[Tensor, "R T"],
    first: Int[Tensor, " R"],
    last: Int[Tensor, " R"],
) -> Regrown:
    """One piece of rows, all in one state of the model."""
    state = prior.start(prompts.take(present.prompt.tolist()), 1)
    logits = prior.next_logits(state)
    device, (total, horizon) = logits.device, present.ids.shape
    ends = torch.tensor(sorted(prior.ends), device=device)
    ids, out = present.ids.clone(), log_q.clone()
    mask = torch.zeros(total, horizon, dtype=torch.bool, device=device)
    ended = torch.zeros(total, dtype=torch.bool, device=device)
    rows = torch.arange(total, device=device)  # the row of each row of the state
    tokens = close = 0
    for t in range(horizon):
        alive = ~ended[rows]
        new = alive & (first[rows] <= t) & (t < last[rows])
        after = alive & (t >= last[rows])
        mask[rows[alive], t] = True
        tokens += int(alive.sum())
        if bool(new.any()):
            token, log_p, margin = inverse_cdf(logits[new], lot(rows[new], t))
            ids[rows[new], t], out[rows[new], t] = token, log_p
            close += int((margin < 16 * torch.finfo(logits.dtype).eps).sum())
        if bool(after.any()):
            out[rows[after], t] = _log_prob(logits[after], ids[rows[after], t])
        ended[rows[alive]] = torch.isin(ids[rows[alive], t], ends)
        if t + 1 == horizon or bool(ended.all()):
            break
        growing = ~ended[rows]
        if int(growing.sum()) < _KEEP * len(rows):
            kept = torch.nonzero(growing).flatten()
            state, rows = prior.take(state, kept), rows[kept]
        state = prior.extend(state, ids[rows, t])
        logits = prior.next_logits(state)
    done = Completions(torch.where(mask, ids, 0), mask, ended, present.prompt, close_calls=close)
    return Regrown(done, torch.where(mask, out, 0.0), tokens)


def _log_prob(logits: Float[Tensor, "k V"], token: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
    return logits.gather(1, token[:, None]).squeeze(1).double() - torch.logsumexp(logits, -1).double()
