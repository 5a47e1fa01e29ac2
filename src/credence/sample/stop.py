"""When enough has been drawn: rounds of an engine, put together, until a rule is met; each prompt stops when it may."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.core.logspace import ess, log_mean_exp
from credence.core.protocols import Guarantee, Sampler, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to

LEAST_ROUNDS = 4
"""Rounds before which a standard error is not believed: it would stop at the first lucky agreement."""

MOST_DRAWS = 16_384
"""Draws a prompt after which a rule that cannot be met is given up."""

SUMMED = ("proposals", "accepted", "above", "ancestors", "resamplings", "barred")
HIGHEST, PER_ROUND = ("excess",), ("unique",)
"""How info of the rounds becomes one; the rest is averaged, but what only makes sense in a round is dropped."""


@dataclass(frozen=True)
class Stop:
    """Whichever of these comes first.

    Args:
        draws: a prompt.
        log_z_se: nats; a prompt is done when the standard error of its log Z is at most this, after four rounds.
        tokens: model tokens of all prompts together. A round is not begun where one as dear as the dearest so far
            would not fit, except the first.
        seconds: of wall time, all prompts together, likewise.
        cpu: seconds of CPU time, as the draws' cost counts them, likewise.

    Raises:
        ConfigError: a rule that is not above 0.
    """

    draws: int = MOST_DRAWS
    log_z_se: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    cpu: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("draws", self.draws), ("log_z_se", self.log_z_se), ("tokens", self.tokens), ("seconds", self.seconds),
            ("cpu", self.cpu),
        ):  # fmt: skip
            if value is not None and not value > 0:
                raise ConfigError(f"stop rule {name}={value}: a number above 0 is needed.")


@dataclass(frozen=True, eq=False)
class Stopped:
    """What was drawn, and why no more.

    Attributes:
        draws: of all rounds.
        why: B names of the rule that each prompt met: draws, log_z_se, tokens, seconds or cpu.
        rounds: B numbers of rounds.
    """

    draws: Draws
    why: tuple[str, ...]
    rounds: tuple[int, ...]

    def each(self) -> list[Draws]:
        """The draws of every prompt by itself; the cost of all stands with the first."""
        out: list[Draws] = []
        for b in range(len(self.why)):
            d, rows = self.draws, self.draws.of(b)
            mine = d.completions.rows(rows)
            out.append(
                replace(
                    d,
                    prompts=d.prompts.take([b]),
                    completions=replace(mine, prompt=torch.zeros_like(mine.prompt)),
                    log_q=d.log_q[rows],
                    log_w=d.log_w[rows],
                    log_z=d.log_z[b : b + 1],
                    log_z_se=d.log_z_se[b : b + 1],
                    status=d.status[b : b + 1],
                    cost=Cost() if b else d.cost,
                    info={name: values[b : b + 1] for name, values in d.info.items()},
                    readings={name: values[rows] for name, values in d.readings.items()},
                )
            )
        return out


@dataclass
class _Found:
    """The rounds of one prompt: log Ẑ, its standard error, and the draws that were asked for."""

    log_z: list[float] = field(default_factory=list)
    se: list[float] = field(default_factory=list)
    n: list[int] = field(default_factory=list)


def draw_until(
    sampler: Sampler,
    key: Key,
    posterior: Target,
    prompts: Prompts,
    stop: Stop,
    round_size: int = 64,
    tick: Callable[[], None] = lambda: None,
) -> Stopped:
    """Draw in rounds of `round_size` a prompt until each prompt has met a rule, and pool its rounds.

    log Ẑ is that of the mean of the rounds' Ẑ, weighted by their size; its variance is the sum of theirs (by their
    spread where a round knows none, as SMC with one island). Draws of an engine that is UNBIASED_Z weigh Ẑ_round × w̄,
    so that the pool is as properly weighted as one round; those of an EXACT or BIASED one count equally.

    Where only `draws` stops, the number of rounds is fixed beforehand and E[Ẑ] = Z at every number. Every other rule
    looks at the draws, so that Ẑ is only consistent: a rule on the standard error stops a little early where weight is
    still missing, and the missing weight makes it and Ẑ too small together. Measured in tests/statistical/checks.py.

    Args:
        sampler: Importance, Rejection, BestOfN, SMC, or another engine whose draws of one key and the next are
            independent and whose guarantee is not CONSISTENT.
        key: round r draws with key.fold("round", r); a prompt's draws depend on the others only through which of them
            are still open.
        posterior: the target.
        prompts: B; those that have stopped are left out of the next round.
        stop: the rules.
        round_size: draws a prompt and round. With SMC a round is one run of all islands.
        tick: called after each round.

    Raises:
        ConfigError: an engine whose draws cannot be pooled, or a rule on log Z for one that gives none.

    Cost: all rounds' draws are held until the end. Source: Glynn & Whitt 1992 (sequential stopping rules).
    """
    _check(sampler, round_size)
    began = time.monotonic()
    found = [_Found() for _ in range(len(prompts))]
    why = [""] * len(prompts)
    parts: list[tuple[Draws, list[int]]] = []
    spent, dearest, longest = Cost(), Cost(), 0.0
    while open_ := [b for b, reason in enumerate(why) if not reason]:
        start = time.monotonic()
        have = sum(found[open_[0]].n)  # open prompts have been in every round
        n = min(round_size, stop.draws - have)
        drawn = sampler.draw(key.fold("round", len(parts)), posterior, prompts.take(open_), n)
        parts.append((drawn, open_))
        for i, b in enumerate(open_):
            found[b].log_z.append(float(drawn.log_z[i]))
            found[b].se.append(float(drawn.log_z_se[i]))
            found[b].n.append(n)
        tick()
        now = time.monotonic()
        spent, longest = spent + drawn.cost, max(longest, now - start)
        dearest = Cost(max(dearest.tokens, drawn.cost.tokens), max(dearest.seconds, drawn.cost.seconds))
        for b in open_:
            why[b] = _reason(stop, found[b], spent + dearest, now - began + longest)
    return Stopped(_pooled(parts, found, prompts, key, sampler.guarantee), tuple(why), tuple(len(f.n) for f in found))


def _check(sampler: Sampler, round_size: int) -> None:
    if round_size < 1:
        raise ConfigError(f"round_size={round_size}: at least one draw a round is needed.")
    if sampler.guarantee is Guarantee.CONSISTENT:
        raise ConfigError(
            f"the draws of {type(sampler).__name__} are near the posterior only as its own effort grows, so many short "
            "rounds keep the error of one: raise its own settings instead of giving a stop rule."
        )


def _reason(stop: Stop, found: _Found, cost: Cost, seconds: float) -> str:
    """The rule that one prompt has met; cost and wall time as they would be after another round."""
    if stop.log_z_se is not None:
        if math.isnan(found.log_z[-1]):
            raise ConfigError("this engine gives no log Z, so nothing can stop at its standard error: stop at draws.")
        if len(found.n) >= LEAST_ROUNDS and combined(found.log_z, found.se, found.n)[1] <= stop.log_z_se:
            return "log_z_se"
    if sum(found.n) >= stop.draws:
        return "draws"
    if stop.tokens is not None and cost.tokens > stop.tokens:
        return "tokens"
    if stop.cpu is not None and cost.seconds > stop.cpu:
        return "cpu"
    return "seconds" if stop.seconds is not None and seconds > stop.seconds else ""


def combined(log_z: list[float], se: list[float], n: list[int]) -> tuple[float, float]:
    """log of the mean of independent Ẑ, weighted by n, and its standard error in nats (delta method).

    Var = Σ a_r² Ẑ_r² se_r² with a_r = n_r/Σn; where some se is unknown, from the spread of the Ẑ_r: NaN for one round.
    (-inf, NaN) where all are zero. Tested in tests/unit/test_stop.py.
    """
    share = torch.tensor(n, dtype=torch.float64) / sum(n)
    each = torch.tensor(log_z, dtype=torch.float64)
    top = float(each.max())
    if math.isnan(top) or top == -math.inf:
        return top, math.nan
    z = torch.exp(each - top)
    mean = float((share * z).sum())
    own = torch.where(z == 0, 0.0, z * torch.tensor(se, dtype=torch.float64))
    variance = float((share * own).square().sum())
    if math.isnan(variance):
        rounds = len(n)
        variance = math.nan if rounds == 1 else float((share * (z - mean)).square().sum()) * rounds / (rounds - 1)
    return math.log(mean) + top, math.sqrt(variance) / mean


def _pooled(
    parts: list[tuple[Draws, list[int]]], found: list[_Found], prompts: Prompts, key: Key, guarantee: Guarantee
) -> Draws:
    """All rounds as one Draws on all prompts, prompt-major."""
    merged = concat([_renumbered(drawn, at) for drawn, at in parts], [0] * len(parts))
    log_w = torch.cat([_weights(drawn, guarantee) for drawn, _ in parts])
    width = merged.ids.shape[1]
    order = torch.argsort(merged.prompt, stable=True)
    level = torch.tensor([combined(f.log_z, f.se, f.n) for f in found], dtype=torch.float64).view(-1, 2)
    rows, log_w = merged.rows(order), log_w[order]
    info = _told(parts, len(prompts)) | {
        "rounds": torch.tensor([len(f.n) for f in found], dtype=torch.float64),
        "draws": torch.bincount(rows.prompt, minlength=len(prompts)).double(),
    }
    if guarantee is Guarantee.UNBIASED_Z:
        info["ess"] = torch.stack([ess(log_w[rows.prompt == b]) for b in range(len(prompts))])
    return Draws(
        prompts=prompts,
        completions=rows,
        log_q=torch.cat([pad_to(drawn.log_q, width) for drawn, _ in parts])[order],
        log_w=log_w,
        log_z=level[:, 0],
        log_z_se=level[:, 1],
        status=tuple(_status(parts, b, float(level[b, 0])) for b in range(len(prompts))),
        cost=sum((drawn.cost for drawn, _ in parts), Cost()),
        key=key,
        info=info,
        readings={
            name: torch.cat([drawn.readings[name] for drawn, _ in parts])[order] for name in parts[0][0].readings
        },
    )


def _renumbered(drawn: Draws, at: list[int]) -> Completions:
    rows = drawn.completions
    return replace(rows, prompt=torch.tensor(at).to(rows.prompt)[rows.prompt])


def _weights(drawn: Draws, guarantee: Guarantee) -> Float[Tensor, " R"]:
    """Log weights such that the mean of w over a prompt's rows is its Ẑ of this round, where Ẑ is what weighs."""
    if guarantee is not Guarantee.UNBIASED_Z:
        return drawn.log_w
    out = drawn.log_w.clone()
    for b in range(len(drawn.prompts)):
        rows = drawn.of(b)
        level = float(log_mean_exp(out[rows]))
        if level > -math.inf:
            out[rows] += float(drawn.log_z[b]) - level
    return out


