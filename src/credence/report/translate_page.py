"""A translation study as one self-contained page."""

from credence.report import translate_plots
from credence.report.pieces import answered, both, caption, estimate_html, page, section, settings, table
from credence.report.replies import words
from credence.report.translate import (
    HEADS,
    POLICY_HEADS,
    Choice,
    PolicyReport,
    TranslateReport,
    cells,
    sentence,
    share,
)

_TABLE = (
    "All on the same test sources and the same candidates. Accuracy has Wilson's interval; all others have bootstrap "
    "intervals over sources, by the same resamples, 95 % each. What is tuned is tuned on validation sources, never on "
    "these."
)
_FIGURE = "Accuracy@1 and corpus chrF of every scorer, with 95 % intervals over test sources."
_POLICY = (
    "The translator as maximum likelihood left it, and after REINFORCE with chrF as the reward and the KL inside the "
    "return. J = E[r] − β KL is what REINFORCE climbs; chrF of greedy translations is what a user sees."
)
_CHOICES = "A few test sources with their candidates; ✓ the reference, ● chosen by the scorer that answers."


def render(report: TranslateReport) -> str:
    """report.html of a translation study; what others wrote is escaped. Test: tests/e2e/test_translate.py."""
    rows = [
        [
            f'<span class="law k-{row.kind}">{words(row.title)}</span>'
            + (f"<small>{words(row.note)}</small>" if row.note else ""),
            *(estimate_html(e) for e in cells(row)),
        ]
        for row in report.rows
    ]
    flags = ["chosen" if row.name == report.chosen else "" for row in report.rows]
    facts = "<ul>" + "".join(f"<li>{words(fact)}</li>" for fact in report.facts) + "</ul>"
    body = [
        section("table", "Every scorer on the same candidates", table(HEADS, rows, flags), caption(_TABLE)),
        section("facts", "What was done, and found", facts),
        section("figure", "Accuracy and chrF", both(lambda narrow: translate_plots.svg(report, narrow), _FIGURE)),
    ]
    if report.choices:
        body.append(section("choices", "What was chosen", caption(_CHOICES),
                            "".join(_choice(choice, report.chosen) for choice in report.choices)))  # fmt: skip
    if report.policy is not None:
        body.append(_policy(report.policy))
    return page(report.title, answered(sentence(report)), "\n".join(body) + "\n" + settings(report.manifest))


def _choice(choice: Choice, chosen: str) -> str:
    picked = choice.picked[chosen]
    items = "".join(
        f"<li>{'✓' if text == choice.reference else ''}{'●' if i == picked else ''} {words(text)}</li>"
        for i, text in enumerate(choice.candidates)
    )
    p = ", ".join(f"{words(name)} {share(value)}" for name, value in choice.p.items())
    return (
        f'<p class="who"><span lang="zh">{words(choice.source)}</span></p><p class="caption">{words(choice.why)}; '
        f"p(reference): {p}</p><ul>{items}</ul>"
    )


def _policy(policy: PolicyReport) -> str:
    rows = [[words(row.title), *(estimate_html(e) for e in (row.before, row.after, row.gain))] for row in policy.rows]
    heads = {"source": "", "reference": "", "before": "greedy", "after": "greedy"}
    greedy = [[words(cell) for cell in four] for four in policy.greedy]
    facts = "<ul>" + "".join(f"<li>{words(fact)}</li>" for fact in policy.facts) + "</ul>"
    figure = both(
        lambda narrow: translate_plots.policy_svg(policy, narrow), "J over the steps, in units of the reward."
    )
    return section("policy", "A small translator, rewarded by chrF", table(POLICY_HEADS, rows), caption(_POLICY), facts,
                   figure, table(heads, greedy))  # fmt: skip
