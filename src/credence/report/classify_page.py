"""A classification as one self-contained page."""

from math import log

from credence.report import classify_plots
from credence.report.classify import HEADS, ClassifyReport, Strip, cells, sentence, sureness, whole
from credence.report.phrases import number
from credence.report.pieces import answered, both, caption, estimate_html, page, section, settings, table
from credence.report.replies import token, words

_TABLE = (
    "All on the same test texts. Accuracy has Wilson's interval; log-loss, Brier score, calibration error and the "
    "difference have bootstrap intervals over texts, by the same resamples, 95 % each. What is tuned (τ, the strength "
    "of the bag's prior, the mean answer) is tuned on validation texts, never on these."
)
_RELIABILITY = (
    "A dot is a tenth of the test texts, those of about the same stated probability: on the dashed line it is right as "
    "often as it says. Bars are Wilson's 95 % intervals; a larger dot holds more texts, for equal statements are not "
    "parted."
)
_STRIPS = (
    "How far each token moves the log-odds, in nats, under the tempered channel, averaged over the verbalisers: blue "
    "towards the label named, orange away from it. They sum to the text's whole evidence."
)


def render(report: ClassifyReport) -> str:
    """report.html of a classification; what others wrote is escaped. Test: tests/e2e/test_classify.py."""
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
        section("table", "Every classifier on the same texts", table(HEADS, rows, flags), caption(_TABLE)),
        section("facts", "What was done, and found", facts),
        section("reliability", "Are the probabilities right?",
                both(lambda narrow: classify_plots.svg(report, narrow), _RELIABILITY)),
    ]  # fmt: skip
    if report.strips:
        items = "".join(_strip(strip) for strip in report.strips)
        body.append(section("strips", "What each token says", caption(_STRIPS), f'<ul class="coloured">{items}</ul>'))
    return page(report.title, answered(sentence(report)), "\n".join(body) + "\n" + settings(report.manifest))


def _strip(strip: Strip) -> str:
    tokens = "".join(token(piece, nats) for piece, nats in whole(strip))
    total = strip.start + sum(strip.nats)
    p = sureness(log(strip.probability)) if strip.probability > 0 else "0"
    return (
        f'<li><p class="who"><span>{words(strip.why)}; true label {words(strip.label)}</span>'
        f'<span class="num">log-odds of {words(strip.towards)} {"+" if total > 0 else ""}{number(total)}, p {p}</span>'
        "</p>"
        f'<p class="tokens" dir="auto">{tokens}</p></li>'
    )
