"""`credence sample --engine smc` on a rare event: it warns, for people and for machines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "examples/blue_or_waves.toml"


def said(*extra: str) -> str:
    """What the command prints on stdout; 16 particles in each of 4 islands, as the example says."""
    asked = ["sample", str(CONFIG), "--prompt", "Tell me about the weather today.", "--engine", "smc", *extra]
    done = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_sixteen_particles_warn_of_a_rare_event() -> None:
    """About one prior draw in 25 holds the word: an island of 16 finds it once, or never.

    At each of five seeds few ancestors are named; at one of them, at most two, four islands may agree by chance.
    """
    wide = 0
    for seed in range(5):
        found = json.loads(said("-n", "8", "--json", "--set", f"seed={seed}"))["prompts"][0]
        assert found["status"] == "ok"
        warnings = " ".join(found["warnings"])
        assert "Few ancestors" in warnings
        wide += "Wide log Z" in warnings
        assert found["info"]["ess_before_draws"] < 8
        assert "ess" not in found["info"]
        assert all("blue" in row["text"].lower() or "waves" in row["text"].lower() for row in found["draws"])
    assert wide >= 3
    printed = said("-n", "2", "--set", "seed=1")
    assert "warning: Few ancestors" in printed
    assert "warning: Wide log Z" in printed
