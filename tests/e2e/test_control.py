"""`credence control` on a small lake and a cliff, as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app

pytest.importorskip("gymnasium", reason="the extra `control` is not installed")

ROOT = Path(__file__).parents[2]
SMALL = ["learn.seeds=2", "learn.steps=120", "learn.looks=4", "learn.actor.episodes=2", "learn.actor.steps=160"]


def call(tmp_path: Path, config: str, *more: str, code: int = 0) -> str:
    settings = [word for s in SMALL for word in ("--set", s)]
    done = CliRunner().invoke(app, ["control", config, "--into", str(tmp_path), *settings, *more])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


@pytest.mark.parametrize("name", ["frozenlake", pytest.param("cliff", marks=pytest.mark.slow)])
def test_a_run_leaves_its_folder(tmp_path: Path, name: str) -> None:
    config = str(ROOT / f"examples/{name}_kl.toml")
    found = json.loads(call(tmp_path, config, "--json"))
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["optimum"]["gap"]["value"] == 0
    assert rows["prior"]["kl"]["value"] == 0
    assert ("exploring" in rows) is (name == "frozenlake")  # what soft SARSA aims at, where that is not the optimum
    assert {c["engine"]: c["steps"][-1] for c in found["curves"]} == {"q": 120, "sarsa": 120, "actor": 160}
    assert any(fact.startswith("Of the way") for fact in found["facts"])
    for row in found["rows"]:
        assert row["j"]["value"] <= rows["optimum"]["j"]["value"] + 1e-9
        assert row["j"]["value"] == pytest.approx(row["reward"]["value"] - found["beta"] * row["kl"]["value"], abs=1e-6)
    assert found["deterministic"] is (name == "cliff")
    folder = tmp_path / f"{name}-kl"
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {p.name for p in folder.glob("*.png")} == {
        f"{a}-{b}.png" for a in ("curves", "maps") for b in ("light", "dark")
    }


def test_same_seed_same_numbers_and_no_silent_overwrite(tmp_path: Path) -> None:
    config = str(ROOT / "examples/frozenlake_kl.toml")
    first, again = (json.loads(call(tmp_path, config, "--json", "--overwrite"))["rows"] for _ in range(2))
    assert first == again
    assert "--overwrite" in call(tmp_path, config, code=2)
    table = call(tmp_path, config, "--overwrite")
    assert "E[return]" in table
    assert "soft SARSA" in table


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("environment.id=FrozenLak-v1", "FrozenLak"),
        ("environment.id=Blackjack-v1", "no table P"),
        ("prior.law=goalwards", "goalward"),
        ("beta=0", "above 0"),
        ("beta=1e-320", "so must 1/beta"),
        ("learn.sed=3", "'seeds'"),
        ("environment.discount=1.5", "less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(tmp_path: Path, setting: str, says: str) -> None:
    config = str(ROOT / "examples/frozenlake_kl.toml")
    more = ("--set", "environment.options={}") if "Blackjack" in setting else ()
    more = (*more, "--set", "environment.max_steps=10") if "Blackjack" in setting else more
    assert says in call(tmp_path, config, *more, "--set", setting, code=2)
    assert not list(tmp_path.iterdir())


def test_a_language_model_as_prior(tmp_path: Path, tiny: str) -> None:
    config = str(ROOT / "examples/frozenlake_kl.toml")
    found = json.loads(call(tmp_path, config, "--json", "--set", f"prior.model={tiny}", "--set", "prior.style=raw",
                            "--set", "prior.told=row {row}"))  # fmt: skip
    assert any("of the probability" in fact for fact in found["facts"])
    law = found["maps"][0]["law"]
    assert len(law) == 16
    assert all(sum(row) == pytest.approx(1) for row in law)
    assert max(abs(p - 0.25) for row in law for p in row) > 1e-3
    assert any("moves its answer by" in fact and "told as: row 1 Its answer: left" in fact for fact in found["facts"])


@pytest.mark.slow
def test_the_embedded_model_is_told_where_it_stands(tmp_path: Path) -> None:
    # What docs/control.md says of q: it leans away from "left", and hardly looks at the state.
    found = json.loads(call(tmp_path, str(ROOT / "examples/frozenlake_words.toml"), "--json"))
    assert found["deterministic"]
    assert any("the goal is down and right" in fact for fact in found["facts"])
    law = found["maps"][0]["law"]
    assert law[0] == pytest.approx([0.007, 0.370, 0.162, 0.460], abs=0.02)
    assert law[14] == pytest.approx([0.009, 0.412, 0.207, 0.373], abs=0.02)
