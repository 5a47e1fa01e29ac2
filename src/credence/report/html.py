"""The run as one self-contained page: what cannot be trusted first, then what was reached, then how.

No network, no font of its own, no script but the theme switch; a policy in the page forbids everything else.
"""

import math

from credence.report import captions, plots, replies, svg
from credence.report.phrases import (
    answer,
    count,
    duration,
    exported,
    number,
    rows_of,
    value_text,
)
from credence.report.pieces import answered, both, caption, estimate_html, page, section, settings, table
from credence.report.replies import words
from credence.report.schema import Estimate, Finding, PromptRow, Report, RulerRow
from credence.report.tables import log_z_text, measured

_KINDS = {"prior", "draw", "train", "target"}


def render(report: Report) -> str:
    """The whole report.html. Everything written by a model, a prompt or a config is escaped, hidden characters shown.

    Test: tests/surface/test_report_page.py.
    """
    sections = (_gap, _distrust, _ruler, _frontier, _training, replies.side_by_side, replies.coloured, _prompts, _cost,
                _manifest)  # fmt: skip
    return page(report.title, answered(answer(report)), "\n".join(filter(None, (part(report) for part in sections))))


def _kind(row: RulerRow) -> str:
    return row.kind if row.kind in _KINDS else "draw"


def _gap(report: Report) -> str:
    """The gap as a scale from prior to posterior, and the figures that keep the share honest."""
    row, target = exported(report), next(iter(rows_of(report, "target")), None)
    prior = next(iter(rows_of(report, "prior")), None)
    gap, parts = report.gap_closed, ""
    if gap is not None and math.isfinite(gap.value):
        low = min(0.0, *(v for v in (gap.low, gap.value) if math.isfinite(v)))

        def at(value: float) -> float:
            return 100 * (min(max(value, low), 1.0) - low) / (1 - low)

        zero, ends = at(0.0), [at(v) if math.isfinite(v) else at(gap.value) for v in (gap.low, gap.value, gap.high)]
        parts = (
            '<svg class="gap" aria-hidden="true" height="26">'
            '<rect class="rail" x="0" y="10" width="100%" height="6" rx="3"/>'
            f'<rect class="fill" x="{zero:.2f}%" y="10" width="{max(0.0, ends[1] - zero):.2f}%" height="6" rx="3"/>'
            f'<rect class="band" x="{ends[0]:.2f}%" y="4" width="{max(0.2, ends[2] - ends[0]):.2f}%" height="18"'
            f' rx="4"/><rect class="tick" x="{ends[1]:.2f}%" y="1" width="3" height="24" rx="1.5"/></svg>'
            '<p class="ends"><span>prior</span><span>posterior</span></p>'
        )
    facts: list[tuple[str, str]] = []
    if row is not None:
        facts.append(("nats from the posterior", estimate_html(row.kl_reverse)))
        facts.append(("nats from the prior", estimate_html(row.kl_prior)))
        facts.append(("mean reward", estimate_html(row.reward)))
    if prior is not None and target is not None:
        facts.append(("mean reward of prior → posterior",
                      f"<b>{value_text(prior.reward)} → {value_text(target.reward)}</b>"))  # fmt: skip
    facts.append(("reward units a nat, β", f"<b>{report.beta:g}</b>"))
    if row is not None:
        facts.append(("CPU time to train", f"<b>{duration(row.seconds)}</b>"))
    cells = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts)
    return f'<div class="hero">{parts}<dl class="facts">{cells}</dl>{caption(captions.HERO)}</div>'


def _finding(finding: Finding, where_too: bool = True) -> str:
    where = "" if finding.prompt is None or not where_too else f" <q>{words(finding.prompt)}</q>"
    value = f' <span class="num">({measured(finding)})</span>' if measured(finding) else ""
    return f"<b>{words(finding.name)}</b>{where}: {words(finding.meaning)}{value}"


def _distrust(report: Report) -> str:
    bad, good = [f for f in report.findings if not f.ok], [f for f in report.findings if f.ok]
    flagged = [row for row in report.prompts if not row.trusted]
    parts: list[str] = []
    if bad or flagged:
        named = {row.prompt for row in flagged}
        items = [f"<li>{_finding(f)}</li>" for f in bad if f.prompt not in named]
        for row in flagged:
            reasons = [words(row.why_not or "flagged"), *(_finding(f, False) for f in bad if f.prompt == row.prompt)]
            items.append(f"<li><q>{words(row.prompt)}</q><ul>{''.join(f'<li>{r}</li>' for r in reasons)}</ul></li>")
        parts.append(f'<ul class="doubts">{"".join(items)}</ul>')
        if flagged:
            parts.append(f'<p class="caption">{len(flagged)} of {len(report.prompts)} held-out prompts are flagged. '
                         "They stay in every average below: dropping them would flatter.</p>")  # fmt: skip
    else:
        parts.append("<p>Nothing was flagged: every check that was made passed.</p>")
    if good:
        items = "".join(f"<li>{_finding(f)}</li>" for f in good)
        parts.append(f"<details><summary>{len(good)} checks passed</summary><ul>{items}</ul></details>")
    return section("trust", "What cannot be trusted", *parts)


_RULER_HEADS = {
    "law": "",
    "mean reward": "E[r]: the average reward of this law's replies",
    "ended": "share of replies that came to their own end",
    "KL to the prior": "KL(law‖π0), nats",
    "KL to the posterior": "KL(law‖p*), nats",
    "KL from the posterior": "KL(p*‖law), nats",
    "gap closed": "1 − KL(law‖p*) / KL(π0‖p*)",
}


