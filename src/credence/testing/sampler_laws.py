"""The laws of an engine that draws: the same for all, and the guarantee that it states of itself."""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Sampler
from credence.core.status import Status
from credence.core.types import Draws, Prompts
from credence.evidence.constraint import Constraint
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.testing.compare import ALARM, close
from credence.testing.laws import Broken, Laws, Trial, Untried, hold, members, refuses
from credence.testing.statistics import copies, p_law, p_unbiased
from credence.testing.toys import toy_two, two_prompts

SAMPLER = ("guarantee", "draw")
_KEY = Key(1)

RUNS = 250
"""Independent runs that an unbiased Ẑ is tested on."""

_JOINED = 10
"""For a law, a tenth of the runs with five times the draws each: rejection proposes in batches."""


@dataclass(frozen=True)
class _Case:
    """An engine on trial, its target, and the draws that several laws look at."""

    engine: Any
    posterior: Posterior
    prompts: Prompts
    n: int
    key: Key
    runs: int
    law: Callable[[Exact], Tensor] | None
    source: Prior
    _drawn: list[Draws] = field(default_factory=list[Draws])

    def drawn(self) -> Draws:
        """n draws a prompt, drawn once."""
        if not self._drawn:
            self._drawn.append(self.draw(self.key))
        return self._drawn[0]

    def draw(self, key: Key, posterior: Posterior | None = None, n: int | None = None) -> Draws:
        """Draws of the engine."""
        return self.engine.draw(key, posterior or self.posterior, self.prompts, self.n if n is None else n)


def check_sampler(
    engine: object,
    posterior: Posterior | None = None,
    prompts: Prompts | None = None,
    n: int = 6,
    key: Key = _KEY,
    runs: int = RUNS,
    law: Callable[[Exact], Tensor] | None = None,
    source: Prior | None = None,
) -> Laws:
    """Hold a Sampler to the laws of all engines, and to its own guarantee against enumeration.

    Args:
        engine: on trial.
        posterior: an enumerable target; the second toy (credence.testing.toys) by default. An engine with a proposal
            of its own needs the target that the proposal belongs to.
        prompts: of that target.
        n: draws a prompt.
        key: of the draws.
        runs: independent runs of each prompt on which an unbiased Ẑ is tested; a law is tested on a tenth of them with
            5 n draws each. 0 leaves the guarantee untried.
        law: of an engine that is BIASED: Exact -> its own log law (N,), such as `best_of_n_law`.
        source: what log_q belongs to; by default the engine's `proposal`, else the prior.

    UNBIASED_Z is held by a z-test of E[Ẑ Σ w̄ f] = Z E_p*[f] over five functions f, EXACT (and BIASED with a law) by
    chi-square of all draws, each with a false-alarm rate of 1e-6. CONSISTENT says nothing of one effort: not tried.

    Cost: runs × prompts × n draws for the last law, about six of n a prompt for the others. Test:
    tests/unit/test_testing_samplers.py, a broken engine for each law.
    """
    target = posterior or toy_two(on_prefix=True)
    given = prompts or (two_prompts() if posterior is None else target.prior.codec.prompts([()]))
    own = source or getattr(engine, "proposal", None) or target.prior
    case = _Case(engine, target, given, n, key, runs, law, own)
    return hold(f"Sampler: {type(engine).__name__}", _trials(case))


def _trials(case: _Case) -> list[Trial]:
    guarantee = getattr(case.engine, "guarantee", None)
    name = guarantee.name if isinstance(guarantee, Guarantee) else "none"
    return [
        Trial("has the members of a Sampler, and states its guarantee", lambda: _stated(case), vital=True),
        Trial("gives n rows a prompt, prompt by prompt, and a status each", lambda: _shapes(case), vital=True),
        Trial("gives the same draws for the same key, others for another", lambda: _by_key(case)),
        Trial("gives log q of what it sampled from", lambda: _log_q(case)),
        Trial("gives the evidence's readings", lambda: _readings(case)),
        Trial("makes nothing possible a status, not a NaN", lambda: _impossible(case)),
        Trial("refuses n = 0", lambda: refuses(lambda: case.draw(case.key, n=0), "n = 0")),
        Trial("has settings that do not change", lambda: _frozen(case)),
        Trial(f"keeps its guarantee, {name} [false alarm {ALARM:g}]", lambda: _guarantee(case)),
    ]


def _stated(case: _Case) -> str:
    members(case.engine, Sampler, SAMPLER)
    if not isinstance(case.engine.guarantee, Guarantee):
        raise Broken(f"guarantee = {case.engine.guarantee!r}: one of {', '.join(g.name for g in Guarantee)} is needed")
    return f"{case.engine.guarantee.name}: {case.engine.guarantee.value}"


def _shapes(case: _Case) -> str:
    draws, count = case.drawn(), len(case.prompts)
    rows, width = draws.completions.ids.shape
    each = torch.bincount(draws.completions.prompt, minlength=count).tolist()
    if draws.completions.prompt.tolist() != sorted(draws.completions.prompt.tolist()):
        raise Broken("rows are not prompt by prompt")
    for b, found in enumerate(each):
        fewer = case.engine.guarantee is Guarantee.EXACT and found < case.n  # rejection keeps what it found
        if len(draws.status) == count and found != case.n and not fewer:
            raise Broken(f"{found} rows for prompt {b}, {case.n} were asked for")
    wanted = {"log_q": (rows, width), "log_w": (rows,), "log_z": (count,), "log_z_se": (count,)}
    for name, shape in wanted.items():
        if getattr(draws, name).shape != shape:
            raise Broken(f"{name} has shape {tuple(getattr(draws, name).shape)}; {shape} is needed")
    if [type(s) for s in draws.status] != [Status] * count:
        raise Broken(f"status {draws.status}: a Status for each of {count} prompts is needed")
    odd = [name for name, values in draws.info.items() if values.shape != (count,)]
    if odd:
        raise Broken(f"info {', '.join(odd)}: ({count},) is needed")
    if bool(torch.isnan(draws.log_w).any()) or bool((draws.log_q[~draws.completions.mask] != 0).any()):
        raise Broken("NaN among log_w, or log_q that is not 0 outside the mask")
    if draws.cost.tokens < int(draws.completions.mask.sum()):
        raise Broken(
            f"cost.tokens = {draws.cost.tokens}, fewer than the {int(draws.completions.mask.sum())} it returned"
        )
    return f"{rows} rows, {draws.cost.tokens} tokens spent"


