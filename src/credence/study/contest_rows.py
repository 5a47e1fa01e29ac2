"""From what a comparison measured to its record: the table's rows, the curves, the recommendation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from credence.core.logspace import ess
from credence.core.types import Cost
from credence.diagnose.bounds import LogZ, bracket, log_z_lower
from credence.diagnose.weights import pareto_k
from credence.report.comparison import CompareRow, Comparison, CurvePoint, Spent
from credence.report.recommend import Candidate, recommend
from credence.report.schema import Estimate
from credence.study.contest import Contest, Entrant
from credence.study.contest_ruler import ContestRuler, Law
from credence.study.measured import Measured
from credence.study.picture import optimum
from credence.study.ruler import Drawn, Ruler

ZERO = Estimate(0.0, 0.0, 0.0)
NO_GAP = "the prior has no finite gap above 0 to close"
NO_SHARE = "it closed nothing of the gap that an interval could tell from 0"
NO_EXACT = "no exact posterior draws: the evidence has no bound, or rejection accepted too few"
NO_PEAK = "this system keeps one high-water mark for the life of a process"
NO_MARK = "it is measured apart, by what every engine shares"
IMPOSSIBLE = "some of its replies are impossible under the evidence"
"""Why a field is not known, beside what each engine says of its own."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What every engine is held against, and what it cost is nobody's.

    Attributes:
        prior: prior draws on the held-out prompts, as numbers.
        exact: row numbers of exact posterior draws among them, by prompt.
        each: what one of these draws took.
        levels: (V, n) log_lik of prior draws on the validation prompts.
        reward: the reading that reports call so.
    """

    prior: Drawn
    exact: Sequence[Tensor]
    each: Cost
    levels: Tensor
    reward: str


def comparison(
    contest: Contest,
    reference: Reference,
    found: Mapping[str, Sequence[Measured]],
    ruler: ContestRuler,
    read: Mapping[str, Estimate],
    made: Mapping[str, Any],
) -> Comparison:
    """The whole record."""
    config, budget = contest.config, contest.budget
    rows = [row(entrant, found[entrant.name], reference, ruler, read) for entrant in contest.entrants]
    own = [r for r in rows if r.name == "prior"]
    first = own[:1] or [prior_row(reference, read)]
    table = (*first, *(r for r in rows if r.name != "prior"), posterior_row(read))
    candidates = [candidate(r, budget.unit) for r in rows if not r.refused and r.name != "prior"]
    base = read.get("prior/kl_reverse", Estimate(math.nan, math.nan, math.nan))
    beta = config.evidence.first_beta or 1.0
    return Comparison(
        title=contest.name,
        unit=budget.unit,
        limit=budget.limit,
        seeds=contest.seeds,
        prompts=len(reference.prior.log_lik),
        beta=beta,
        reward_name=reference.reward,
        log_z=read["log_z"],
        exact_draws=sum(len(index) for index in reference.exact),
        rows=table,
        frontier=optimum(Ruler(reference.prior, 1), beta),
        curves=curves(contest, found, reference),
        recommendation=recommend(candidates, base, budget.unit),
        facts=facts(contest, reference, rows),
        manifest=dict(made),
    )


def _known(read: Mapping[str, Estimate], name: str, measure: str, bound: str = "") -> Estimate | None:
    estimate = read.get(f"{name}/{measure}")
    if estimate is None or math.isnan(estimate.value):
        return None
    return Estimate(estimate.value, estimate.low, estimate.high, bound)


def _gap(read: Mapping[str, Estimate]) -> bool:
    """Whether KL(π0‖p*) is shown to be there, so that a share of it can be closed."""
    gap = read.get("prior/kl_reverse")
    return gap is not None and gap.low > 0 and math.isfinite(gap.value)


def distances(
    name: str, ran: Sequence[Measured], read: Mapping[str, Estimate]
) -> tuple[Estimate | None, Estimate | None, Estimate | None, Estimate | None]:
    """KL(law‖π0), KL(law‖p*), KL(p*‖law) and the share of the gap closed; None where one cannot be known."""
    one, exact, same = ran[0], all(m.exact for m in ran), all(m.same for m in ran)
    moved = _known(read, name, "kl_prior", one.bound)
    if same or (one.drawn is not None and one.on_prior is None):
        moved = ZERO
    if same:  # read as the prior itself: its own draws would only add noise
        return moved, read.get("prior/kl_reverse"), read.get("prior/kl_forward"), ZERO if _gap(read) else None
    if exact:
        return moved, ZERO, ZERO, Estimate(1.0, 1.0, 1.0) if _gap(read) else None
    share = _known(read, name, "gap_closed", "lower" if one.bound else "") if _gap(read) else None
    forward = _known(read, name, "kl_forward", "" if one.forward is None else "upper")
    return moved, _known(read, name, "kl_reverse", one.bound), forward, share


def row(
    entrant: Entrant, runs: Sequence[Measured], reference: Reference, ruler: ContestRuler, read: Mapping[str, Estimate]
) -> CompareRow:
    """One engine over its seeds; a refusal where none of them ran."""
    ran = [m for m in runs if not m.refused]
    if not ran:
        return CompareRow(entrant.name, entrant.name, "refused", refused=runs[0].refused)
    one, name = ran[0], entrant.name
    why = {field: reason for m in ran for field, reason in m.why.items()}
    moved, reverse, forward, share = distances(name, ran, read)
    if not _gap(read):
        why["gap_closed"] = NO_GAP
    low, high = bounds(ran, reference)
    closed = read.get(f"{name}/closed")
    spent, each = mean_cost([m.cost for m in ran]), mean_cost([m.each for m in ran if m.each is not None])
    paid = each if entrant.kind == "draw" else spent
    per = None
    if closed is not None and closed.low > 0 and math.isfinite(closed.value) and paid is not None and share is not None:
        per = paid.over(closed.value)
    if high is None:
        why.setdefault("log_z_high", NO_EXACT)
    if per is None:
        why["per_nat"] = why.get("kl_reverse", NO_SHARE if share is not None else why.get("gap_closed", NO_SHARE))
    if reverse is None:
        why.setdefault("kl_reverse", IMPOSSIBLE)
    if moved is None:
        why.setdefault("kl_prior", IMPOSSIBLE)
    memory = [m.memory for m in ran if m.memory is not None]
    if not memory:
        why["memory"] = NO_PEAK
    return CompareRow(
        name=name,
        title="prior, drawn" if name == "prior" else name,
        kind="prior" if name == "prior" else entrant.kind,
        reward=_known(read, name, "reward"),
        ended=_known(read, name, "ended"),
        kl_prior=moved,
        kl_reverse=reverse,
        kl_forward=forward,
        gap_closed=share,
        log_z_low=low,
        log_z_high=high,
        ess=average([m.ess for m in ran]),
        draws=average([m.draws for m in ran]),
        pareto_k=worst([m.pareto_k for m in ran]),
        unique=ratio(ran),
        spent=spent,
        each=each,
        per_nat=per,
        memory=max(memory) if memory else None,
        seeds=len(ran),
        answers=all(m.answers for m in ran),
        why=why,
        note=_note(ran, runs),
        target=one.target,
    )


def _note(ran: Sequence[Measured], runs: Sequence[Measured]) -> str:
    """The seeds' notes where they differ, once where not; and how many seeds refused."""
    each = list(dict.fromkeys(m.note for m in ran if m.note))
    words = each[0] if len(each) == 1 else " | ".join(f"seed {i}: {m.note}" for i, m in enumerate(ran) if m.note)
    lost = len(runs) - len(ran)
    return words + (f"; {lost} of {len(runs)} seeds refused" if lost else "")