def _status(parts: list[tuple[Draws, list[int]]], prompt: int, log_z: float) -> Status:
    """What one prompt's rounds come to: a fault of any round stays, and nothing found is so only if all found none."""
    each = [drawn.status[at.index(prompt)] for drawn, at in parts if prompt in at]
    for fault in (Status.NAN, Status.BOUND_VIOLATED, Status.UNREACHED):
        if fault in each:
            return fault
    if log_z == -math.inf:
        return Status.DEGENERATE
    return Status.EMPTY if all(status is Status.EMPTY for status in each) else Status.OK


def _told(parts: list[tuple[Draws, list[int]]], count: int) -> dict[str, Tensor]:
    """The engine's own info over a prompt's rounds."""
    out: dict[str, Tensor] = {}
    for name in parts[0][0].info:
        if name in PER_ROUND:
            continue
        values = torch.full((len(parts), count), torch.nan, dtype=torch.float64)
        for r, (drawn, at) in enumerate(parts):
            if name not in drawn.info:
                raise ContractError(f"round {r} tells no {name!r}, and the first did: an engine's info has one form.")
            values[r, at] = drawn.info[name].double().cpu()
        known = ~torch.isnan(values)
        total = torch.where(known, values, 0.0).sum(0)
        if name in SUMMED:
            out[name] = total
        elif name in HIGHEST:
            out[name] = torch.where(known, values, -torch.inf).amax(0)
        else:
            out[name] = torch.where(known.any(0), total / known.sum(0), torch.nan)
    return out
