"""A comparison's record in the terminal: it fits, each dash has its reason, and it reads back."""

import io
import json

from rich.console import Console

from credence.report.comparison import Comparison, Spent, footnotes
from credence.report.comparison_table import COST, RULER, cost_text, print_comparison
from credence.study.stored import _read
from tests.example_comparison import example_comparison


def printed(report: Comparison) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    print_comparison(report, console)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] - a StringIO


def test_it_fits_eighty_columns() -> None:
    text = printed(example_comparison())
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for says in ("≤ 0.60", "≥ 70 %", "100 %", "[0.60, 1.00]", "9,000 tok", "20 ms", "2,100 MiB"):
        assert says in text, says
    assert "grpo refuses" in text


def test_every_dash_has_its_reason() -> None:
    report = example_comparison()
    marks = footnotes(report.rows, RULER + COST)
    assert list(marks.values()) == [chr(ord("a") + i) for i in range(len(marks))]
    text = printed(report)
    for reason, mark in marks.items():
        assert f"{mark}  {reason}" in text
    assert "– a" in text


def test_many_reasons_have_marks_too() -> None:
    report = example_comparison()
    row = report.rows[1]
    many = type(row)(**{**vars(row), "why": {f"kl_{i}": f"reason {i}" for i in range(30)}})
    assert list(footnotes((many,), tuple(f"kl_{i}" for i in range(30))).values())[25:28] == ["z", "aa", "bb"]


def test_costs_are_brief() -> None:
    row = example_comparison().rows[1]
    assert cost_text("spent", row) == "200 k tok, 5 min"
    assert Spent(31.4, 0.0123).words == ("31 tok", "12.3 ms")
    assert Spent(10.0, 4.0).over(2.0) == Spent(5.0, 2.0)


def test_the_record_reads_back() -> None:
    report = example_comparison()
    found = _read(Comparison, json.loads(json.dumps(report.to_json(), allow_nan=False)), "here")
    assert found.rows == report.rows
    assert found.recommendation == report.recommendation
