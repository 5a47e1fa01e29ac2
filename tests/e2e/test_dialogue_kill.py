"""Kill −9 of dialogue runs at random moments, also inside a save: what goes on comes to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_dialogue_resume import SAME
from tests.survival import ENVIRONMENT, ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that twenty start at once")
@pytest.mark.slow
def test_twenty_kills_on_a_law_over_candidates(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.dialogue_survival", str(tmp_path), "2", "20"]
    subprocess.run(program, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert told["killed"] == 20
    assert told["inside_a_save"] >= 5, told
    for run in range(told["finished"]):
        for name in (*SAME, "policy/weights.json"):
            assert (tmp_path / str(run) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
