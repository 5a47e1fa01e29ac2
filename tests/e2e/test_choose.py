"""`credence believe choose`: the simulation, a log judged against what is true, and mistakes on the command line."""

import json
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app

ROOT = Path(__file__).parents[2]


def said(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["believe", "choose", *arguments], env={"COLUMNS": "100"})
    return done.exit_code, done.output


def test_strategies_on_a_bandit(tmp_path: Path) -> None:
    given = ("--arms", "0.9,0.2", "--steps", "120", "--runs", "20", "--into", str(tmp_path))
    code, text = said(*given, "--json")
    assert code == 0, text
    found = json.loads(text)
    finals = {curve["strategy"]: curve["regret"][-1] for curve in found["curves"]}
    assert set(finals) == {"thompson", "greedy", "ucb", "uniform"}
    assert finals["uniform"][0] == pytest.approx(0.7 * 60, rel=0.1)
    assert finals["thompson"][2] < finals["uniform"][1]
    assert [Path(p).name for p in found["pictures"]] == ["regret-light.png", "regret-dark.png"]
    assert all(Path(p).stat().st_size > 10_000 for p in found["pictures"])
    assert said(*given, "--json")[1] == text  # the same seed, the same bytes
    code, text = said(*given)
    assert code == 0
    assert "strategy" in text
    assert "thompson" in text


@pytest.mark.parametrize("kind", ["linear", "logistic"])
def test_bandits_with_contexts(tmp_path: Path, kind: str) -> None:
    code, text = said("--bandit", kind, "--steps", "80", "--runs", "3", "--into", str(tmp_path), "--json")
    assert code == 0, text
    finals = {curve["strategy"]: curve["regret"][-1][0] for curve in json.loads(text)["curves"]}
    assert finals["thompson"] < finals["uniform"]


def test_the_example_chooses_engines_and_its_log_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every policy's value is known; 95 % intervals of DR hold all of these six at this seed."""
    path = tmp_path / "log.csv"
    monkeypatch.setattr("sys.argv", ["choose_engine.py", "--prompts", "400", "--into", str(path)])
    runpy.run_path(str(ROOT / "examples" / "choose_engine.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    truth = {" ".join(w[:-1]): float(w[-1]) for w in (line.split() for line in lines[2:6])}
    code, text = said(str(path), "--policy", "by_hand", "--context", "hard", "--into", str(tmp_path), "--json")
    assert code == 0, text
    found = json.loads(text)
    assert found["model"] == "linear"
    assert found["choices"] == 400
    assert found["next_arm"] in {"prior", "best of 8"}
    rows = {row["policy"].removeprefix("column "): row for row in found["policies"]}
    for policy, value in truth.items():
        assert rows[policy]["dr"]["low"] - 0.02 < value < rows[policy]["dr"]["high"] + 0.02, policy
    assert rows["greedy"]["dr"]["value"] > truth["uniform"]
    code, text = said(str(path), "--policy", "by_hand", "--at", "hard=1", "--into", str(tmp_path))
    assert code == 0
    for words in ("choose next:", "always best of 8", "column by_hand", "SNIPS", "at hard=1"):
        assert words in text
    assert (tmp_path / "values-dark.png").stat().st_size > 10_000


def test_warnings_and_broken_lines_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ["甲,1,0.9"] * 150 + ["乙,0,0.9"] * 150 + ["甲,,0.9"]
    path.write_bytes("\n".join(["arm,reward,propensity", *rows]).encode("gb18030"))
    code, text = said(str(path), "--into", str(tmp_path))
    assert code == 0, text
    assert "read as gb18030" in text
    assert "1 of 301 lines left out: line 302" in text
    assert "weights average" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arms", "0.9,x"), "'x' is no number"),
        (("--arms", "0.9,1.2"), "lies in [0, 1]"),
        (("--arms", "0.9"), "1 arm"),
        (("--bandit", "bernouli"), "Did you mean 'bernoulli'"),
        (("--policy", "new"), "--policy is for a log"),
        (("missing.csv",), "no such log"),
        (("missing.csv", "--runs", "5"), "--runs is for a simulation"),
    ],
)
def test_mistakes_end_with_two_and_a_sentence(arguments: tuple[str, ...], words: str) -> None:
    code, text = said(*arguments)
    assert code == 2
    assert words in " ".join(text.split())
    assert json.loads(said(*arguments, "--json")[1])["kind"] == "ConfigError"
