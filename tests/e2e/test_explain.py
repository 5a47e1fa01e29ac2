"""`credence explain` on a tiny random model, as a user calls it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from credence.cli.main import app


def call(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "120"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> str:
    reward = "def vowels(prompts, completions):\n    return [c.count('a') for c in completions]\n"
    (tmp_path / "mine.py").write_text(reward)
    path = tmp_path / "c.toml"
    path.write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 8\ntemperature = 1.0\nstyle = "plain"\n'
        '[evidence.reward]\nfn = "mine.py:vowels"\nbeta = 0.5\n[evidence.ended]\ncut = -1.0\n'
    )
    return str(path)


def test_it_tells_token_by_token_and_the_sums_are_an_identity(config: str) -> None:
    found: Any = json.loads(call("banana", "--prompt", "hi", "--config", config, "--draws", "8", "--json").stdout)
    assert [t["text"] for t in found["tokens"]] == [*"banana", "⟨end⟩"]
    moved = math.fsum(t["moved"] for t in found["tokens"])
    assert found["log_lik"] == pytest.approx(6.0)
    assert moved == pytest.approx(found["log_lik"] - found["log_z"], abs=1e-6)
    assert set(found["tokens"][0]["owed"]) == {"vowels", "ended"}
    assert all(t["log_policy"] is None for t in found["tokens"])


def test_it_shows_a_strip_a_table_and_a_page(config: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    given = ("aa 你", "--prompt", "<script>", "--config", config, "--draws", "8", "--no-end", "--html", str(page))
    shown = call(*given).stdout
    assert "moved by the posterior" in shown
    assert "owed to vowels" in shown
    assert "log p*/π0 = " in shown
    assert "⟨end⟩" not in shown
    text = page.read_text("utf-8")
    assert "&lt;script&gt;" in text
    assert text.count('class="tokens"') == 3
    assert ">你<" in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("banana",), "--prompt is missing"),
        ((" ", "--prompt", "hi"), "text is empty"),
        (("bananas!!", "--prompt", "hi"), "10 tokens, its end counted, and the horizon is 8"),
        (("banana", "--prompt", "hi", "--html", "nowhere/x.html"), "does not exist"),
    ],
)
def test_what_cannot_be_explained_is_said(config: str, given: tuple[str, ...], says: str) -> None:
    done = call(*given, "--config", config, code=2)
    assert says in done.output
