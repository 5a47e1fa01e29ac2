"""A comparison as one self-contained page: the advice first, then the ruler, the pictures, the cost."""

from credence.report import captions, comparison_plots
from credence.report.comparison import CompareRow, Comparison, Spent, footnotes
from credence.report.comparison_table import COST, RULER, cost_text, shown
from credence.report.pieces import answered, both, caption, estimate_html, page, section, settings, table
from credence.report.replies import words

_RULER_HEADS = {
    "law": "",
    "mean reward": "E[r]: the average reward of this law's replies",
    "KL to the prior": "KL(law‖π0), nats",
    "KL to the posterior": "KL(law‖p*), nats",
    "KL from the posterior": "KL(p*‖law), nats",
    "gap closed": "1 − KL(law‖p*) / KL(π0‖p*)",
}
_COST_HEADS = {
    "law": "",
    "log Z from below": "a lower bound in expectation that the law itself gives, nats",
    "log Z from above": "an upper bound in expectation, from exact posterior draws scored by the law, nats",
    "ESS": "effective draws a prompt",
    "k̂": "tail of the weights on the worst prompt; above 0.7 their mean does not settle",
    "unique": "different replies over draws",
    "spent": "by each seed until now",
    "one more reply": "what each further reply takes",
    "a nat closed": "of the gap, on a prompt: in training once, of what is drawn a reply",
    "peak memory": "of the whole process while the engine worked",
}
_RULER = (
    "Square brackets hold 95 % intervals over prompts, draws and seeds. ≤ and ≥ mark bounds: the truth lies on that "
    "side, and the brackets belong to the bound. An engine that is exact by construction reads 0 by construction. "
)
_COST = (
    "A model token is a position that a forward pass of any model computed; a backward pass counts twice where the "
    "weights are trained and once where adapters are. Training is paid once, validation included; each reply that is "
    "drawn is paid for. The ruler (the prior's common draws, scoring, measuring a trained policy) is in nobody's cost."
)
_PLOTS = (
    "Left: the reward–KL plane. The curve is the target's own family, the analytic optimum for each β; dashed and "
    "shaded where too few draws carry it. Crosses are 95 % intervals; a hollow mark stands at a bound. Right: share of "
    "the gap closed against CPU seconds. Lines: engines that train, on the validation prompts, a line a seed; their "
    "filled marks, held out, with intervals. Triangles: engines that draw, at what one reply to every held-out prompt "
    "takes."
)


def render(report: Comparison) -> str:
    """The whole compare.html; what a config or an engine wrote is escaped. Test: tests/surface/test_compare_page.py."""
    parts = [_advice(report), _ruler(report), _plots(report), _cost(report), settings(report.manifest)]
    return page(report.title, answered(report.recommendation.sentence), "\n".join(filter(None, parts)))


def _advice(report: Comparison) -> str:
    items = "".join(f"<li>{words(fact)}</li>" for fact in report.facts)
    why = f"<p>{answered(report.recommendation.why)}</p>"
    return section("why", "Why", why, f"<ul>{items}</ul>")


def _dash(row: CompareRow, field: str, text: str, marks: dict[str, str]) -> str:
    mark = marks.get(row.why.get(field, ""), "") if getattr(row, field) is None else ""
    return text + (f"<sup>{mark}</sup>" if mark else "")


def _law(row: CompareRow) -> str:
    kind = row.kind if row.kind in ("prior", "draw", "train", "target") else "draw"
    note = f"<small>{words(row.note)}</small>" if row.note else ""
    return f'<span class="law k-{kind}">{words(row.title)}</span>{note}'


def _notes(marks: dict[str, str]) -> str:
    items = "".join(f"<div><dt>{mark}</dt><dd>{words(reason)}</dd></div>" for reason, mark in marks.items())
    return f'<dl class="terms">{items}</dl>' if items else ""


def _ruler(report: Comparison) -> str:
    marks = footnotes(report.rows, RULER)
    cells = [
        [_law(r), *(_dash(r, f, estimate_html(getattr(r, f), percent=f == "gap_closed"), marks) for f in RULER)]
        for r in shown(report)
    ]
    refused = [[_law(r), f"refuses: {words(r.refused)}", *[""] * (len(RULER) - 1)] for r in report.rows if r.refused]
    return section("ruler", "Every engine on one ruler", table(_RULER_HEADS, cells, name="ruler"), _refusals(refused),
                   _notes(marks), caption(_RULER))  # fmt: skip


def _refusals(rows: list[list[str]]) -> str:
    items = "".join(f"<li>{cells[0]} {cells[1]}</li>" for cells in rows)
    return f"<ul>{items}</ul>" if items else ""


def _plots(report: Comparison) -> str:
    missing = [r.title for r in report.rows if not r.refused and r.name not in comparison_plots.drawn(report)]
    said = _PLOTS
    if missing:
        said += (
            f" Not drawn on the left, because its place is not known or not finite: {', '.join(map(words, missing))}."
        )
    return section("plots", "Reward against distance, share against time",
                   both(lambda narrow: comparison_plots.svg(report, narrow), said))  # fmt: skip


def _cost(report: Comparison) -> str:
    marks = footnotes(report.rows, COST)

    def cell(row: CompareRow, field: str) -> str:
        first, _, rest = cost_text(field, row).partition(", " if isinstance(getattr(row, field), Spent) else " of ")
        return _dash(
            row,
            field,
            f"<b>{words(first)}</b>" + (f"<small>{'of ' * (field == 'ess')}{words(rest)}</small>" if rest else ""),
            marks,
        )

    cells = [[_law(r), *(cell(r, f) for f in COST)] for r in shown(report)]
    return section("cost", "What it says of log Z, and what it cost", table(_COST_HEADS, cells, name="costs"),
                   _notes(marks), caption(_COST), caption(captions.BOUNDS))  # fmt: skip
