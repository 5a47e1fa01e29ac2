"""The page of a comparison: valid, self-contained, safe with hostile texts, the advice first."""

import dataclasses

import pytest

from credence.report import comparison_plots
from credence.report.comparison import Comparison
from credence.report.comparison_page import render
from tests.example_comparison import example_comparison
from tests.surface import test_report_page as pages


@pytest.fixture(scope="module")
def page() -> str:
    return render(example_comparison())


def _hostile(report: Comparison) -> Comparison:
    evil = pages.EVIL
    rows = tuple(
        dataclasses.replace(
            r, title=evil, note=evil, why=dict.fromkeys(r.why, evil), kind="refused" if r.refused else 'x" onload="y'
        )
        for r in report.rows
    )
    advice = dataclasses.replace(report.recommendation, sentence=evil, why=evil)
    return dataclasses.replace(
        report, title=evil, reward_name=evil, rows=rows, facts=(evil,), recommendation=advice, manifest={evil: evil}
    )


def test_page_is_whole(page: str) -> None:
    checker = pages._check(page)
    names = [tag for tag, _ in checker.tags]
    assert names.count("h1") == 1
    assert names.count("table") == 3
    assert names.count("figure") == 1


def test_the_advice_comes_first(page: str) -> None:
    order = ['class="answer"', 'id="why"', 'id="ruler"', 'id="plots"', 'id="cost"', 'id="manifest"']
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    assert example_comparison().recommendation.sentence.split(" [")[0] in page


def test_dashes_lead_to_their_reasons(page: str) -> None:
    assert "–</b><sup>" in page
    assert "<dd>its law has no density that can be computed</dd>" in page
    assert "refuses: evidence.ended.cut" in page


def test_nothing_hostile_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.report.comparison_plots.svg", lambda report, narrow: "")
    text = render(_hostile(example_comparison()))
    pages._check(text)
    for never in ("<script>alert", "<img src=x", 'onload="y"', "\x1b", "\u202e"):
        assert never not in text


def test_where_there_is_no_gap_the_panel_says_so() -> None:
    report = example_comparison()
    rows = tuple(dataclasses.replace(r, gap_closed=None) for r in report.rows)
    curves = tuple(dataclasses.replace(p, share=None) for p in report.curves)
    text = comparison_plots.svg(dataclasses.replace(report, rows=rows, curves=curves))
    assert "no finite gap between prior" in text


def test_both_panels_are_drawn_in_the_page_s_colours(page: str) -> None:
    for says in ("share of the gap closed, %", "CPU seconds", "mean reward: vader", "KL to the prior, nats"):
        assert page.count(says) >= 2, f"{says}: wide and narrow"
    assert "var(--train)" in page
    assert "mathdefault" not in page
