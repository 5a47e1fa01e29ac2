"""Rejection: exact posterior draws, wherever the evidence is bounded."""

import math
import time
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Target
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts, concat, pad_to
from credence.evidence.product import max_log_lik
from credence.prior.steps import ROWS
from credence.sample.importance import Importance, log_z_from


@dataclass(frozen=True)
class Rejection:
    """Propose x ~ π0, accept it with probability exp(log_lik(x) − bound): what is accepted follows p* exactly.

    Guarantee: EXACT. Proposals come in whole batches, each as large as all before it together (2n at first, 256 at
    most), until every prompt has n accepted or has spent `most`. The draws are the first n accepted in the order of
    proposal, and that order does not know of batches. A prompt with fewer keeps what it has; one with none has
    Status.EMPTY; one where a log_lik lay above the bound has Status.BOUND_VIOLATED, a RuntimeWarning names the
    completion, and its draws are not exact (they are QuasiRejection's, whose law is stated).

    log_z is the log of the mean weight of every proposal made *before* the last acceptance that ended the search (of
    all of them where the search ran out). A mean that also counted the last batch to its end would be biased, because
    a lucky batch ends the search; before the m-th acceptance, m ≥ 2, the proposals are exchangeable given their
    number, so their mean is a conditional expectation of the first weight: unbiased. Hence the search goes on to the
    second acceptance when n = 1.

    info: acceptance (share accepted among the proposals that log_z counts: unbiased for Z/exp(bound), as Haldane's
    (m − 1)/(N − 1)), proposals (made), accepted (returned), above (proposals above the bound), excess (largest
    log_lik − bound, nats; above 0 is a violation). diagnose.acceptance.bound_finding reads them.

    Args:
        bound: nats that log_lik never exceeds; by default what the evidence says of itself (max_log_lik).
        most: proposals a prompt, at most.

    Raises:
        ConfigError: no finite bound is known, or most below 1.
        ShapeError: n below 1.

    Cost: exp(bound)/Z proposals a draw. Source: von Neumann 1951; Haldane 1945 (the stopped mean); SCIENCE 5. Tested
    in tests/statistical/test_draws.py.
    """

    bound: float | None = None
    most: int = 4096
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(f"most={self.most}: at least one proposal a prompt is needed.")

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """At most n exact draws a prompt, prompt-major."""
        began = time.process_time()
        bound = self.known_bound(posterior)
        found = search(key, posterior, prompts, n, bound, self.most)
        out = accept(found, bound, key, n, stopped_at=goal(n))
        return replace(out, cost=Cost(found.cost.tokens, time.process_time() - began))

    def known_bound(self, posterior: Target) -> float:
        """The bound in nats: the given one, else the evidence's own.

        Raises:
            ConfigError: neither is finite.
        """
        bound = max_log_lik(posterior.evidence) if self.bound is None else self.bound
        if not math.isfinite(bound):
            raise ConfigError(
                f"rejection needs a finite bound on log_lik, and this evidence says {bound}. Give the largest value "
                "that the reward can take, Reward(fn, beta, bound=...), or the nats themselves, Rejection(bound=...).",
                "no bound",
            )
        return bound


def goal(n: int) -> int:
    """Acceptances that end the search for n draws."""
    return max(n, 2)


def search(
    key: Key,
    posterior: Target,
    prompts: Prompts,
    n: int,
    bound: float | Float[Tensor, " B"],
    most: int,
    proposal: Prior | None = None,
) -> Draws:
    """All proposals, with their weights, until every prompt has goal(n) acceptances or has spent `most`.

    Raises:
        ShapeError: n below 1, or no prompt.
    """
    if n < 1 or len(prompts) == 0:
        raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
    open_, made, batch = list(range(len(prompts))), 0, 0
    found: Draws | None = None
    while found is None or (open_ and made < most):
        size = min(most - made, ROWS, max(made, 2 * n))
        engine = Importance(proposal, probe=0)
        new = engine.draw(key.fold("propose", batch), posterior, prompts.take(open_), size)
        found = _joined(found, new, torch.tensor(open_), prompts, key)
        accepted = accepted_by(found, bound, key)
        count = torch.bincount(found.completions.prompt[accepted], minlength=len(prompts))
        open_ = [b for b in open_ if int(count[b]) < goal(n)]
        made, batch = made + size, batch + 1
    return found


def accept(prior_draws: Draws, bound: float, key: Key, n: int | None = None, *, stopped_at: int | None = None) -> Draws:
    """Turn stored draws of the prior, whose log_w is log_lik (`Importance()` makes them), into exact posterior draws.

    Args:
        prior_draws: any number a prompt; their order within a prompt is the order of proposal.
        bound: nats that log_lik never exceeds.
        key: one uniform a (prompt, place): the same draws and key accept the same.
        n: keep the first n accepted a prompt; all of them by default.
        stopped_at: None where the number of draws was fixed beforehand, as it is for stored ones: then every weight
            counts in log_z. Else proposing stopped because of this many acceptances: see Rejection.

    Returns:
        Draws with log_w = 0; status and info as Rejection says.
    """
    out = keep(prior_draws, bound, key, n, stopped_at)
    status = tuple(
        Status.BOUND_VIOLATED if above > SLACK else known
        for above, known in zip(out.info["excess"].tolist(), out.status, strict=True)
    )
    _warn(prior_draws, prior_draws.log_w - bound, bound)
    return replace(out, status=status)


