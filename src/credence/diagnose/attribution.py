"""Why the posterior says this: the nats by which each token of a text is moved, and by which evidence.

    m_t = log p*(x_t | x_<t) − log π0(x_t | x_<t) = log ψ*(x_≤t) − log ψ*(x_<t)        Σ_t m_t = log_lik(x) − log Z

ψ*(s) = E_π0[e^log_lik | s] is the soft value of a prefix; at the end of the text it is the evidence itself. It is
estimated from continuations of each prefix by the prior, so the target itself is read and no engine's policy. What one
piece of evidence has to do with it is m_t less what m_t would be without that piece, from the same continuations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import ess
from credence.core.protocols import Evidence, StepPrior
from credence.core.types import Completions, Prompts
from credence.evidence.strength import factors
from credence.posterior.posterior import Posterior
from credence.sample.regrow import lots, regrow

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Attribution:
    """One text of T tokens taken apart.

    Attributes:
        moved: (T,) m_t in nats: how much likelier the posterior makes this token than the prior; NaN where no
            continuation of the prefix was possible, so that nothing is known.
        se: (T,) its standard error.
        names: of the F pieces of evidence.
        of: (F, T) what m_t owes to each piece: m_t less m_t without it. Pieces that work together do not add up to m_t.
        of_se: (F, T) standard errors.
        log_lik: nats of the whole text (or the estimate of log ψ* where the text is unfinished).
        log_z: estimate of log Z in nats.
        ess: (T,) effective continuations behind the prefix before each token.
        tokens: fed to the prior.
    """

    moved: Float[Tensor, " T"]
    se: Float[Tensor, " T"]
    names: tuple[str, ...]
    of: Float[Tensor, "F T"]
    of_se: Float[Tensor, "F T"]
    log_lik: float
    log_z: float
    ess: Float[Tensor, " T"]
    tokens: int


def attribute(
    posterior: Posterior, prompts: Prompts, row: Completions, key: Key, draws: int = 64, tick: Tick = lambda: None
) -> Attribution:
    """Take one text apart, token by token.

    Continuation k of every prefix uses the same uniforms, so that the noise of neighbouring prefixes is shared and
    falls out of their difference; the standard errors are the jackknife's over k and count that in.

    Args:
        posterior: its prior must be a StepPrior.
        prompts: exactly one.
        row: one text, not longer than the horizon; ended, or cut there, or unfinished.
        key: of the continuations.
        draws: continuations a prefix, at least 2.
        tick: called after each prefix's evidence has been read.

    Raises:
        ConfigError: a prior that cannot be stepped, or fewer than two draws.
        ShapeError: not one prompt and one text, or a text that is empty or longer than the horizon.

    Cost: about T · draws rows of the prior, and the evidence once on each. Tested against exact soft values in
    tests/oracle/test_attribution.py, where a wrong version dies too.
    """
    prior = posterior.prior
    if not isinstance(prior, StepPrior):
        raise ConfigError(f"{type(prior).__name__} cannot be stepped, so no prefix of a text can be continued by it.")
    if draws < 2:
        raise ConfigError(f"draws={draws}: a standard error needs at least 2 continuations a prefix.")
    length = int(row.mask.sum())
    if len(prompts) != 1 or len(row) != 1 or not 0 < length <= prior.horizon:
        raise ShapeError(
            f"{len(prompts)} prompts and {len(row)} texts of {length} tokens: one prompt and one text of 1 to "
            f"{prior.horizon} tokens (the horizon) are needed."
        )
    parts = factors(posterior.evidence)
    whole = bool(row.ended[0]) or length == prior.horizon
    open_ends = torch.arange(length if whole else length + 1)
    grown, tokens = _continued(prior, prompts, row, key, open_ends, draws)
    nats: list[Tensor] = []  # of each prefix: (F, K)
    for t in range(len(open_ends)):
        some = grown.rows(torch.arange(t * draws, (t + 1) * draws, device=grown.ids.device))
        nats.append(torch.stack([part.log_lik(prompts, some).double().cpu() for part in parts]))
        tick()
    if whole:
        last = torch.stack([part.log_lik(prompts, row).double().cpu() for part in parts])
        nats.append(last.expand(-1, draws))
    table = torch.stack(nats)  # (T + 1, F, K)
    full = _levels(table.sum(1))
    value, se = _difference(full)
    owed: list[tuple[Tensor, Tensor]] = []
    for f in range(len(parts)):
        less = _levels(table[:, [other for other in range(len(parts)) if other != f]].sum(1))
        owed.append(_difference((full[0] - less[0], full[1] - less[1])))
    return Attribution(
        moved=value,
        se=se,
        names=_names(parts, prompts, row),
        of=torch.stack([v for v, _ in owed]),
        of_se=torch.stack([s for _, s in owed]),
        log_lik=float(full[0][-1]),
        log_z=float(full[0][0]),
        ess=ess(table.sum(1))[:length],
        tokens=tokens,
    )


def _continued(
    prior: StepPrior, prompts: Prompts, row: Completions, key: Key, prefixes: Int[Tensor, " P"], draws: int
) -> tuple[Completions, int]:
    """`draws` continuations of the first t tokens of a text for each t, prefix by prefix, and tokens fed."""
    horizon, rows = prior.horizon, len(prefixes) * draws
    length = int(row.mask.sum())
    ids = nn.functional.pad(row.ids[:, :length], (0, horizon - length)).expand(rows, -1)
    present = Completions(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.bool, device=ids.device),
        torch.zeros(rows, dtype=torch.long, device=ids.device),
    )
    first = prefixes.repeat_interleave(draws).to(ids.device)
    nothing = torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
    lot = lots(key, torch.arange(draws).repeat(len(prefixes)))
    done = regrow(prior, lot, prompts, present, nothing, first, torch.full_like(first, horizon))
    return done.completions, done.tokens


Levels = tuple[Float[Tensor, " P"], Float[Tensor, "P K"]]
"""Numbers of each prefix, and what they are without the k-th continuation."""


def _levels(nats: Float[Tensor, "P K"]) -> Levels:
    """log of the mean of e^nats, of all K and of each K − 1."""
    count = nats.shape[1]
    total = torch.logsumexp(nats, 1, keepdim=True)
    rest = total + torch.log1p(-torch.exp(nats - total).clamp(max=0.5))  # exact for all but the largest
    top = nats.argmax(1, keepdim=True)
    others = torch.logsumexp(nats.scatter(1, top, -math.inf), 1, keepdim=True)
    rest = torch.where(torch.isneginf(total), -math.inf, rest.scatter(1, top, others))
    return total.squeeze(1) - math.log(count), rest - math.log(count - 1)


def _difference(levels: Levels) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """From prefix to prefix: the change, and the jackknife's standard error of it."""
    value, again = levels[0][1:] - levels[0][:-1], levels[1][1:] - levels[1][:-1]
    count = again.shape[1]
    se = torch.sqrt((count - 1) / count * (again - again.mean(1, keepdim=True)).square().sum(1))
    impossible = torch.isneginf(value)  # the evidence forbids this token: no noise about that
    return value, torch.where(impossible, 0.0, torch.where(torch.isnan(value), math.nan, se.nan_to_num(math.inf)))


def _names(parts: tuple[Evidence, ...], prompts: Prompts, row: Completions) -> tuple[str, ...]:
    """The first reading of each piece; a name used twice gets a number."""
    out: list[str] = []
    for part in parts:
        name = base = next(iter(part.readings(prompts, row)), type(part).__name__.lower())
        count = 1
        while name in out:
            count += 1
            name = f"{base} {count}"
        out.append(name)
    return tuple(out)