def prior_row(reference: Reference, read: Mapping[str, Estimate]) -> CompareRow:
    """The prior as the reference drew it."""
    lik = reference.prior.log_lik
    laws = [_level(lik[b], lik[b][reference.exact[b]]) for b in range(len(lik))]
    highs = [law.high for law in laws if law.high is not None]
    complete = len(highs) == len(laws)
    why = {"spent": NO_MARK, "memory": NO_MARK, "unique": NO_MARK, "per_nat": "it is what the others are measured from"}
    if not complete:
        why["log_z_high"] = NO_EXACT
    return CompareRow(
        name="prior",
        title="prior",
        kind="prior",
        reward=read.get("prior/reward"),
        ended=read.get("prior/ended"),
        kl_prior=ZERO,
        kl_reverse=read.get("prior/kl_reverse"),
        kl_forward=read.get("prior/kl_forward"),
        log_z_low=sum(law.low for law in laws) / len(laws),
        log_z_high=sum(highs) / len(highs) if complete else None,
        ess=average([ess(lik)]),
        draws=float(lik.shape[1]),
        pareto_k=worst([torch.tensor([pareto_k(w) for w in lik], dtype=torch.float64)]),
        each=Spent(float(reference.each.tokens), reference.each.seconds),
        why={**why, "gap_closed": "it is what the share is counted from"},
    )


def posterior_row(read: Mapping[str, Estimate]) -> CompareRow:
    """The target, read off everybody's draws."""
    target = "it is the target, read off the draws of the others"
    fields = ("gap_closed", "log_z_low", "log_z_high", "ess", "pareto_k", "unique", "spent", "each", "per_nat",
              "memory")  # fmt: skip
    return CompareRow(
        "posterior", "posterior", "target", read.get("posterior/reward"), read.get("posterior/ended"),
        read.get("posterior/kl_prior"), ZERO, ZERO, why=dict.fromkeys(fields, target),
    )  # fmt: skip


