"""examples/numpy_prior.py: a numpy model keeps the laws, and SMC on it agrees with enumeration."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "numpy_prior.py"


def test_it_keeps_the_laws_and_finds_log_z(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    text = capsys.readouterr().out
    assert "StepPrior: NumpyPrior" in text
    assert "14 kept" in text
    assert text.count("exact ") == 2
