"""`credence dialogue update` on a tiny model: from the prior with all ratings, none twice, none that is retracted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from credence.cli.main import app
from credence.dialogue.feedback import FeedbackStore
from credence.evidence.feedback import load_head
from credence.prior.load import load
from credence.prior.reshape import reshape
from credence.study import refit_work
from credence.study.opinions import FeedbackSettings, hear, learn
from tests import talking

CONFIG = """
name = "mine"
[prior]
model = "{model}"
system = ""
horizon = 8
[evidence.reward]
fn = "mine.py:length"
beta = 1.0
[train]
rank = 2
"""


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = talking.make(tmp_path_factory.mktemp("talker"))
    (tmp_path / "c.toml").write_text(CONFIG.format(model=model), encoding="utf-8")
    (tmp_path / "mine.py").write_text(
        "def length(prompts, completions):\n    return [0.1 * len(c) for c in completions]\n"
    )
    (tmp_path / "model").write_text(model)
    monkeypatch.setenv("CREDENCE_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, lines: str = "", code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments), input=lines, env={"COLUMNS": "120"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.stdout if code == 0 else done.stderr


def talk(lines: str, *more: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call("chat", "--config", "c.toml", "--json", *more, lines=lines).splitlines()]


def update(*more: str) -> Any:
    return json.loads(call("dialogue", "update", "--config", "c.toml", "--fast", "--json", *more))


def mean_of(folder: str) -> torch.Tensor:
    return load_head(Path(folder) / "feedback.safetensors").mean


def from_scratch(home: Path) -> torch.Tensor:
    """The head of all ratings that stand, on the prior."""
    model = (home / "model").read_text()
    prior = reshape(load(model, horizon=8), 0.7)
    heard = hear(FeedbackStore(home / "state/feedback.db").standing(), prior, model)
    return learn(heard, FeedbackSettings(), prior)[0].head.mean


def test_a_talk_is_learnt_from_and_answered_by(home: Path) -> None:
    assert "no feedback that counts" in call("dialogue", "update", "--config", "c.toml", "--fast", code=2)
    talk("hi\n/good\nhow are you?\n/better aaaa\n你好\n/bad\n")
    first = update()
    assert (first["new"], first["ratings"], first["contexts"]) == (True, [1, 2, 3], 3)
    assert first["folder"] == "runs/mine-feedback-1"
    assert torch.allclose(mean_of(first["folder"]), from_scratch(home), atol=1e-9)
    numbers = first["numbers"]
    assert {"prior/j", "policy_feedback/j", "policy_feedback/kl_prior", "liked", "disliked", "predicted"} <= set(
        numbers
    )
    assert all(n["low"] is None or n["low"] <= n["value"] <= n["high"] for n in numbers.values())
    assert [c["kind"] for c in first["changes"]] == ["good", "better", "bad"]
    assert first["changes"][1]["margin_after"] is not None
    manifest = json.loads(Path(first["folder"], "manifest.json").read_text())
    assert manifest["status"] == "done"
    card = Path(first["folder"], "policy/README.md").read_text()
    assert "how are you" not in card  # what people said is their own

    again = update()
    assert (again["new"], again["folder"].endswith("mine-feedback-1")) == (False, True)
    assert not Path("runs/mine-feedback-2").exists()
    assert "nothing new" in call("dialogue", "update", "--config", "c.toml", "--fast")

    reply, why, good = talk("hi\n/why\n/good\n", "--policy", "runs/latest")
    assert reply["law"] == "policy"
    assert {part["name"] for part in why["evidence"]} == {"length", "ended", "approval"}
    approval = next(part for part in why["evidence"] if part["name"] == "approval")
    assert approval["nats"] == pytest.approx(approval["readings"]["approval"] / 0.5)
    assert good["rating"] == 4

    # Asked for the update of an update, it starts at the prior with all ratings: not at the policy, and none twice.
    second = update("--policy", "runs/latest")
    assert (second["new"], second["ratings"]) == (True, [1, 2, 3, 4])
    assert second["folder"] == "runs/mine-feedback-2"
    assert torch.allclose(mean_of(second["folder"]), from_scratch(home), atol=1e-9)


def test_ctrl_c_keeps_what_was_learnt_and_counts_nothing_as_learnt(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk("hi\n/good\nhow are you?\n/bad\n")
    store, plain, seen = FeedbackStore(home / "state/feedback.db"), refit_work.Work.__call__, []

    def stops(self: Any, record: Any, clock: Any) -> None:
        seen.append(json.loads(Path("runs/mine-feedback-1/manifest.json").read_text())["status"])
        plain(self, record, clock)
        if record["stage"] == "reinforce" and record["step"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(refit_work.Work, "__call__", stops)
        said = " ".join(call("dialogue", "update", "--config", "c.toml", "--fast", code=130).split())
    folder = Path("runs/mine-feedback-1")
    assert set(seen) == {"running"}
    assert f"interrupted: what was done is kept in {folder} ({len(seen)} steps of history and the best policy" in said
    assert "--resume goes on with it; its ratings count as not learnt yet" in said
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert len((folder / "history.jsonl").read_text().splitlines()) == len(seen)
    assert "before this policy was measured" in (folder / "policy/README.md").read_text()
    assert not store.refits()
    (reply,) = talk("hi\n", "--policy", str(folder))  # it can be talked to all the same
    assert reply["law"] == "policy"
    done = update()
    assert (done["new"], done["ratings"], done["folder"]) == (True, [1, 2], "runs/mine-feedback-2")
    assert len(store.refits()) == 1
    wrong = call("run", "c.toml", "--resume", "--set", "name=mine-feedback-2", code=2)
    assert "was left by another command" in wrong


def test_what_is_taken_back_is_gone(home: Path) -> None:
    talk("hi\n/good\n")
    alone = from_scratch(home)
    talk("how are you?\n/bad\n/retract\n")
    assert torch.equal(from_scratch(home), alone)
    talk("how are you?\n/bad\n/good\n")  # the second replaces the first
    store = FeedbackStore(home / "state/feedback.db")
    assert [r.kind for r in store.standing()] == ["good", "good"]


def test_settings_that_cannot_be(home: Path) -> None:
    talk("hi\n/good\n")
    assert "one of plug_in, pessimistic" in call("dialogue", "update", "--config", "c.toml", "--rule", "bold", code=2)
    assert "above 0" in call("dialogue", "update", "--config", "c.toml", "--beta", "0", code=2)
    Path("runs/mine").mkdir(parents=True)
    assert "--overwrite" in call("dialogue", "update", "--config", "c.toml", "--out", "runs/mine", code=2)