def keep(
    proposals: Draws, bound: float | Float[Tensor, " B"], key: Key, n: int | None, stopped_at: int | None
) -> Draws:
    """The accepted ones of some proposals; see `accept`. Whether the bound held is in info, and not judged."""
    given, prompts = proposals.completions, len(proposals.prompts)
    accepted = accepted_by(proposals, bound, key)
    rank = _rank(accepted, given.prompt)  # 1 for a prompt's first accepted draw
    counted = torch.ones_like(accepted)
    if stopped_at is not None:
        # Behind the last acceptance that was needed, or on it: rows that exist only because of how the search ended.
        counted = rank < stopped_at
    log_z, se, _ = log_z_from(proposals.log_w[counted], given.prompt[counted], prompts)
    rows = torch.nonzero(accepted & (rank <= n) if n is not None else accepted).flatten()
    rows = rows[torch.argsort(given.prompt[rows], stable=True)]
    kept = torch.bincount(given.prompt[rows], minlength=prompts)
    hits = torch.bincount(given.prompt[accepted & counted], minlength=prompts)
    over = proposals.log_w - _by_row(bound, given.prompt, proposals.log_w)
    excess = torch.full((prompts,), -torch.inf, dtype=torch.float64, device=over.device)
    info = {
        "acceptance": hits / torch.bincount(given.prompt[counted], minlength=prompts),
        "proposals": torch.bincount(given.prompt, minlength=prompts).double(),
        "accepted": kept.double(),
        "above": torch.bincount(given.prompt[over > SLACK], minlength=prompts).double(),
        "excess": excess.scatter_reduce(0, given.prompt, over, "amax"),
    }
    return replace(
        proposals,
        completions=given.rows(rows),
        log_q=proposals.log_q[rows],
        log_w=torch.zeros(len(rows), dtype=torch.float64, device=over.device),
        log_z=log_z,
        log_z_se=se,
        status=tuple(Status.EMPTY if count == 0 else Status.OK for count in kept.tolist()),
        key=key,
        info=info,
        readings={name: values[rows] for name, values in proposals.readings.items()},
    )


SLACK = 1e-9
"""Nats by which rounding may lift a reward that reaches its bound above it."""


def _place(prompt: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    """Each row's place among its prompt's rows, 0 first."""
    return _rank(torch.ones_like(prompt, dtype=torch.bool), prompt) - 1


def _rank(chosen: Bool[Tensor, " R"], prompt: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    """How many chosen rows of its prompt stand at each row or before it."""
    if len(prompt) == 0:
        return torch.zeros_like(prompt)
    order = torch.argsort(prompt, stable=True)
    running = chosen[order].long().cumsum(0)
    sizes = torch.bincount(prompt)
    last = sizes.cumsum(0)[sizes > 0] - 1  # the last row of each prompt that has rows
    before = torch.cat([torch.zeros_like(running[:1]), running[last][:-1]])
    rank = running - before.repeat_interleave(sizes[sizes > 0])
    return torch.empty_like(rank).index_copy(0, order, rank)


def _by_row(bound: float | Float[Tensor, " B"], prompt: Int[Tensor, " R"], like: Tensor) -> Tensor:
    """The bound of each row's prompt, nats."""
    return bound.to(like)[prompt] if isinstance(bound, Tensor) else torch.full_like(like, bound)


def accepted_by(draws: Draws, bound: float | Float[Tensor, " B"], key: Key) -> Bool[Tensor, " R"]:
    """Which rows a uniform lets through, with probability min(1, exp(log_w − bound))."""
    prompt = draws.completions.prompt
    rows = (prompt << 32) + _place(prompt)
    uniform = torch.from_numpy(key.fold("accept").uniform(rows.cpu().numpy(), 0)).to(draws.log_w.device)
    return torch.log(uniform) < draws.log_w - _by_row(bound, prompt, draws.log_w)


def _joined(found: Draws | None, new: Draws, prompt: Tensor, prompts: Prompts, key: Key) -> Draws:
    """Append a batch on some of the prompts, whose numbers are `prompt`, to what was found on all of them."""
    rows = replace(new.completions, prompt=prompt.to(new.completions.prompt.device)[new.completions.prompt])
    if found is None:
        return replace(new, prompts=prompts, completions=rows, key=key)
    merged = concat([found.completions, rows], [0, 0])
    width = merged.ids.shape[1]
    return replace(
        found,
        completions=merged,
        log_q=torch.cat([pad_to(found.log_q, width), pad_to(new.log_q, width)]),
        log_w=torch.cat([found.log_w, new.log_w]),
        cost=found.cost + new.cost,
        readings={name: torch.cat([values, new.readings[name]]) for name, values in found.readings.items()},
    )


def _warn(draws: Draws, over: Tensor, bound: float) -> None:
    row = int(over.argmax()) if len(over) else 0
    if len(over) and float(over[row]) > SLACK:
        text = draws.prompts.codec.decode(draws.completions.rows(torch.tensor([row])).tokens()[0])
        given = draws.prompts.given[int(draws.completions.prompt[row])]
        warnings.warn(
            f"rejection: {text!r} (prompt {given!r}) has log_lik {bound + float(over[row]):.6g} nats, above the bound "
            f"{bound:.6g}: the draws of this prompt are not exact. Give a bound of at least that.",
            RuntimeWarning,
            stacklevel=3,
        )
