"""The scripts that reproduce published figures: the runner knows them all, and a verdict that fails shows."""

import importlib
import json
import math
import runpy
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "scripts" / "figures"


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts' own module of figures and verdicts."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("result")


def test_the_runner_knows_every_figure(result: Any) -> None:
    known = runpy.run_path(str(FOLDER / "__main__.py"), run_name="figures")["FIGURES"]
    files = {path.stem.split("_")[0].upper() for path in FOLDER.glob("f[0-9]*_*.py")}
    wanted = {f"F{n}" for n in range(1, 17)}
    assert {figure.name for figure in known} == files == wanted
    assert len(known) == len(files)


@pytest.mark.parametrize(
    ("found", "sense", "ok"),
    [(1.0, "=", True), (1.2, "=", False), (0.8, "=", False), (0.8, "≤", True), (1.2, "≤", False),
     (math.nan, "≤", False), (math.nan, "=", False), (math.inf, "=", False)],
)  # fmt: skip
def test_a_number_is_held_to_its_tolerance(result: Any, found: float, sense: str, ok: bool) -> None:
    assert result.Number("x", 1.0, 0.1, found, sense).ok == ok


def test_json_and_both_pictures_are_written_and_a_failure_is_the_status(result: Any, tmp_path: Path) -> None:
    def measured(value: float) -> Any:
        return lambda seed: result.Found((result.Number("x", float(seed), 0.5, value),), {"line": [value, math.inf]})

    def draw(found: Any, palette: Any) -> Any:
        from credence.report.canvas import sheet

        return sheet((2.0, 2.0), palette)[0]

    for value, status in ((7.2, 0), (8.0, 1)):
        figure = result.Figure("F0", "a made-up number", "nobody", measured(value), draw, seed=7)
        assert result.alone(figure, ["--out", str(tmp_path)]) == status
        told = json.loads((tmp_path / "f0.json").read_text(encoding="utf-8"))
        assert tuple(told) == result.KEYS
        assert told["found"] == {"x": value}
        assert told["expected"] == {"x": 7.0}
        assert told["verdict"] == ("fails" if status else "holds")
        assert told["curves"]["line"][1] == "inf"
    assert {path.name for path in tmp_path.iterdir()} == {"f0.json", "figure-f0-light.png", "figure-f0-dark.png"}
