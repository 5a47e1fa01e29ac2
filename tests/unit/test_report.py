"""The report's parts: words, tables, plots, manifest, the record's own documentation."""

import dataclasses
import getpass
import io
import json
import math
import platform
import re
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from credence.report import phrases, plots, schema, svg, tables
from credence.report.labels import Box, Obstacles, place
from credence.report.manifest import manifest
from credence.report.schema import Estimate, Mark, Report
from tests.example_report import example_report

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> Report:
    return example_report()


def _print(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("estimate", "percent", "expected"),
    [
        (Estimate(1.84, 1.62, 2.07), False, "1.84  [1.62, 2.07]"),
        (Estimate(0.41, 0.36, 0.46), True, "41 %  [36, 46]"),
        (Estimate(0.22, 0.1, 0.3, "upper"), False, "≤ 0.22  [0.10, 0.30]"),
        (Estimate(0.87, 0.8, 0.9, "lower"), True, "≥ 87 %  [80, 90]"),
        (Estimate(math.inf, math.inf, math.inf), False, "∞"),
        (Estimate(-math.inf, -math.inf, -1.0), False, "−∞  [−∞, −1.00]"),
        (Estimate(math.nan, 0.0, 1.0), False, "–"),
        (Estimate(0.0, 0.0, 0.0), False, "0"),
        (Estimate(-0.001, -0.02, 0.02), False, "0.00  [−0.02, 0.02]"),
        (Estimate(0.0123, 0.0121, 0.0125), False, "0.0123  [0.0121, 0.0125]"),
        (Estimate(1234.5, 1200.0, 1300.0), False, "1,234  [1,200, 1,300]"),
        (None, False, "–"),
    ],
)
def test_estimates_in_words(estimate: Estimate | None, percent: bool, expected: str) -> None:
    assert phrases.estimate_text(estimate, percent) == expected


def test_visible() -> None:
    assert phrases.visible("a\x1b[31mb\x00") == "a⟨U+001B⟩[31mb⟨U+0000⟩"
    assert phrases.visible("x\u202egnp.exe\u2066") == "x⟨U+202E⟩gnp.exe⟨U+2066⟩"
    assert phrases.visible("z\u200bw\ufeff\ud800") == "z⟨U+200B⟩w⟨U+FEFF⟩⟨U+D800⟩"
    assert phrases.visible("a\r\nb\tc", " ↵ ") == "a ↵ b c"
    assert phrases.visible("今天 👩\u200d🔬 é") == "今天 👩\u200d🔬 é"


def test_short() -> None:
    assert phrases.short("好的，我知道", 12) == "好的，我知道"
    assert phrases.short("好的，我知道", 11) == "好的，我知…"
    assert phrases.short("我知道了……但是什么", 12) == "我知道了…"  # its own and the cut's are one


def test_answer_says_when_nothing_was_reached(report: Report) -> None:
    assert phrases.answer(report).startswith("The policy closed 65 % [60, 71] of the gap between prior and posterior; ")

    def said(*gap: float) -> str:
        return phrases.answer(dataclasses.replace(report, gap_closed=Estimate(*gap)))

    assert "no progress beyond chance" in said(0.03, -0.02, 0.08)
    assert "further from the posterior than the prior" in said(-0.1, -0.2, -0.05)
    assert "is not known" in said(math.nan, math.nan, math.nan)
    for sentence in (said(0.5, 0.4, 0.6), said(-0.1, -0.2, -0.05), said(math.nan, math.nan, math.nan)):
        assert sentence.endswith(" 2 of 8 prompts cannot be trusted.")
    rest = tuple(row for row in report.ruler if row.kind != "train")
    assert phrases.answer(dataclasses.replace(report, gap_closed=None, ruler=rest)).startswith("No policy was trained")


@pytest.mark.parametrize("width", [80, 100])
def test_ruler_fits_eighty_columns(report: Report, width: int) -> None:
    rows = tuple(dataclasses.replace(row, title="强化学习之后的策略（已保存）") for row in report.ruler[:1])
    for table in (
        tables.ruler_table(dataclasses.replace(report, ruler=rows + report.ruler[1:])),
        tables.prompt_table(report),
    ):
        lines = _print(table, width).splitlines()
        assert all(cell_len(line.rstrip()) <= width for line in lines)
        assert not [line for line in lines if re.search(r"[\d.,%\[]…", line)], "a number was cut"
    text = _print(tables.ruler_table(report), width)
    for piece in ("E[r]", "KL(p*‖law)", "≤ 0.22", "[60, 71]", "1.45", "[1.23, 1.67]", "–"):
        assert piece in text


def test_terminal_takes_no_orders_from_texts(report: Report) -> None:
    evil = "[bold]hi[/bold] \x1b]0;owned\x07 [/nothing]"
    prompts = (dataclasses.replace(report.prompts[0], prompt=evil, trusted=False, why_not=evil),)
    hostile = dataclasses.replace(report, title=evil, prompts=prompts)
    text = _print(tables.prompt_table(hostile), 100) + _print(tables.ruler_table(hostile), 100)
    text += "\n".join(line.plain for line in tables.findings_lines(hostile))
    assert "[bold]hi[/bold]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_findings_that_are_not_ok_come_first(report: Report) -> None:
    ok = [line.plain.startswith("ok") for line in tables.findings_lines(report)]
    assert ok == sorted(ok)
    assert ok.count(True) == 2
    assert ok.count(False) == 3


