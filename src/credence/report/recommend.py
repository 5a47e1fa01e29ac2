"""Which engine to use: best by the interval, then the cheapest of those that cannot be told apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from credence.report.phrases import count, duration, interval_text, number
from credence.report.schema import Estimate


@dataclass(frozen=True)
class Candidate:
    """What the rule needs of one law.

    Attributes:
        name: of the engine.
        trains: whether it is paid once.
        nats: KL(law‖p*); None where it is not known.
        once: what is paid before the first reply, in the budget's unit.
        each: what one more reply costs, likewise; None where that is not known.
        answers: whether it had a reply for every prompt.
    """

    name: str
    trains: bool
    nats: Estimate | None
    once: float
    each: float | None
    answers: bool = True


@dataclass(frozen=True)
class Recommendation:
    """What to use, in one sentence, and why.

    Attributes:
        sentence: the advice.
        why: on what it rests.
        few: the engine for few replies; "" where none is recommended.
        many: the engine for many; the same where one is cheapest throughout.
        break_even: replies from which `many` is the cheapest; None where it is throughout.
        alike: engines that cannot be told apart from the best, best first.
    """

    sentence: str
    why: str
    few: str = ""
    many: str = ""
    break_even: float | None = None
    alike: tuple[str, ...] = ()


def recommend(candidates: Sequence[Candidate], prior: Estimate, unit: str) -> Recommendation:
    """The rule, pure. Tested in tests/unit/test_recommend.py.

    1. Only what answers every prompt and lies nearer to the posterior than the prior, interval against interval.
    2. The best is the one of the least KL(law‖p*), for a bound the bound: what is not shown does not count. With it go
       all whose interval meets its own: they cannot be told apart.
    3. Of these the cheapest. Training is paid once and a draw for each reply, so one may be cheapest for few replies
       and another for many: all are named, with the numbers of replies at which two of them cost the same. What is
       trained, costs less a reply and lies further off is named after them.

    Args:
        candidates: in any order; ties fall to the earlier one.
        prior: KL(π0‖p*).
        unit: of all costs: "tokens" or "seconds".
    """
    known = [c for c in candidates if c.nats is not None and not math.isnan(c.nats.value)]
    if not known:
        return Recommendation(
            "Nothing can be recommended.", "No engine's distance from the posterior is known here; the notes say why."
        )
    better = [c for c in known if c.answers and _beats(c, prior)]
    if not better:
        return _nothing(known, prior)
    best = min(better, key=_distance)
    alike = sorted((c for c in better if _nats(c).low <= _nats(best).high), key=_distance)
    why, names = _standing(best, alike, prior), tuple(c.name for c in alike)
    steps = _envelope([c for c in candidates if c in alike and c.each is not None])
    if not steps:
        return Recommendation(f"{_use(best)}.", why, best.name, best.name, None, names)
    (few, _), (many, even) = steps[0], steps[-1]
    if few is many:
        sentence = f"{_use(few)}: {_price(few, unit)}."
    else:
        ends = [float(math.ceil(start)) for _, start in steps[1:]]
        parts = [f"for fewer than {number(ends[0], 0)} replies {_used(few, unit)}"]
        parts += [f"up to {number(end, 0)} {_used(c, unit)}" for (c, _), end in zip(steps[1:-1], ends[1:], strict=True)]
        sentence = f"F{', '.join(parts)[1:]}, for more {_used(many, unit)}."
    later = _cheaper([c for c in better if c not in alike], many, unit)
    return Recommendation(sentence + later, why, few.name, many.name, even if few is not many else None, names)


def _envelope(candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """Who is cheapest from which number of replies on, from one reply to ever more; the earlier one of a tie."""
    if not candidates:
        return []
    here = min(candidates, key=lambda c: (c.once + _each(c), _each(c)))
    out = [(here, 0.0)]
    while rivals := [c for c in candidates if _each(c) < _each(here)]:
        then = min(rivals, key=lambda c: (_even(here, c), _each(c)))
        out.append((then, _even(here, then)))
        here = then
    return out


def _even(dearer: Candidate, cheaper: Candidate) -> float:
    """Replies at which both have cost the same; the second costs less for each."""
    return (cheaper.once - dearer.once) / (_each(dearer) - _each(cheaper))


def _cheaper(others: Sequence[Candidate], than: Candidate, unit: str) -> str:
    """What is further off but costs less a reply, once it is trained: a reader may settle for it."""
    trained = [c for c in others if c.trains and _each(c) < _each(than)]
    if not trained:
        return ""
    one = min(trained, key=lambda c: _nats(c).value)
    even = number(float(max(1, math.ceil(_even(than, one)))), 0)
    return f" From {even} replies on {one.name} costs less ({_price(one, unit)}), {_shown(_nats(one))} nats away."


def _nats(candidate: Candidate) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan) if candidate.nats is None else candidate.nats


def _distance(candidate: Candidate) -> tuple[float, float]:
    """By which laws are ordered: no law is nearer than 0, whatever an estimate reads; of two there, the surer one."""
    estimate = _nats(candidate)
    return max(0.0, estimate.value), estimate.high


def _each(candidate: Candidate) -> float:
    return math.inf if candidate.each is None else candidate.each


def _beats(candidate: Candidate, prior: Estimate) -> bool:
    """Nearer than the prior beyond what chance explains; where the prior is infinitely far, whatever is not."""
    own = _nats(candidate)
    return own.high < prior.low or (math.isinf(prior.value) and math.isfinite(own.value))


def _nothing(known: Sequence[Candidate], prior: Estimate) -> Recommendation:
    silent = [c.name for c in known if not c.answers and _beats(c, prior)]
    nearest = min(known, key=lambda c: _nats(c).value)
    why = (
        f"The nearest, {nearest.name}, lies {_shown(_nats(nearest))} nats from the posterior, and the prior "
        f"{_shown(prior)}: nothing is shown to be nearer than the prior itself."
    )
    if silent:
        why += f" {', '.join(silent)} would be, but had no reply to some prompt."
    return Recommendation("Nothing here is worth its cost yet: keep the prior, or give a larger budget.", why)


def _standing(best: Candidate, alike: Sequence[Candidate], prior: Estimate) -> str:
    words = (
        f"{best.name} comes nearest, {_shown(_nats(best))} nats from the posterior where the prior is {_shown(prior)}"
    )
    others = [f"{c.name} ({_shown(_nats(c))})" for c in alike if c is not best]
    if not others:
        return words + "; no other interval meets its own."
    return words + f"; {', '.join(others)} cannot be told apart from it, so cost decides."


def _shown(estimate: Estimate) -> str:
    sign = {"upper": "at most ", "lower": "at least "}.get(estimate.bound, "")
    return f"{sign}{number(estimate.value)} {interval_text(estimate)}".strip()


def _use(candidate: Candidate) -> str:
    return f"Train with {candidate.name}" if candidate.trains else f"Draw with {candidate.name}"


def _used(candidate: Candidate, unit: str) -> str:
    words = _use(candidate)
    return f"{words[:1].lower()}{words[1:]} ({_price(candidate, unit)})"


def _price(candidate: Candidate, unit: str) -> str:
    reply = f"{_amount(_each(candidate), unit)} a reply"
    return f"{_amount(candidate.once, unit)} once, then {reply}" if candidate.trains else reply


def _amount(value: float, unit: str) -> str:
    return f"{count(round(value))} tokens" if unit == "tokens" else f"{duration(value)} of CPU"