def bounds(runs: Sequence[Measured], reference: Reference) -> tuple[float | None, float | None]:
    """What a law itself says of log Z from below and from above: means over prompts, then seeds."""
    lows: list[float] = []
    highs: list[float | None] = []
    for m in runs:
        if m.drawn is None:
            known = m.log_z is not None and not bool(torch.isnan(m.log_z).any())
            lows += [float(m.log_z.mean())] if known and m.log_z is not None else []
            continue
        log_w = m.drawn.log_joint - m.drawn.log_law
        under = reference.prior.log_prior if m.on_prior is None else m.on_prior
        laws: list[LogZ] = []
        for b, index in enumerate(reference.exact):
            exact = reference.prior.log_joint[b][index] - under[b][index]
            laws.append(_level(log_w[b], exact))
        lows.append(sum(law.low for law in laws) / len(laws))
        each = [law.high for law in laws if law.high is not None]
        highs.append(sum(each) / len(each) if len(each) == len(laws) else None)
    low = sum(lows) / len(lows) if lows else None
    full = [h for h in highs if h is not None]
    return low, sum(full) / len(full) if full and len(full) == len(highs) else None


def _level(log_w: Tensor, exact: Tensor) -> LogZ:
    """Bounds of one prompt; a single exact draw gives an upper one without an error, and is left out."""
    if bool(torch.isinf(exact).any()):  # a draw that the law cannot say: its upper bound is infinite
        low, se = log_z_lower(log_w, min(4, log_w.numel()))
        return LogZ(low, se, low, math.inf)
    return bracket(log_w, exact if len(exact) > 1 else None)


def mean_cost(costs: Sequence[Cost]) -> Spent | None:
    """Over seeds."""
    if not costs:
        return None
    return Spent(sum(c.tokens for c in costs) / len(costs), sum(c.seconds for c in costs) / len(costs))


def average(values: Sequence[Tensor | None]) -> float | None:
    """Mean over prompts and seeds of what is known."""
    known = [float(v[~torch.isnan(v)].mean()) for v in values if v is not None and not bool(torch.isnan(v).all())]
    return sum(known) / len(known) if known else None


def worst(values: Sequence[Tensor | None]) -> float | None:
    """The largest of any prompt and seed."""
    known = [float(v.max()) for v in values if v is not None]
    return max(known) if known else None


def ratio(runs: Sequence[Measured]) -> float | None:
    """Different replies over draws, mean over prompts and seeds."""
    both = [(m.unique, m.draws) for m in runs]
    return average([u / d.clamp(min=1) for u, d in both if u is not None and d is not None])


def candidate(found: CompareRow, unit: str) -> Candidate:
    """A row as the recommendation sees it."""
    once = 0.0 if found.kind != "train" or found.spent is None else getattr(found.spent, unit)
    each = None if found.each is None else getattr(found.each, unit)
    return Candidate(found.name, found.kind == "train", found.kl_reverse, once, each, found.answers)


def curves(contest: Contest, found: Mapping[str, Sequence[Measured]], reference: Reference) -> tuple[CurvePoint, ...]:
    """ELBO on the validation prompts while engines trained, as a share of their own gap."""
    levels = reference.levels
    log_z = float((torch.logsumexp(levels, -1) - math.log(levels.shape[-1])).mean())
    start = float(levels.mean())
    gap = log_z - start
    some = 0 < gap < math.inf
    out: list[CurvePoint] = []
    for entrant in contest.entrants:
        for seed, m in enumerate(found[entrant.name]):
            if entrant.kind == "train" and not m.refused:
                out.append(CurvePoint(entrant.name, seed, 0.0, 0.0, start, 0.0 if some else None))
            for point in m.curve:
                share = (point["val_elbo"] - start) / gap if some else None
                where = (float(point["tokens"]), float(point["seconds"]))
                out.append(CurvePoint(entrant.name, seed, *where, float(point["val_elbo"]), share))
    return tuple(out)


def facts(contest: Contest, reference: Reference, rows: Sequence[CompareRow]) -> tuple[str, ...]:
    """Sentences that a reader needs beside the table."""
    out = [
        f"{contest.budget.words} for each engine and seed; {contest.seeds} seed{'s' * (contest.seeds > 1)}, "
        f"{len(reference.prior.log_lik)} held-out prompts, {reference.prior.log_lik.shape[1]} prior draws a prompt as "
        f"the common ruler, {sum(len(i) for i in reference.exact)} exact posterior draws among them."
    ]
    if contest.seeds == 1:
        out.append("One seed: the intervals do not hold what another would have done.")
    out += [f"{r.name} converges to {r.target}." for r in rows if r.target]
    out += [f"{r.name} refuses: {r.refused}" for r in rows if r.refused]
    return tuple(out)


def laws(contest: Contest, found: Mapping[str, Sequence[Measured]]) -> list[Law]:
    """Every run that was not refused, in the order of the entrants."""
    return [
        Law(entrant.name, seed, m)
        for entrant in contest.entrants
        for seed, m in enumerate(found[entrant.name])
        if not m.refused
    ]