def test_example_obeys_the_identity_and_a_wrong_one_is_noticed(report: Report) -> None:
    assert plots.slack_holds(report)
    row = next(r for r in report.ruler if r.name == "policy_dpg")
    # the wrong version: the KL both ways confused
    swapped = dataclasses.replace(row, kl_reverse=row.kl_forward or row.kl_reverse)
    ruler = tuple(swapped if r is row else r for r in report.ruler)
    assert not plots.slack_holds(dataclasses.replace(report, ruler=ruler))


def test_svg_is_fit_for_a_page(report: Report) -> None:
    at = Estimate(1.0, 1.0, 1.0), Estimate(0.2, 0.2, 0.2)
    marks = (*report.marks, Mark("x", "中文 <b>$5 & $6</b>\u202e", "draw", *at))
    for text in (plots.frontier_svg(dataclasses.replace(report, marks=marks)), plots.training_svg(report.history)):
        assert text.startswith("<svg ")
        assert text.rstrip().endswith("</svg>")
        for wrong in ("style=", "<style", "xlink", "xmlns", "<metadata", "#0a0b", "http", "font-family"):
            assert wrong not in text
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used <= set(ids)
        assert not re.search(r"#[0-9a-f]{6}", text), "a colour that no theme can change"
    text = plots.frontier_svg(dataclasses.replace(report, marks=marks))
    assert "中文 &lt;b&gt;$5 &amp; $6&lt;/b&gt;⟨U+202E⟩" in text


def test_plots_survive_what_is_not_finite(report: Report) -> None:
    endless = Estimate(math.inf, math.inf, math.inf)
    marks = (
        Mark("top_k", "Top-k policy", "train", endless, Estimate(0.4, math.nan, math.inf)),
        Mark("prior", "Prior", "prior", Estimate(0.0, 0.0, 0.0), Estimate(0.1, -math.inf, 0.2)),
    )
    assert "Top-k" not in plots.frontier_svg(dataclasses.replace(report, marks=marks))
    assert plots.frontier_svg(dataclasses.replace(report, marks=(), frontier=())).startswith("<svg")
    history = ({"step": 1, "elbo": math.nan, "reward": None}, {"step": 2, "elbo": "-inf", "val_elbo": 1.0})
    assert plots.training_svg(history).startswith("<svg")
    assert plots.training_svg(()) == ""


def test_pngs_of_both_themes_differ(report: Report, tmp_path: Path) -> None:
    light, dark = tmp_path / "light.png", tmp_path / "dark.png"
    plots.frontier_png(report, light)
    plots.frontier_png(report, dark, dark=True)
    assert light.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert light.read_bytes() != dark.read_bytes()


def test_whisker_stays_on_its_rail() -> None:
    drawn = svg.whisker(Estimate(2.0, -5.0, math.inf), 0.0, 4.0, "train")
    assert 'cx="60.0"' in drawn
    assert "M4.0 8H116.0" in drawn
    assert svg.whisker(Estimate(math.nan, 0.0, 1.0), 0.0, 4.0, "train") == ""


def test_labels_keep_apart() -> None:
    obstacles = Obstacles(Box(0.0, 0.0, 300.0, 200.0))
    for title in ("Policy after DPG", "Policy, as saved", "后验", "Best of 16"):
        place((150.0, 100.0), title, 12.0, obstacles)
    boxes = obstacles.boxes
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.meets(b)]


def test_every_field_is_documented() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for kind in (
        schema.Report, schema.Estimate, schema.Finding, schema.RulerRow, schema.PromptRow, schema.FrontierPoint,
        schema.Mark, schema.Reply,
    ):  # fmt: skip
        section = page.split(f"## {kind.__name__}\n", 1)[1].split("\n## ", 1)[0]
        named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        assert named == {field.name for field in dataclasses.fields(kind)}, kind.__name__


def test_json_is_plain(report: Report) -> None:
    row = dataclasses.replace(report.ruler[0], kl_reverse=Estimate(math.inf, math.nan, math.inf))
    text = json.dumps(dataclasses.replace(report, ruler=(row,)).to_json(), allow_nan=False)
    assert json.loads(text)["ruler"][0]["kl_reverse"] == {"value": "inf", "low": None, "high": "inf", "bound": ""}
    assert set(json.loads(text)["gap_closed"]) == {"value", "low", "high", "bound"}


def test_manifest_names_nobody(tmp_path: Path) -> None:
    config = {
        "prompts": str(tmp_path / "mine.jsonl"), "folder": Path.home() / "models" / "tiny",
        "windows": r"C:\Users\a\b.txt",
        "reward": f"{tmp_path}/rewards.py:cheer", "relative": "examples/cheerful.toml", "system": "Answer yes / no.",
        "hub": "org/model", "home": "~/x/y.csv", "list": ["/a/b/c", 3],
    }  # fmt: skip
    found = manifest(config, seed=7, started=time.time() - 2)
    text = json.dumps(found, allow_nan=False, ensure_ascii=False)
    assert found["config"] == {
        "prompts": "…/mine.jsonl", "folder": "…/tiny", "windows": "…/b.txt", "reward": "…/rewards.py:cheer",
        "relative": "examples/cheerful.toml", "system": "Answer yes / no.", "hub": "org/model", "home": "…/y.csv",
        "list": ["…/c", 3],
    }  # fmt: skip
    assert found["seed"] == 7
    assert 1 < found["wall_seconds"] < 30
    assert found["versions"]["torch"]
    assert found["peak_memory_mib"] > 10
    assert found["numerics"]["threads"] >= 1
    for secret in (str(Path.home()) + "/", str(tmp_path), f'"{platform.node()}"', f'"{getpass.getuser()}"', str(ROOT)):
        assert secret not in text