def _ruler(report: Report) -> str:
    rows = rows_of(report)
    ends = [v for r in rows for v in (r.kl_reverse.value, r.kl_reverse.high) if math.isfinite(v)]
    top = max([*ends, 0.0])

    def reverse(row: RulerRow) -> str:
        return estimate_html(row.kl_reverse) + svg.whisker(row.kl_reverse, 0.0, top, _kind(row))

    cells = [[
        f'<span class="law k-{_kind(r)}">{words(r.title)}</span>{f"<small>{words(r.note)}</small>" if r.note else ""}',
        estimate_html(r.reward), estimate_html(r.ended, percent=True), estimate_html(r.kl_prior), reverse(r),
        estimate_html(r.kl_forward), estimate_html(r.gap_closed, percent=True),
    ] for r in rows]  # fmt: skip
    flags = ["chosen" if r is exported(report) else "" for r in rows]
    terms = "".join(f"<div><dt>{term}</dt><dd>{meaning}</dd></div>" for term, meaning in captions.TERMS.items())
    return section(
        "ruler",
        "Every law on one ruler",
        table(_RULER_HEADS, cells, flags, "ruler"),
        f'<dl class="terms">{terms}</dl>',
        caption(captions.BOUNDS),
    )


def _frontier(report: Report) -> str:
    if not report.frontier and not report.marks:
        return ""
    missing = [mark for mark in report.marks if mark not in plots.drawable(report)]
    said = captions.FRONTIER
    if plots.slack_holds(report):
        said += captions.SLACK
    elif plots.target_mark(report) is not None:
        said += captions.NO_SLACK
    if missing:
        names = ", ".join(words(mark.title) for mark in missing)
        said += f" Not drawn, because its place is not finite: {names}."
    return section("frontier", "Reward against distance",
                    both(lambda narrow: plots.frontier_svg(report, narrow), said))  # fmt: skip


def _training(report: Report) -> str:
    figure = both(lambda narrow: plots.training_svg(report.history, narrow), captions.TRAINING)
    figure += both(lambda narrow: plots.gold_svg(report.history, narrow), captions.GOLD)
    return section("training", "Training", figure) if figure else ""


_PROMPT_HEADS = {
    "prompt": "",
    "log Z": "log of the mean of exp(reward/β) under the prior, nats, with its standard error",
    "bounds": "below and above log Z in expectation, nats, with the upper one's standard error",
    "ESS": "effective sample size of the prior's draws",
    "k̂": "Pareto tail index of the weights; above 0.7 their mean does not settle",
    "exact draws": "posterior draws got by rejection",
    "KL(p*‖policy)": "from weighted draws of prior and policy; exact: from the exact draws, nats",
    "KL(p*‖π0)": "how far the posterior is from the prior on this prompt, nats",
    "reward π0 → p*": "mean reward under the prior and under the posterior",
}


def _plus_minus(value: float | None, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} ± {number(error)}"


def _forward(row: PromptRow) -> str:
    """KL(p*‖policy) from weighted draws, and below it from exact ones."""
    exact = ""
    if row.kl_forward_exact is not None:
        exact = f"<small>exact {_plus_minus(row.kl_forward_exact, row.kl_forward_exact_se)}</small>"
    return _plus_minus(row.kl_forward, row.kl_forward_se) + exact


def _prompts(report: Report) -> str:
    if not report.prompts:
        return ""
    lows = [r.log_z_low for r in report.prompts if math.isfinite(r.log_z_low)]
    highs = [v for r in report.prompts for v in (r.log_z, r.log_z_high) if v is not None and math.isfinite(v)]
    low, high = min([*lows, *highs], default=0.0), max([*highs, *lows], default=0.0)

    def bounds(row: PromptRow) -> str:
        top = high if row.log_z_high is None else row.log_z_high
        error = "" if row.log_z_high_se is None else f"<small>upper ± {number(row.log_z_high_se)}</small>"
        return f"{log_z_text(row)[1]}{error}{svg.whisker(Estimate(row.log_z, row.log_z_low, top), low, high, 'target')}"

    def pooled(row: PromptRow) -> str:
        return "" if row.log_z_pooled is None else f"<small>pooled {number(row.log_z_pooled)}</small>"

    cells = [[
        words(r.prompt), log_z_text(r)[0] + pooled(r), bounds(r), f"{number(r.ess, 0)} of {r.draws}",
        number(r.pareto_k), str(r.exact_draws), _forward(r),
        _plus_minus(r.kl_posterior_prior, r.kl_posterior_prior_se),
        f"{number(r.reward_prior)} → {_plus_minus(r.reward_posterior, r.reward_posterior_se)}",
    ] for r in report.prompts]  # fmt: skip
    flags = ["" if row.trusted else "doubt" for row in report.prompts]
    found = table(_PROMPT_HEADS, cells, flags, "prompts")
    return section("prompts", "Prompt by prompt", found, caption(captions.PROMPTS))


def _cost(report: Report) -> str:
    heads = {"law": "", "draws a prompt": "", "model tokens": "", "CPU time": "", "spent": ""}
    spent = {"train": "once, in training", "target": "–"}
    cells = [
        [words(r.title), str(r.draws), count(r.tokens), duration(r.seconds), spent.get(_kind(r), "for every reply")]
        for r in rows_of(report)
    ]
    return section("cost", "What it cost", table(heads, cells, name="cost"), caption(captions.COST))


def _manifest(report: Report) -> str:
    return settings(report.manifest)
