"""The laws of a prior: what is scored is what was sampled, draws depend on their key alone, outcomes sum to one."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Prior, StepPrior
from credence.core.types import Completions, Prompts
from credence.posterior.exact import as_completions, tree
from credence.prior.steps import score_by_steps
from credence.testing.compare import ALARM, behind_the_mask, close, gap, others, same_rows, subset
from credence.testing.laws import Broken, Laws, Trial, Untried, hold, members, refuses
from credence.testing.statistics import LEAST_CELL, p_counts

PRIOR = ("codec", "ends", "horizon", "sample", "score")
STEPS = ("start", "next_logits", "extend", "take")

_KEY = Key(11)

LEAVES = 20_000
"""Completions up to which their probabilities are summed."""

_BINS = 10


@dataclass(frozen=True)
class _Case:
    """A prior on trial, and the draws that several laws look at."""

    prior: Any
    prompts: Prompts
    n: int
    key: Key
    tolerance: float
    tokens: int
    leaves: int
    _drawn: list[tuple[Completions, Tensor]] = field(default_factory=list[tuple[Completions, Tensor]])

    def drawn(self) -> tuple[Completions, Tensor]:
        """n draws a prompt, drawn once."""
        if not self._drawn:
            self._drawn.append(self.prior.sample(self.key, self.prompts, self.n))
        return self._drawn[0]

    def sample(self, prompts: Prompts, n: int) -> Completions:
        """Draws by the same key."""
        return self.prior.sample(self.key, prompts, n)[0]


def check_prior(prior: object, prompts: Prompts, n: int = 9, key: Key = _KEY, tolerance: float = 1e-10) -> Laws:
    """Hold a Prior to its laws.

    Args:
        prior: on trial.
        prompts: at least one; several of unlike length show more.
        n: draws a prompt.
        key: of the draws.
        tolerance: nats by which a token's score may differ: 1e-10 for float64, about 1e-4 for a model in float32.

    Cost: about 5 n draws a prompt and 4 n scorings. Two laws compare draws that chance makes differ: a right prior
    breaks one with probability 1e-6 at most. Test: tests/unit/test_testing_priors.py, a broken prior for each law.
    """
    return hold(f"Prior: {type(prior).__name__}", _prior_trials(_Case(prior, prompts, n, key, tolerance, 0, 0)))


def check_step_prior(
    prior: object,
    prompts: Prompts,
    n: int = 9,
    key: Key = _KEY,
    tolerance: float = 1e-10,
    tokens: int = 400,
    leaves: int = LEAVES,
) -> Laws:
    """Hold a StepPrior to the laws of a Prior and those of its steps.

    Args:
        prior: on trial.
        prompts: as for check_prior.
        n: draws a prompt.
        key: of the draws.
        tolerance: nats a token, as for check_prior; the sum of all outcomes may differ from 1 by a hundredth of it.
        tokens: drawn for the law that tokens are drawn by their steps' law: 200 at least, 0 leaves it untried.
        leaves: most completions that are enumerated for the law that outcomes sum to one.

    Cost: as check_prior, `tokens` drawn tokens with their logits, and one scoring of every leaf. False-alarm rate 1e-6
    each of three laws. Test: tests/unit/test_testing_priors.py.
    """
    case = _Case(prior, prompts, n, key, tolerance, tokens, leaves)
    return hold(f"StepPrior: {type(prior).__name__}", [*_prior_trials(case), *_step_trials(case)])


def _prior_trials(case: _Case) -> list[Trial]:
    return [
        Trial("has the members of a Prior", lambda: members(case.prior, Prior, PRIOR), vital=True),
        Trial("draws rows that are prompt-major and well formed", lambda: _well_formed(case), vital=True),
        Trial("scores what it sampled", lambda: _scored(case)),
        Trial("gives the same draws for the same key, others for another", lambda: _by_key(case)),
        Trial("gives a draw the same tokens in any batch", lambda: _any_batch(case)),
        Trial("gives equal prompts in other places other draws", lambda: _other_places(case)),
        Trial("scores each row by itself", lambda: _rows(case)),
        Trial("does not read what stands behind the mask", lambda: _masked(case)),
        Trial("refuses n = 0", lambda: refuses(lambda: case.prior.sample(case.key, case.prompts, 0), "n = 0")),
    ]


def _step_trials(case: _Case) -> list[Trial]:
    return [
        Trial("has the members of a StepPrior", lambda: members(case.prior, StepPrior, (*PRIOR, *STEPS)), vital=True),
        Trial("steps and scores by one law", lambda: _stepped(case)),
        Trial("keeps rows apart when they are taken", lambda: _taken(case)),
        Trial("has outcomes that sum to one, the cut ones too", lambda: _sums(case)),
        Trial(f"draws tokens by its steps' law [false alarm {ALARM:g}]", lambda: _drawn_by_steps(case)),
    ]


def _well_formed(case: _Case) -> str:
    completions, log_q = case.drawn()
    prior, wanted = case.prior, [b for b in range(len(case.prompts)) for _ in range(case.n)]
    if completions.prompt.tolist() != wanted:
        raise Broken(f"{case.n} draws of each of {len(case.prompts)} prompts, prompt by prompt, are needed")
    if log_q.dtype != torch.float64 or log_q.shape != completions.ids.shape:
        raise Broken(f"log q is {log_q.dtype} {tuple(log_q.shape)}; float64 {tuple(completions.ids.shape)} is needed")
    if gap(log_q[~completions.mask], torch.zeros_like(log_q[~completions.mask])) > 0:
        raise Broken("log q is not 0 outside the mask")
    if not bool((torch.isfinite(log_q) & (log_q <= 0)).all()):
        raise Broken("log q of a drawn token is above 0, NaN or −inf")
    for r, (tokens, ended) in enumerate(zip(completions.tokens(), completions.ended.tolist(), strict=True)):
        if not tokens or len(tokens) > prior.horizon:
            raise Broken(f"row {r} has {len(tokens)} tokens; from 1 to the horizon, {prior.horizon}, are needed")
        if set(prior.ends) & set(tokens[:-1]):
            raise Broken(f"row {r} goes on behind its end token: {tokens}")
        if ended != (tokens[-1] in prior.ends):
            raise Broken(
                f"row {r} says ended={ended}, and its last token is {tokens[-1]}: the end token belongs to the row"
            )
        if not ended and len(tokens) != prior.horizon:
            raise Broken(f"row {r} stops after {len(tokens)} tokens, neither ended nor cut at {prior.horizon}")
    return f"{len(completions)} rows, {int(completions.ended.sum())} ended"


def _scored(case: _Case) -> str:
    completions, log_q = case.drawn()
    return close(case.prior.score(case.prompts, completions), log_q, case.tolerance, "score and log q")


def _by_key(case: _Case) -> str:
    completions, log_q = case.drawn()
    again, again_q = case.prior.sample(case.key, case.prompts, case.n)
    same_rows(again, completions, "drawn again by the same key")
    close(again_q, log_q, case.tolerance, "log q of the same draws")
    other = case.prior.sample(case.key.fold("another"), case.prompts, case.n)[0]
    return others(other, completions, log_q, "drawn by another key")


def _any_batch(case: _Case) -> str:
    completions, _ = case.drawn()
    n, last = case.n, len(case.prompts) - 1
    fewer = max(1, n // 2)
    first = torch.tensor([b * n + d for b in range(last + 1) for d in range(fewer)])
    same_rows(case.sample(case.prompts, fewer), completions.rows(first), f"{fewer} draws a prompt, not {n}")
    same_rows(case.sample(case.prompts.take([0]), n), completions.rows(torch.arange(n)), "the first prompt alone")
    turned = case.sample(case.prompts.take([last, *range(1, last + 1)]), n)
    kept = torch.arange(n, (last + 1) * n)
    return same_rows(turned.rows(kept), completions.rows(kept), "behind another first prompt") if last else "one prompt"


def _other_places(case: _Case) -> str:
    found = ""
    for n in (case.n, 8 * case.n):  # more only where the first few are equal, and that could be chance
        completions, log_q = case.prior.sample(case.key, case.prompts.take([0, 0]), n)
        here, there = torch.arange(n), torch.arange(n, 2 * n)
        found = others(completions.rows(here), completions.rows(there), log_q[here], "one prompt in two places")
        if not found:
            break
    return found


def _rows(case: _Case) -> str:
    completions, _ = case.drawn()
    whole, index = case.prior.score(case.prompts, completions), subset(len(completions))
    close(
        case.prior.score(case.prompts, completions.rows(index)), whole[index], case.tolerance, "five rows out of order"
    )
    return close(
        case.prior.score(case.prompts, completions.rows(index[:1])), whole[index[:1]], case.tolerance, "one row"
    )


def _masked(case: _Case) -> str:
    completions, _ = case.drawn()
    whole = case.prior.score(case.prompts, completions)
    found = case.prior.score(case.prompts, behind_the_mask(completions, int(completions.ids.max())))
    return close(found, torch.nn.functional.pad(whole, (0, 1)), case.tolerance, "other tokens behind the mask")


def _stepped(case: _Case) -> str:
    completions, _ = case.drawn()
    scored = case.prior.score(case.prompts, completions)
    return close(scored, score_by_steps(case.prior, case.prompts, completions), case.tolerance, "score and steps")


def _log_step(prior: Any, state: Any) -> Tensor:  # noqa: ANN401 - on trial, and its own state
    return torch.log_softmax(prior.next_logits(state).double(), -1)


def _taken(case: _Case) -> str:
    """Rows taken out of order and twice go on as each would alone."""
    prior, prompts = case.prior, case.prompts.take([0, len(case.prompts) - 1])
    if prior.horizon < 3:
        raise Untried(f"horizon {prior.horizon}: at least 3 is needed")
    state = prior.start(prompts, 2)
    first = _going_on(prior, state, torch.tensor([0, 1, 0, 1]))
    order = torch.tensor([3, 0, 3])
    state = prior.take(prior.extend(state, first), order)
    second = _going_on(prior, state, torch.tensor([0, 0, 1]))
    found = _log_step(prior, prior.extend(state, second))
    for row, (source, token) in enumerate(zip(order.tolist(), second.tolist(), strict=True)):
        alone = prior.extend(prior.start(prompts.take([source // 2]), 1), first[source : source + 1])
        wanted = _log_step(prior, prior.extend(alone, torch.tensor([token])))
        close(
            found[row : row + 1], wanted, case.tolerance, f"row {row}, taken from {source}, and the same walked alone"
        )
    return "3 rows, one of them twice"


def _going_on(prior: Any, state: Any, place: Tensor) -> Tensor:  # noqa: ANN401 - on trial, and its own state
    """A token of each row that does not end it, the likeliest (place 0) or the next (1) if there are two."""
    log_p = _log_step(prior, state)
    log_p[:, torch.tensor(sorted(prior.ends))] = -math.inf
    possible = torch.isfinite(log_p).sum(1)
    if int(possible.min()) == 0:
        raise Untried("after some prefix no token but the end is possible")
    place = torch.minimum(place.to(log_p.device), possible - 1)
    return log_p.argsort(1, descending=True).gather(1, place[:, None]).squeeze(1)


def _sums(case: _Case) -> str:
    prior, one = case.prior, case.prompts.take([len(case.prompts) // 2])
    vocab = prior.next_logits(prior.start(one, 1)).shape[1]
    least = sum((vocab - len(prior.ends)) ** t for t in range(prior.horizon)) * vocab
    if least > case.leaves:
        raise Untried(f"up to {least:.2g} completions: over {case.leaves:,}")
    leaves, _, log_step = tree(prior, one)
    log_p = prior.score(one, as_completions(leaves, prior.ends)).sum(-1)
    stepped = torch.stack([torch.stack([log_step[s[:t]][s[t]] for t in range(len(s))]).sum() for s in leaves])
    close(
        log_p, stepped, case.tolerance * prior.horizon, "score and steps of an outcome (impossible is −inf, never NaN)"
    )
    missing = abs(float(log_p.exp().sum()) - 1)
    if not missing <= case.tolerance / 100:
        raise Broken(f"{len(leaves)} outcomes sum to {float(log_p.exp().sum()):.12g}")
    return f"{len(leaves)} outcomes, |Σ − 1| = {missing:.1g}"


def _drawn_by_steps(case: _Case) -> str:
    """Where a drawn token stands in its law, most likely tokens first: uniform if the law is the one drawn from."""
    prior, key = case.prior, case.key.fold("steps")
    if case.tokens < _BINS * LEAST_CELL:
        raise Untried(f"tokens={case.tokens}: at least {_BINS * LEAST_CELL:.0f} are needed")
    places: list[Tensor] = []
    count = 0
    for batch in range(1 + case.tokens // len(case.prompts)):
        completions, _ = prior.sample(key.fold(batch), case.prompts, 1 + case.tokens // (2 * len(case.prompts)))
        places += _places(prior, case.prompts, completions, key.fold("ties", batch))
        count = sum(len(p) for p in places)
        if count >= case.tokens:
            break
    cells = torch.bincount((torch.cat(places) * _BINS).long().clamp(max=_BINS - 1), minlength=_BINS).double()
    p = p_counts(cells, torch.full((_BINS,), count / _BINS, dtype=torch.float64))
    if p < ALARM:
        raise Broken(f"{count} tokens: the most likely ones come too often or too rarely, p = {p:.2g}")
    return f"{count} tokens, p = {p:.2g}"


def _places(prior: Any, prompts: Prompts, completions: Completions, key: Key) -> list[Tensor]:  # noqa: ANN401 - on trial
    """u = P(likelier tokens) + U · P(token), of every drawn token."""
    out: list[Tensor] = []
    state = prior.start(prompts.take(completions.prompt.tolist()), 1)
    rows = torch.arange(len(completions)).numpy()
    for t in range(completions.ids.shape[1]):
        here, token = completions.mask[:, t], completions.ids[:, t]
        p = torch.softmax(prior.next_logits(state).double(), -1)
        own = p.gather(1, token[:, None])
        index = torch.arange(p.shape[1], device=p.device)
        ahead = (p > own) | ((p == own) & (index < token[:, None]))
        uniform = torch.from_numpy(key.uniform(rows, t)).to(p.device)
        place = (p * ahead).sum(1) + uniform * own.squeeze(1)
        if bool((own.squeeze(1)[here] == 0).any()):
            raise Broken("a token was drawn that its step calls impossible")
        out.append(place[here].cpu())
        if t + 1 < completions.ids.shape[1]:
            state = prior.extend(state, token)
    return out
