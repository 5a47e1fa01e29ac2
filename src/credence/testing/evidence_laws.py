"""The laws of evidence: nats of the right shape, the same for a row wherever it stands, twists that end well."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Evidence, PrefixEvidence, Prior
from credence.core.types import Completions, Prompts
from credence.evidence.product import max_log_lik
from credence.testing.compare import behind_the_mask, close, prefixes, subset
from credence.testing.laws import Broken, Laws, Trial, Untried, hold, members

EVIDENCE = ("log_lik", "readings")

_KEY = Key(3)

_SLACK = 1e-9
"""Nats by which rounding may lift evidence above its bound."""


@dataclass(frozen=True)
class _Case:
    """Evidence on trial, and the rows that it reads."""

    evidence: Any
    prompts: Prompts
    completions: Completions
    tolerance: float

    def nats(self, rows: Completions | None = None) -> Tensor:
        """Of these rows, or of all."""
        return self.evidence.log_lik(self.prompts, self.completions if rows is None else rows)

    def twist(self, rows: Completions) -> Tensor:
        """Of these rows."""
        return self.evidence.log_twist(self.prompts, rows)


def check_evidence(
    evidence: object,
    prior: Prior,
    prompts: Prompts,
    n: int = 20,
    key: Key = _KEY,
    tolerance: float = 0.0,
) -> Laws:
    """Hold an Evidence to its laws, on draws of a prior.

    Args:
        evidence: on trial.
        prior: whose replies it reads.
        prompts: at least one; several show more.
        n: draws a prompt.
        key: of the draws.
        tolerance: nats by which a row's value may differ from one look to another; 0 for plain functions, about 1e-4
            for a network.

    Cost: n draws a prompt, each read about nine times. Test: tests/unit/test_testing_evidence.py, broken evidence for
    each law.
    """
    case = _Case(evidence, prompts, prior.sample(key, prompts, n)[0], tolerance)
    return hold(f"Evidence: {type(evidence).__name__}", _evidence_trials(case))


def check_prefix_evidence(
    evidence: object,
    prior: Prior,
    prompts: Prompts,
    n: int = 20,
    key: Key = _KEY,
    tolerance: float = 0.0,
) -> Laws:
    """Hold a PrefixEvidence to the laws of evidence and those of its twist; arguments as for check_evidence.

    The draws should hold replies that ended and replies that were cut, or the laws of ended rows are not tried. Cost:
    as check_evidence, and a reading of every prefix.
    """
    case = _Case(evidence, prompts, prior.sample(key, prompts, n)[0], tolerance)
    return hold(f"PrefixEvidence: {type(evidence).__name__}", [*_evidence_trials(case), *_twist_trials(case)])


def _evidence_trials(case: _Case) -> list[Trial]:
    return [
        Trial("has the members of an Evidence", lambda: members(case.evidence, Evidence, EVIDENCE), vital=True),
        Trial("gives a number of nats a row, never NaN or +inf", lambda: _numbers(case, case.nats()), vital=True),
        Trial("names its readings, one value a row", lambda: _readings(case)),
        Trial("says the same at a second look", lambda: close(case.nats(), case.nats(), case.tolerance, "two looks")),
        Trial("reads each row by itself", lambda: _rows(case)),
        Trial("does not read what stands behind the mask", lambda: _masked(case)),
        Trial("does not depend on which other prompts there are", lambda: _split(case)),
        Trial("never exceeds the bound it states", lambda: _bounded(case)),
        Trial("measures what it gives apart", lambda: _measured(case)),
        Trial("multiplies and tempers in nats", lambda: _algebra(case)),
    ]


def _twist_trials(case: _Case) -> list[Trial]:
    evidence = case.evidence
    return [
        Trial(
            "has the members of a PrefixEvidence",
            lambda: members(evidence, PrefixEvidence, (*EVIDENCE, "log_twist")),
            vital=True,
        ),
        Trial("has a twist that is log_lik on rows that have ended", lambda: _ended(case)),
        Trial("has a twist of unfinished rows that is never NaN or +inf", lambda: _unfinished(case)),
        Trial("reads each prefix by itself", lambda: _prefix_rows(case)),
        Trial("calls no beginning of a possible reply impossible", lambda: _open_ended(case)),
    ]


def _numbers(case: _Case, nats: Tensor, rows: int | None = None) -> str:
    rows = len(case.completions) if rows is None else rows
    if nats.shape != (rows,) or nats.dtype != torch.float64:
        raise Broken(f"{nats.dtype} {tuple(nats.shape)}; float64 ({rows},) is needed")
    if bool((torch.isnan(nats) | torch.isposinf(nats)).any()):
        raise Broken(f"{int(torch.isnan(nats).sum())} NaN, {int(torch.isposinf(nats).sum())} +inf among {rows} rows")
    return f"{rows} rows, {int(torch.isneginf(nats).sum())} of them impossible"


def _readings(case: _Case) -> str:
    found = case.evidence.readings(case.prompts, case.completions)
    if not found:
        raise Broken("no reading: at least one value by name is needed")
    for name, values in found.items():
        if not isinstance(name, str) or values.shape != (len(case.completions),):
            raise Broken(f"{name!r} has shape {tuple(values.shape)}; ({len(case.completions)},) is needed")
    return ", ".join(found)


def _rows(case: _Case) -> str:
    index = subset(len(case.completions))
    return close(case.nats(case.completions.rows(index)), case.nats()[index], case.tolerance, "five rows out of order")


def _masked(case: _Case) -> str:
    junk = behind_the_mask(case.completions, int(case.completions.ids.max()))
    return close(case.nats(junk), case.nats(), case.tolerance, "other tokens behind the mask")


def _split(case: _Case) -> str:
    whole, last = case.nats(), len(case.prompts) - 1
    if not last:
        raise Untried("one prompt: two are needed")
    rows = case.completions.rows(case.completions.prompt == last)
    alone = Completions(rows.ids, rows.mask, rows.ended, torch.zeros_like(rows.prompt))
    found = case.evidence.log_lik(case.prompts.take([last]), alone)
    return close(found, whole[case.completions.prompt == last], case.tolerance, "the last prompt alone")


def _bounded(case: _Case) -> str:
    bound = max_log_lik(case.evidence)
    if bound == float("inf"):
        raise Untried("it states none (max_log_lik): rejection will ask for one")
    most = float(case.nats().max())
    if most > bound + _SLACK:
        raise Broken(f"{most:.6g} nats, above the bound {bound:.6g}")
    return f"at most {most:.3g} nats, bound {bound:.3g}"


def _measured(case: _Case) -> str:
    if not hasattr(case.evidence, "measure"):
        raise Untried("it has no measure()")
    nats, readings = case.evidence.measure(case.prompts, case.completions)
    apart = case.evidence.readings(case.prompts, case.completions)
    if list(readings) != list(apart):
        raise Broken(f"measure() reads {', '.join(readings)}; readings() {', '.join(apart)}")
    for name in apart:
        close(readings[name], apart[name], case.tolerance, f"the reading {name!r}", "of its unit")
    return close(nats, case.nats(), case.tolerance, "the nats of measure() and log_lik()")


def _algebra(case: _Case) -> str:
    if not (hasattr(case.evidence, "__mul__") and hasattr(case.evidence, "__pow__")):
        raise Untried("it has no operators (evidence.product.Composable gives them)")
    evidence, nats = case.evidence, case.nats()
    slack = max(case.tolerance, _SLACK)

    def of(made: Any) -> Tensor:  # noqa: ANN401 - evidence made of what is on trial
        return made.log_lik(case.prompts, case.completions)

    close(of(evidence**1.0), nats, case.tolerance, "evidence ** 1")
    close(of((evidence**0.5) ** 0.5), of(evidence**0.25), slack, "(evidence ** ½) ** ½ and evidence ** ¼")
    close(
        of(evidence**0.5), torch.where(torch.isneginf(nats), nats, nats / 2), slack, "evidence ** ½ and half its nats"
    )
    return close(of(evidence * evidence), 2 * nats, slack, "evidence * evidence and twice its nats")


def _ended(case: _Case) -> str:
    ended = case.completions.rows(case.completions.ended)
    if not len(ended):
        raise Untried("none of the draws ended")
    nats = case.nats(ended)
    close(case.twist(ended), nats, case.tolerance, "twist and log_lik of ended rows")
    mixed = case.twist(case.completions)[case.completions.ended]
    return close(mixed, nats, case.tolerance, "twist and log_lik of ended rows among others")


def _unfinished(case: _Case) -> str:
    cut = case.completions.rows(~case.completions.ended)
    every = [*([cut] if len(cut) else []), *(rows for _, rows in prefixes(case.completions))]
    for rows in every:
        _numbers(case, case.twist(rows), len(rows))
    return f"{sum(len(rows) for rows in every)} prefixes"


def _longest(case: _Case) -> Completions:
    found = prefixes(case.completions)
    if not found:
        raise Untried("no draw has more than one token")
    return max((rows for _, rows in found), key=lambda rows: len(rows) * (rows.ids.shape[1] > 1))


def _prefix_rows(case: _Case) -> str:
    rows = _longest(case)
    index = subset(len(rows))
    return close(case.twist(rows.rows(index)), case.twist(rows)[index], case.tolerance, "five prefixes out of order")


def _open_ended(case: _Case) -> str:
    possible = torch.isfinite(case.nats())
    for source, rows in prefixes(case.completions):
        lost = torch.isneginf(case.twist(rows)) & possible[source]
        if bool(lost.any()):
            r = int(torch.nonzero(lost)[0])
            text = case.completions.tokens()[int(source[r])]
            raise Broken(
                f"the first {rows.ids.shape[1]} of {text} have twist −inf, the whole is possible: SMC would lose it"
            )
    return f"{int(possible.sum())} possible replies"
