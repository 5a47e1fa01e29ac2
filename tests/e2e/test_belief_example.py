"""examples/belief_zh.py: what it prints is Bayes' rule, its pictures are drawn with and without a Chinese font."""

import runpy
import warnings
from pathlib import Path

import pytest

from credence.report.canvas import chinese_fonts

ROOT = Path(__file__).parents[2]


def test_it_prints_exact_beside_estimated_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["belief_zh.py", "--into", str(tmp_path)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing")  # a box where a character should be
        runpy.run_path(str(ROOT / "examples" / "belief_zh.py"), run_name="__main__")
    text = capsys.readouterr().out
    for part in ("P(E) = Σ P(h) p(E|h)：精确 1.3560e-03", "P(好评|E)", "0.0150", "全部 259 个前文上", "最大"):
        assert part in text
    assert ("没有中文字体" in text) == (not chinese_fonts())
    for name in ("belief_zh.png", "belief_zh-dark.png"):
        assert (tmp_path / name).stat().st_size > 20_000
