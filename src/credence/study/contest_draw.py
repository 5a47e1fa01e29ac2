"""An engine that draws, in a comparison: rounds on the held-out prompts until its budget is spent, and what they tell.

The law compared is that of one reply. Where draws follow a law of their own each is such a reply; where they come
weighted, the reply is one of a round, taken by weight: so a round is what it costs, and what its log Ẑ bounds.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import ess, normalise
from credence.core.meter import metered
from credence.core.protocols import Guarantee, Sampler, Target
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts
from credence.diagnose.weights import pareto_k
from credence.posterior.posterior import Posterior
from credence.sample.stop import Stop, draw_until
from credence.study.allowance import Budget
from credence.study.measured import Measured, distinct
from credence.study.peak import Peak
from credence.study.ruler import Drawn

ROUND, WEIGHTED_ROUND = 8, 64
"""Draws a prompt and round, by default: of which each is a reply; of which one is taken by weight."""
MOST = 1_000_000_000
"""Draws a prompt that end nothing: only the budget does."""

CHAIN = "where a chain stands has no density: neither divergence can be had"
NO_DENSITY = "its law has no density that can be computed"
NO_LAW = "its law has no density, and nothing it tells bounds the divergence"
VIOLATED = "the evidence exceeds the bound that rejection was given"
NO_UPPER = "an upper bound needs a law that can be scored on exact posterior draws"
NO_LOG_Z = "it estimates no log Z"
EQUAL = "its draws count equally: there are no weights"


@runtime_checkable
class KnowsDistance(Protocol):
    """A sampler that can say how far its law lies from the prior."""

    def kl_prior(self, log_lik: Tensor) -> float:
        """KL(law‖π0) in nats, from log_lik of prior draws of one prompt."""
        ...


@dataclass(eq=False)
class Counted:
    """A sampler whose draws cost what went through the models, and whose rounds are kept apart.

    Attributes:
        inner: the engine.
        told: called after each round with what it took.
        rounds: as drawn.
    """

    inner: Sampler
    told: Callable[[Mapping[str, Any]], None]
    rounds: list[Draws] = field(default_factory=list)

    @property
    def guarantee(self) -> Guarantee:
        """As the engine's; chains begin anew in each round, so that more rounds bring their law no nearer."""
        own = self.inner.guarantee
        return Guarantee.BIASED if own is Guarantee.CONSISTENT else own

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """One round."""
        began = time.process_time()
        with metered() as meter:
            drawn = self.inner.draw(key, posterior, prompts, n)
        # A prior that is no language model has no such door: there the engine's own count stands.
        cost = Cost(meter.tokens or drawn.cost.tokens, time.process_time() - began)
        drawn = replace(drawn, cost=cost)
        self.rounds.append(drawn)
        seen = {"round": len(self.rounds), "draws": len(drawn.completions), "log_z": float(drawn.log_z.mean())}
        self.told({**seen, "tokens": cost.tokens, "seconds": cost.seconds})
        return drawn


def draw(
    sampler: Sampler,
    size: int | None,
    posterior: Posterior,
    prompts: Prompts,
    key: Key,
    budget: Budget,
    reward: str,
    reference: Drawn,
    told: Callable[[Mapping[str, Any]], None],
    device: str = "cpu",
    density: bool = False,
) -> Measured:
    """Spend the budget on the held-out prompts, and reduce what was drawn.

    Args:
        sampler: the engine.
        size: draws a prompt and round; None for the default.
        posterior: the target.
        prompts: held out.
        key: of this seed.
        budget: a round is not begun where one as dear as the dearest so far would not fit, but the first.
        reward: the reading that reports call so.
        reference: prior draws, for engines that know their law by them.
        told: a record a round.
        device: whose memory.
        density: draws are the prior's own, taken as they come.

    Raises:
        ConfigError, ContractError, DegeneracyError: as the engine.
    """
    weighted = sampler.guarantee is Guarantee.UNBIASED_Z and not density
    counted, peak = Counted(sampler, told), Peak(device)
    stop = Stop(draws=MOST, tokens=int(budget.limit)) if budget.unit == "tokens" else Stop(MOST, cpu=budget.limit)
    pooled = draw_until(
        counted,  # pyright: ignore[reportArgumentType] - its guarantee is that of the engine inside
        key, posterior, prompts, stop, size or (WEIGHTED_ROUND if weighted else ROUND),
    ).draws  # fmt: skip
    memory, count = peak.mib, len(prompts)
    owner = pooled.completions.prompt
    rounds, drawn = len(counted.rounds), torch.bincount(owner, minlength=count).double()
    replies = rounds * count if weighted else len(pooled.completions)
    spent = pooled.cost
    log_z = torch.stack([d.log_z.double().cpu() for d in counted.rounds])
    made = Measured(
        log_z=log_z,
        unique=distinct(pooled.completions, ~torch.isneginf(pooled.log_w), count).cpu(),
        draws=drawn.cpu(),
        answers=bool((drawn > 0).all()) and not bool(torch.isneginf(log_z).all(0).any()),
        memory=memory,
        replies=replies,
        cost=spent,
        each=Cost(round(spent.tokens / replies), spent.seconds / replies) if replies else None,
        note=_note(pooled, counted.rounds, budget),
    )
    if density:
        _dense(made, pooled, posterior, reward)
        return made
    _units(made, sampler, counted.rounds, posterior, reward, reference)
    _weights(made, sampler, pooled, rounds)
    return made


