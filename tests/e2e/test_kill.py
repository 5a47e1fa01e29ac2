"""Kill −9 at random moments, also inside a save: what goes on comes to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.survival import ENVIRONMENT, ROOT, outcome


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that twenty start at once")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_twenty_kills_on_the_table_prior(tmp_path: Path, seed: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.survival", str(tmp_path), str(seed), "20"], check=True, cwd=ROOT, env=ENVIRONMENT
    )
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert told["killed"] == 20
    assert told["inside_a_save"] >= 3, told  # of about 12: else the flushes are not slow enough for what is tested
    for run in range(told["finished"]):
        assert outcome(tmp_path / str(run)) == outcome(tmp_path / "whole")
