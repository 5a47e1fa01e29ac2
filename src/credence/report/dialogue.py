"""A dialogue run as one page: what changed, what cannot be trusted, the talks side by side."""

import re

from credence.report.canvas import PAGE, inline, sheet, style
from credence.report.phrases import interval_text, number, value_text
from credence.report.pieces import both, caption, estimate_html, page, section, settings, table
from credence.report.plots import curve, series
from credence.report.replies import words
from credence.report.schema import Estimate
from credence.report.talks import Line, TalkReport, TalkRow, Transcript

_HEADS = {
    "policy": "",
    "J/β": "mean of Σ (r − log π/π0) a dialogue, nats: what is maximised",
    "E[Σ r]": "mean reward of a dialogue, nats",
    "KL a turn": "mean of log π/π0 a reply, nats",
    "KL a dialogue": "mean of Σ log π/π0, nats",
    "turns": "replies a dialogue",
    "satisfied": "share of users who were content at the end",
}
_RULER = (
    "Users go by chance, so no posterior over whole dialogues is claimed: the ruler is J = E[Σ r] − β KL(π‖π0) against "
    "the prior's own, in nats (J/β). Intervals are 95 % over users and their dialogues; the change is taken user by "
    "user."
)


def answer(report: TalkReport) -> str:
    """The run in a sentence."""
    before, after, change = report.rows
    return (
        f"On {report.users['heldout']} users never seen in training, J changed by {_signed(change.j)} nats a dialogue "
        f"{interval_text(change.j)}: {value_text(before.satisfied, percent=True)} of them were satisfied before, "
        f"{value_text(after.satisfied, percent=True)} after."
    )


def _signed(estimate: Estimate, percent: bool = False) -> str:
    text = value_text(estimate, percent)
    return text if text.startswith(("−", "0")) or estimate.value <= 0 else "+" + text


def render(report: TalkReport) -> str:
    """The whole report.html of a dialogue run. Everything that others wrote is escaped, hidden characters shown.

    Test: tests/e2e/test_dialogue.py.
    """
    parts = (_trust, _rows, _readings, _learning, _weights, _talks)
    top = re.sub(r"(\[[^\]]*\])", r'<span class="span">\1</span>', words(answer(report), tag=False))
    body = "\n".join(filter(None, (part(report) for part in parts)))
    return page(report.title, top, body + "\n" + settings(report.manifest))


def _trust(report: TalkReport) -> str:
    bad = [f for f in report.findings if not f.ok]
    if not bad:
        return section(
            "trust", "What cannot be trusted", "<p>Nothing was flagged: every check that was made passed.</p>"
        )
    items = "".join(f"<li><b>{words(f.name)}</b>: {words(f.meaning)}</li>" for f in bad)
    return section("trust", "What cannot be trusted", f'<ul class="doubts">{items}</ul>')


def _rows(report: TalkReport) -> str:
    kinds = {"before": "prior", "after": "train", "change": "target"}

    def cells(row: TalkRow) -> list[str]:
        name = f'<span class="law k-{kinds[row.name]}">{words(row.title)}</span>'
        values = (row.j, row.reward, row.kl_turn, row.kl, row.turns)
        return [name, *map(estimate_html, values), estimate_html(row.satisfied, percent=True)]

    flags = ["", "chosen", ""]
    return section("ruler", "Before and after", table(_HEADS, [cells(r) for r in report.rows], flags), caption(_RULER))


def _readings(report: TalkReport) -> str:
    names = list(report.rows[0].readings)
    if not names:
        return ""
    heads = {"reading": "", **{row.title: "mean a reply" for row in report.rows}}
    cells = [[words(name), *(estimate_html(row.readings[name]) for row in report.rows)] for name in names]
    return section("readings", "What the rewards read", table(heads, cells), caption("Means a reply, in own units."))


def _learning(report: TalkReport) -> str:
    if not report.history:
        return ""
    said = (
        "J/β, KL a turn and the share of satisfied users of each update's own dialogues; diamonds: J/β of the "
        "validation users with its 95 % interval. The best of these was kept, the prior being one of them."
    )
    return section("learning", "Learning", both(lambda narrow: learning_svg(report, narrow), said))


def learning_svg(report: TalkReport, narrow: bool = False) -> str:
    """J/β, KL a turn and satisfaction by update, as an SVG element for the page."""
    panels = (("J/β, nats", "j"), ("KL a turn, nats", "kl_turn"), ("satisfied", "satisfied"))
    with style():
        figure, axes = sheet((4.9, 8.4) if narrow else (10.4, 3.4), PAGE, *((3, 1) if narrow else (1, 3)))
        for ax, (title, key) in zip(axes, panels, strict=True):
            curve(ax, report.history, key, PAGE.train)
            ax.set_title(title, loc="left", color=PAGE.ink, fontsize=12)
            ax.set_xlabel("update", color=PAGE.muted, fontsize=11)
            ax.margins(x=0.05, y=0.14)
        steps, values = series(report.history, "val_j")
        errors = series(report.history, "val_j_se")[1]
        for x, y, error in zip(steps, values, errors, strict=False):
            axes[0].plot([x, x], [y - 1.96 * error, y + 1.96 * error], color=PAGE.target, linewidth=1.2)
            axes[0].plot([x], [y], "D", color=PAGE.target, markersize=5)
        return inline(figure, "ln" if narrow else "lw", "J, KL a turn and satisfied users by update.")


def _weights(report: TalkReport) -> str:
    if not report.weights:
        return ""
    cells = [[words(name), f"<b>{number(value)}</b>"] for name, value in report.weights.items()]
    said = "The policy is the base measure times exp(weight · feature): nats a unit of each feature; all were 0 before."
    return section(
        "weights", "What was learnt", table({"feature": "", "weight": ""}, cells, name="cost"), caption(said)
    )


def _talks(report: TalkReport) -> str:
    if not report.transcripts:
        return ""
    said = "The first dialogue with each held-out user, not the best. The number is a reply's reward in nats."
    return section("talks", "What they said", caption(said), *(_talk(t) for t in report.transcripts))


def _talk(talk: Transcript) -> str:
    sides = (
        ("prior", "before", talk.before, talk.satisfied_before),
        ("train", "after", talk.after, talk.satisfied_after),
    )
    cards = "".join(
        f'<li class="k-{kind}"><p class="who"><span class="law k-{kind}">{name}</span>'
        f"<span>{'satisfied' if content else 'not satisfied'}</span></p>{''.join(map(_line, lines))}</li>"
        for kind, name, lines, content in sides
    )
    wanted = f"<details><summary>the answer wanted</summary><p>{words(talk.answer)}</p></details>"
    return f'<article><h3 dir="auto">{words(talk.question)}</h3><ul class="cards talk">{cards}</ul>{wanted}</article>'


def _line(line: Line) -> str:
    nats = "" if line.nats is None else f' <span class="num" title="nats">{number(line.nats)}</span>'
    text = words(line.text) or '<i class="empty">empty</i>'
    return f'<p class="said by-{"user" if line.role == "user" else "agent"}" dir="auto">{text}{nats}</p>'
