"""A control run as one self-contained page."""

from html import escape

from credence.report import control_plots
from credence.report.control import HEADS, ControlReport, cells, sentence
from credence.report.phrases import interval_text, value_text
from credence.report.pieces import answered, page
from credence.report.replies import words

_CURVES = (
    "Means over runs with 95 % Student intervals. J is exact for the policy that each run had at that moment, without "
    "its exploration. Firm: with the KL; dashed: without it, judged by the same J. Dotted: prior and optimum."
)
_MAPS = (
    "Probability of each action: the longer and firmer the arrow, the likelier. The soft optimum is drawn at the first "
    "step of an episode; learnt policies are means over runs. Dark cells end or punish."
)
_TABLE = (
    "J = E[Σ γ^t (r − β log π/q)], the ruler of KL-penalised control. (J* − J)/β is KL(π‖π*) between trajectories, in "
    "nats, on any world. Every number is exact for its policy (backward induction to the time limit); intervals are "
    "over runs."
)


def render(report: ControlReport) -> str:
    """report.html of a control run. Test: tests/e2e/test_control.py."""
    body = [
        _section("facts", "What was measured", _facts(report)),
        _section("table", "Every policy on one ruler", _table(report)),
    ]
    body.append(_section("curves", "Learning", _figure(report, "curves", _CURVES)))
    if report.maps:
        body.append(_section("maps", "Policies on the map", _figure(report, "maps", _MAPS)))
    return page(report.title, answered(sentence(report)), "\n".join(body))


def _section(anchor: str, heading: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{heading}</h2>\n{body}\n</section>'


def _facts(report: ControlReport) -> str:
    return "<ul>" + "".join(f"<li>{words(fact)}</li>" for fact in report.facts) + "</ul>"


def _table(report: ControlReport) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in HEADS)
    body = ""
    for row in report.rows:
        note = f"<small>{words(row.note)}</small>" if row.note else ""
        tds = "".join(
            f'<td data-label="{escape(h)}"><b>{value_text(e)}</b>'
            f"{f'<small>{span}</small>' if (span := interval_text(e)) else ''}</td>"
            for h, e in zip(HEADS[1:], cells(row), strict=True)
        )
        body += f'<tr><th scope="row"><span class="law k-{row.kind}">{words(row.title)}</span>{note}</th>{tds}</tr>'
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'{table}<p class="caption">{_TABLE}</p>'


def _figure(report: ControlReport, what: str, caption: str) -> str:
    wide, narrow = (control_plots.svg(report, what, n) for n in (False, True))
    return (f'<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
            f"<figcaption>{caption}</figcaption></figure>")  # fmt: skip
