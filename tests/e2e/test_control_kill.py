"""Kill −9 of control runs at random moments, also inside a save: what goes on comes to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_control_resume import same
from tests.survival import ENVIRONMENT, ROOT

KILLS = 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that they start at once")
@pytest.mark.slow
def test_kills_on_a_small_lake(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.control_survival", str(tmp_path), "3", str(KILLS)]
    subprocess.run(program, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    (tmp_path / "told.json").unlink()
    assert told["killed"] == KILLS
    assert told["inside_a_save"] >= 2, told
    for run in range(told["finished"]):
        same(tmp_path / str(run), tmp_path / "whole")