def _note(pooled: Draws, rounds: list[Draws], budget: Budget) -> str:
    words = f"{len(rounds)} round{'s' * (len(rounds) > 1)}"
    if budget.of(pooled.cost) > budget.limit:
        words += "; a single one takes more than the budget"
    seen = {status for d in rounds for status in d.status}
    words += "; a reply lay above the bound, so these draws are not exact" if Status.BOUND_VIOLATED in seen else ""
    words += "; its proposal cannot say all that the posterior can" if Status.UNREACHED in seen else ""
    none = sum(1 for b in range(len(pooled.prompts)) if len(pooled.of(b)) == 0)
    return words + (f"; no reply to {none} of {len(pooled.prompts)} prompts" if none else "")


def _dense(made: Measured, pooled: Draws, posterior: Posterior, reward: str) -> None:
    """Draws of the prior itself: the same number a prompt, since all prompts share the rounds."""
    shape = (len(pooled.prompts), -1)
    log_prior, lik = pooled.log_q.sum(-1).view(shape), posterior.log_lik(pooled.prompts, pooled.completions).view(shape)
    ended = pooled.completions.ended.double().view(shape)
    columns = (log_prior, log_prior, lik, pooled.readings[reward].view(shape), ended)
    made.drawn = Drawn(*(x.double().cpu() for x in columns))
    made.ess = ess(lik).cpu()
    made.pareto_k = torch.tensor([pareto_k(w) for w in lik], dtype=torch.float64)


def _units(
    made: Measured, sampler: Sampler, rounds: list[Draws], posterior: Posterior, reward: str, reference: Drawn
) -> None:
    """The law's pieces, and what is known of its distance."""
    guarantee, why = sampler.guarantee, {"kl_forward": NO_DENSITY, "log_z_high": NO_UPPER}
    known = isinstance(sampler, KnowsDistance)
    moved = [sampler.kl_prior(lik) for lik in reference.log_lik] if isinstance(sampler, KnowsDistance) else []
    told = rounds[0].info
    pieces: list[Tensor] = []
    for d in rounds:
        lik = posterior.log_lik(d.prompts, d.completions).double().cpu()
        columns = torch.stack([lik, d.readings[reward].double().cpu(), d.completions.ended.double().cpu()], -1)
        pieces += [_piece(d, b, columns, guarantee, moved) for b in range(len(d.prompts))]
    made.units = torch.cat(pieces)
    if guarantee is Guarantee.EXACT:
        made.exact = not any(Status.BOUND_VIOLATED in d.status for d in rounds)
        if made.exact:
            why.pop("kl_forward")
        else:
            why |= dict.fromkeys(("kl_prior", "kl_reverse", "gap_closed"), VIOLATED)
    elif guarantee is Guarantee.UNBIASED_Z or (not known and "kl_bound" in told):
        made.bound = "upper"
    elif not known and "kl" not in told:
        reason = CHAIN if guarantee is Guarantee.CONSISTENT else NO_LAW
        why |= dict.fromkeys(("kl_prior", "kl_reverse", "gap_closed"), reason)
        why["kl_forward"] = CHAIN if guarantee is Guarantee.CONSISTENT else NO_DENSITY
    if "kl_posterior_bound" in told:
        made.forward = torch.stack([d.info["kl_posterior_bound"].double().cpu() for d in rounds]).mean(0)
        why.pop("kl_forward")
    if made.log_z is not None and bool(torch.isnan(made.log_z).all()):
        why["log_z_low"] = NO_LOG_Z
    made.why = why


def _piece(d: Draws, b: int, columns: Tensor, guarantee: Guarantee, moved: list[float]) -> Tensor:
    """(U, 5) of one prompt in one round: its draws, or their weighted mean where one is taken by weight."""
    rows = d.of(b).cpu()
    mine, log_w = columns[rows], d.log_w.double().cpu()[rows]
    possible = ~torch.isneginf(log_w)
    if guarantee in (Guarantee.UNBIASED_Z, Guarantee.CONSISTENT):
        share = torch.exp(normalise(log_w))[:, None]
        mean = torch.where(share > 0, share * mine, 0.0).sum(0, keepdim=True)
        dead = len(rows) == 0 or not bool(possible.any())
        mine = torch.tensor([[-math.inf, math.nan, math.nan]], dtype=torch.float64) if dead else mean
    if guarantee is Guarantee.UNBIASED_Z:
        elbo = d.log_z[b].double().cpu().expand(len(mine))
    elif moved:
        elbo = mine[:, 0] - moved[b]
    elif "kl" in d.info:
        elbo = (d.log_z[b] - d.info["kl"][b]).double().cpu().expand(len(mine))
    elif "kl_bound" in d.info:
        elbo = mine[:, 0] - float(d.info["kl_bound"][b])
    else:
        elbo = torch.full((len(mine),), math.nan, dtype=torch.float64)
    owner = torch.full((len(mine), 1), float(b), dtype=torch.float64)
    return torch.cat([owner, mine, elbo[:, None]], 1)


def _weights(made: Measured, sampler: Sampler, pooled: Draws, rounds: int) -> None:
    """Effective draws and tail of the weights, where the engine leaves any."""
    why, told, count = dict(made.why), pooled.info, len(pooled.prompts)
    each = [pooled.log_w[pooled.of(b)].double().cpu() for b in range(count)]
    flat = all(len(w[~torch.isneginf(w)].unique()) <= rounds for w in each)  # one weight a round at most
    if sampler.guarantee is Guarantee.UNBIASED_Z:
        made.ess = told["ess_before_draws"].cpu() * rounds if "ess_before_draws" in told else told["ess"].cpu()
    elif sampler.guarantee is Guarantee.CONSISTENT and "ess" in told:
        made.ess = told["ess"].cpu() * rounds
    else:
        made.ess = made.draws
    if flat:
        why["pareto_k"] = EQUAL
    else:
        made.pareto_k = torch.tensor([pareto_k(w) for w in each], dtype=torch.float64)
    made.why = why
