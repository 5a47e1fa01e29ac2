"""The page as a whole: valid, self-contained, safe with hostile texts, in the order that honesty asks."""

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import pytest

from credence.report.html import render
from credence.report.replies import shade
from credence.report.schema import Reply, Report
from tests.example_report import example_report

VOID = {"meta", "br", "link", "img", "input", "hr", "col", "wbr"}
EVIL = (
    "<script>alert(1)</script> \"quoted\" 'single' & </style> <img src=x onerror=alert(1)> "
    "\x00\x1b[31m\u202eabc ${title}"
)


class _Checker(HTMLParser):
    """Every element closed in order, every id once, every reference answered."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> names an attribute twice: {names}"
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            self.references.update(re.findall(r"url\(#([^)]+)\)", value or ""))
            if name == "href" and value:
                assert value.startswith("#")
                self.references.add(value[1:])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def _check(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert checker.references <= set(checker.ids)
    return checker


def _unpictured() -> Report:
    """The example without its plots, which cost most of a page's time."""
    return dataclasses.replace(example_report(), history=(), frontier=(), marks=())


@pytest.fixture(scope="module")
def page() -> str:
    return render(example_report())


def _hostile() -> Report:
    report = example_report()
    return dataclasses.replace(
        report,
        title=EVIL,
        reward_name=EVIL,
        ruler=tuple(dataclasses.replace(row, title=EVIL, note=EVIL, kind='x" onload="y') for row in report.ruler),
        marks=tuple(dataclasses.replace(mark, title=EVIL) for mark in report.marks),
        prompts=tuple(dataclasses.replace(row, prompt=EVIL, why_not=EVIL, trusted=False) for row in report.prompts),
        findings=tuple(dataclasses.replace(f, name=EVIL, meaning=EVIL, prompt=EVIL) for f in report.findings),
        replies=(Reply(EVIL, EVIL, EVIL, 0.5, False, (EVIL, "\n"), (float("nan"), float("-inf"))),),
        history=tuple({**line, "stage": EVIL} for line in report.history),
        manifest={EVIL: {"a": EVIL, "b": [EVIL]}},
    )


def test_page_is_whole(page: str) -> None:
    tags = _check(page).tags
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    assert [name for name, _ in tags].count("h1") == 1
    assert [name for name, _ in tags].count("main") == 1


def test_page_needs_nothing_from_outside(page: str) -> None:
    assert "http" not in page.replace("http-equiv", "")
    tags = _check(page).tags
    assert not {"link", "img", "iframe", "object", "form", "base"} & {name for name, _ in tags}
    assert not [1 for _, attributes in tags for name in attributes if name in {"style", "src"} or name.startswith("on")]


def test_policy_covers_exactly_what_the_page_carries(page: str) -> None:
    policy = next(a["content"] for _, a in _check(page).tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    for element in ("style", "script"):
        blocks = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert len(blocks) == 1
        digest = base64.b64encode(hashlib.sha256(blocks[0].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_hostile_texts_stay_texts() -> None:
    page = render(_hostile())
    tags = _check(page).tags
    assert [name for name, _ in tags].count("script") == 1
    assert not [1 for name, a in tags if name == "img" or any(key.startswith("on") for key in a)]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    assert "⟨U+202E⟩" in page
    assert "&lt;script&gt;" in page
    assert "${title}" in page


def test_doubts_come_before_results(page: str) -> None:
    order = re.findall(r'<section id="(\w+)"', page)
    assert order == ["trust", "ruler", "frontier", "training", "replies", "tokens", "prompts", "cost", "manifest"]
    assert page.index('class="answer"') < page.index('id="trust"')
    assert "2 of 8 held-out prompts are flagged" in page
    assert page.count('<tr class="doubt">') == 2


def test_the_answer_and_every_law_are_there(page: str) -> None:
    report = example_report()
    assert "65 %" in page
    assert all(row.title in page for row in report.ruler)
    assert "kept: step 45" in page
    assert "0.70 ± 0.09<small>exact 0.75 ± 0.20</small>" in page
    assert "once, in training" in page
    assert '<bdi lang="zh">今天天气怎么样？</bdi>' in page
    assert page.count('class="cut"') == len({reply.prompt for reply in report.replies})


def test_a_run_with_nothing_to_doubt_says_so() -> None:
    report = _unpictured()
    clean = dataclasses.replace(
        report,
        findings=report.findings[:1],
        prompts=tuple(dataclasses.replace(row, trusted=True) for row in report.prompts),
    )
    assert "Nothing was flagged" in render(clean)


def test_a_bare_report_still_renders() -> None:
    report = example_report()
    bare = dataclasses.replace(
        report, ruler=(), prompts=(), frontier=(), marks=(), findings=(), replies=(), history=(), manifest={}
    )
    _check(render(bare))


def test_slack_is_claimed_only_where_it_holds(page: str) -> None:
    assert "is β·KL(law‖p*)" in page
    report = example_report()
    marks = tuple(
        dataclasses.replace(m, reward=dataclasses.replace(m.reward, value=m.reward.value - 0.2 * (m.kind == "train")))
        for m in report.marks
    )
    wrong = render(dataclasses.replace(report, marks=marks, history=()))
    assert "is β·KL(law‖p*)" not in wrong
    assert "is not exactly β·KL(law‖p*)" in wrong


@pytest.mark.parametrize(
    ("nats", "name"),
    [(0.0, "same"), (0.09, "same"), (0.1, "p1"), (-0.7, "m2"), (1.5, "p3"), (-9.0, "m4"), (float("inf"), "p4"),
     (float("nan"), "unknown")],
)  # fmt: skip
def test_shades_are_signed_steps_in_nats(nats: float, name: str) -> None:
    assert shade(nats) == name


def test_pieces_that_do_not_pair_with_their_nats_are_not_coloured() -> None:
    report = _unpictured()
    reply = Reply("p", "policy", "a b", 0.1, True, ("a", " b"), (0.5,))
    assert '<section id="tokens"' not in render(dataclasses.replace(report, replies=(reply,)))