def _same(a: Draws, b: Draws) -> bool:
    return (
        a.texts() == b.texts()
        and torch.equal(a.log_w, b.log_w)
        and torch.equal(a.log_z.nan_to_num(nan=0.5), b.log_z.nan_to_num(nan=0.5))
    )


def _by_key(case: _Case) -> str:
    first = case.drawn()
    if not _same(first, case.draw(case.key)):
        raise Broken("the same key gave other draws, weights or log Z")
    if not any(not _same(first, case.draw(case.key.fold(i))) for i in range(3)):
        raise Broken("three other keys gave the same draws, weights and log Z")
    return ""


def _log_q(case: _Case) -> str:
    draws = case.drawn()
    return close(
        draws.log_q,
        case.source.score(case.prompts, draws.completions),
        1e-10,
        f"log q and {type(case.source).__name__}'s score",
    )


def _readings(case: _Case) -> str:
    draws = case.drawn()
    wanted = case.posterior.evidence.readings(case.prompts, draws.completions)
    if list(draws.readings) != list(wanted):
        raise Broken(f"{', '.join(draws.readings) or 'none'}; {', '.join(wanted)} are needed, in this order")
    for name, values in wanted.items():
        close(draws.readings[name], values, 0.0, f"the reading {name!r}", "of its unit")
    return ", ".join(wanted)


def _impossible(case: _Case) -> str:
    never = Constraint(_never, "never")
    draws = case.draw(case.key, Posterior(case.posterior.prior, never), 2)
    if any(status not in (Status.DEGENERATE, Status.EMPTY) for status in draws.status):
        raise Broken(f"status {[s.name for s in draws.status]}; DEGENERATE or EMPTY is needed")
    if bool(torch.isnan(draws.log_w).any()):
        raise Broken("log_w is NaN")
    if not bool((torch.isneginf(draws.log_z) | torch.isnan(draws.log_z)).all()):
        raise Broken(f"log_z = {draws.log_z.tolist()}; −inf is needed (NaN where the engine gives none)")
    if case.engine.guarantee is not Guarantee.BIASED and float(draws.weights().sum()) > 0:
        raise Broken("an impossible draw has weight")  # a biased engine's law is its own
    return ", ".join(sorted({s.name for s in draws.status}))


def _never(text: object) -> bool:
    return False


def _frozen(case: _Case) -> str:
    parameters = getattr(type(case.engine), "__dataclass_params__", None)
    if not is_dataclass(case.engine) or parameters is None or not parameters.frozen:
        raise Broken(f"{type(case.engine).__name__} is not a frozen dataclass: its settings could change under a run")
    return ""


def _guarantee(case: _Case) -> str:
    guarantee = case.engine.guarantee
    if case.runs == 0:
        raise Untried("runs = 0")
    if guarantee is Guarantee.CONSISTENT:
        raise Untried("it speaks of growing effort: compare engines of several efforts (docs/testing.md)")
    if guarantee is Guarantee.BIASED and case.law is None:
        raise Untried("its law is its own: give it, law=")
    exacts = [enumerate_posterior(case.posterior, case.prompts.take([b])) for b in range(len(case.prompts))]
    unbiased = guarantee is Guarantee.UNBIASED_Z
    runs, n = (case.runs, case.n) if unbiased else (-(-case.runs // _JOINED), 5 * case.n)
    draws = case.engine.draw(case.key.fold("runs"), case.posterior, copies(case.prompts, runs), n)
    if unbiased:
        p = p_unbiased(draws, exacts, max(case.posterior.prior.ends))
    else:
        if gap_in_weights(draws):
            raise Broken("weights differ: equal ones are needed of an engine whose draws follow a law")
        p = min(_p_of(draws, case, range(b * runs, (b + 1) * runs), exact) for b, exact in enumerate(exacts)) * len(
            exacts
        )
    if not p >= ALARM:
        raise Broken(f"{runs} runs of {n}: p = {p:.2g}")
    return f"{runs} runs of {n}, p = {min(p, 1):.2g}"


def gap_in_weights(draws: Draws) -> bool:
    """Whether some draws count more than others."""
    return bool(draws.log_w.numel()) and float(draws.log_w.max()) != float(draws.log_w.min())


def _p_of(draws: Draws, case: _Case, runs: range, exact: Exact) -> float:
    rows = torch.nonzero(torch.isin(draws.completions.prompt, torch.tensor(runs))).flatten()
    part = Draws(draws.prompts, draws.completions.rows(rows), draws.log_q[rows], draws.log_w[rows], draws.log_z,
                 draws.log_z_se, draws.status, draws.cost, draws.key)  # fmt: skip
    try:
        return p_law(part, exact, exact.log_p if case.law is None else case.law(exact))
    except ConfigError as error:
        raise Untried(str(error)) from None
    except KeyError as error:
        raise Broken(f"drew {error}, which is no outcome of the prior") from None
