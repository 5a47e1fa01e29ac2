"""`credence dialogue train --resume`: from whatever state a kill left, to the same bytes, or a clear no."""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from credence.core.keys import Key
from credence.learn import checkpoint
from credence.study import dialogue, parts, session, trackers
from credence.study.folder import alone
from tests.dialogues import tiny_chat
from tests.e2e.test_dialogue import CANDIDATES, train, write
from tests.e2e.test_run_resume import SLOW
from tests.survival import ENVIRONMENT, Killed

SAME = ("history.jsonl", "transcripts.jsonl")
STEPS = ("--set", "learn.steps=8", "--set", "learn.checkpoint_every=3", "--set", "learn.lr=0.5")
FAILS_UNTIL_MENDED = """
from pathlib import Path
def fn(prompts, completions):
    if not Path(__file__).with_name("mended").exists():
        raise RuntimeError("no network")
    return [0.0] * len(completions)
"""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "render", lambda report: "<html>")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, CANDIDATES)


@pytest.fixture
def whole(config: Path) -> Path:
    """A run that nothing disturbed."""
    go(config, "--set", "name=whole")
    return config.parent / "runs/whole"


def go(config: Path, *more: str, code: int = 0) -> str:
    """What the command says, on one line."""
    done: Result = train(config, *STEPS, *more)
    assert done.exit_code == code, done.output + repr(done.exception)
    return " ".join(done.output.split())


def told(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def same(folder: Path, whole: Path) -> None:
    assert told(folder)["status"] == "done"
    for name in (*SAME, "policy/weights.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (folder / "checkpoints").exists()
    assert not [p for p in [*folder.rglob("*"), *folder.parent.iterdir()] if p.name.startswith(".")]
    report, other = (json.loads((f / "report.json").read_text(encoding="utf-8")) for f in (folder, whole))
    for name in report:
        assert name in ("manifest", "title") or report[name] == other[name], name
    assert [json.loads(x)["step"] for x in (folder / "timing.jsonl").read_text().splitlines()] == [*range(1, 9)]


def die_at(config: Path, patch: pytest.MonkeyPatch, owner: Any, name: str, number: int = 1) -> None:
    """Run until this call, at which the process dies without a word."""
    plain, count = getattr(owner, name), itertools.count(1)

    def dies(*given: Any, **named: Any) -> Any:
        if next(count) == number:
            raise Killed
        return plain(*given, **named)

    with patch.context() as here:
        here.setattr(owner, name, dies)
        here.setattr(session.Session, "keep", lambda *_: None)
        with pytest.raises(Killed):
            dialogue.train_dialogue(loaded(config), config.parent / "runs/desk", resume=True)


def loaded(config: Path) -> Any:
    from credence.study.dialogue_config import load_dialogue

    return load_dialogue(config, STEPS[1::2])


MOMENTS: tuple[tuple[Any, str, int], ...] = (
    (session.Session, "tell", 1),  # an empty folder
    (dialogue, "converse", 1),
    (dialogue, "learn", 1),  # the first look is on the disk
    (dialogue._Run, "__call__", 2),
    (dialogue._Run, "__call__", 5),
    (checkpoint, "save_file", 1),  # of step 6, after those of 3 were found
    (checkpoint.Checkpoints, "_prune", 1),
    (dialogue, "converse", 1),  # the second look: the lessons have ended
    (dialogue, "save_choosing", 1),  # the export
    (dialogue, "render", 1),
    (parts.Parts, "clear", 1),  # after the last word
)
"""In the order in which one run comes to them, when it dies at each of them in turn."""


def test_it_goes_on_from_every_part(config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, number in MOMENTS:
        die_at(config, monkeypatch, owner, name, number)
    assert "desk is done: there is nothing to resume" in go(config, "--resume")
    same(config.parent / "runs/desk", whole)
    kept = json.loads((whole / "report.json").read_text(encoding="utf-8"))
    again = json.loads(train(config, *STEPS, "--set", "name=whole", "--resume", "--json").stdout)
    assert again.pop("folder").endswith("whole")
    assert again == kept


def test_a_run_that_goes_on_says_so_and_talks_nothing_twice(
    config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_at(config, monkeypatch, dialogue._Run, "__call__", 7)
    folder = config.parent / "runs/desk"
    began = told(folder)["started"]
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 7.0, "j')  # cut through
    looks, plain = [], dialogue.converse

    def converse(*given: Any) -> Any:
        looks.append(given)
        return plain(*given)

    monkeypatch.setattr(dialogue, "converse", converse)
    said = go(config, "--resume")
    assert len(looks) == 1  # the second one: the first is on the disk
    assert f"going on with the run of {began}, which was killed" in said
    assert "taken from the disk 8 dialogues with 4 users" in said
    assert "6 updates taken from the disk" in said
    assert "not surely" not in said
    same(folder, whole)
    assert told(folder)["started"] == began
    assert len(told(folder)["resumed"]) == 1


def test_what_was_damaged_is_said_and_made_again(config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_at(config, monkeypatch, dialogue._Run, "__call__", 8)
    folder = config.parent / "runs/desk"
    for part in ("before/00000000", "learn/00000006"):
        (file,) = (folder / "checkpoints").glob(f"{part}-*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    said = go(config, "--resume")
    assert "is passed over. It is made again" in said
    assert "checkpoint 6 in" in said
    assert "3 updates taken from the disk" in said
    same(folder, whole)


def test_ctrl_c_keeps_what_is_done_and_the_run_goes_on(
    config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plain = config.parent / "runs/desk", dialogue._Run.__call__
    for stop in (2, 5):

        def told_of(self: Any, record: Any, clock: Any, stop: int = stop) -> None:
            plain(self, record, clock)
            if record["step"] == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(dialogue._Run, "__call__", told_of)
        said = go(config, "--resume", code=130)
        assert f"({stop} updates of history and the best policy so far); --resume goes on with it" in said
        assert told(folder)["status"] == "interrupted"
        assert "before this policy was measured" in (folder / "policy/README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(dialogue._Run, "__call__", plain)
    assert "which was interrupted" in go(config, "--resume")
    same(folder, whole)
    assert "Change of J" in (folder / "policy/README.md").read_text(encoding="utf-8")


@pytest.fixture
def begun(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    die_at(config, monkeypatch, dialogue, "learn")
    return config.parent / "runs/desk"


def test_changed_settings_are_named_and_refused(config: Path, begun: Path) -> None:
    before = {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    changes = ("learn.rollouts=4", "users.patience=[2,3]", "candidates.count=4", "evidence.reward.0.beta=0.3")
    wrong = go(config, "--resume", *(p for c in changes for p in ("--set", c)), code=2)
    for says in ("rollouts was 3 and is 4", "patience.0 was 1 and is 2", "count was 3 and is 4", "0.2 and is 0.3"):
        assert says in wrong
    assert "choose one" in go(config, "--resume", "--overwrite", code=2)
    assert "--resume to go on with it" in go(config, code=2)
    assert {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()} == before


def test_settings_that_change_no_number_may_change(config: Path, begun: Path, whole: Path) -> None:
    go(config, "--resume", "--set", "learn.keep=1", "--set", "learn.checkpoint_every=1")
    same(begun, whole)


def test_other_users_or_answers_behind_the_same_settings(config: Path, begun: Path) -> None:
    place = config.parent / "faq.csv"
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("Take a knife", "Take the knife"), encoding="utf-8")
    assert "users.source holds other users than when the run was begun" in go(config, "--resume", code=2)
    place.write_text(text, encoding="utf-8")
    with alone(begun):
        assert "another process" in go(config, "--resume", code=2)
    go(config, "--resume")


def test_a_reward_that_was_mended_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(FAILS_UNTIL_MENDED, encoding="utf-8")
    config = write(tmp_path, CANDIDATES, reward="bad.py:fn")
    assert "no network" in go(config, code=1)
    (tmp_path / "mended").touch()
    said = go(config, "--resume")
    assert "which failed" in said
    assert "taken from the disk" not in said
    stored = (tmp_path / "runs/desk/transcripts.jsonl").read_text(encoding="utf-8")
    assert "no network" not in stored


def test_trackers_are_told_every_update(config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, set[str]]] = []

    class Told:
        def __init__(self, about: trackers.About) -> None:
            assert about.settings["learn"]["steps"] == 8

        def scalars(self, values: Any, step: int) -> None:
            heard.append((step, set(values)))

        def close(self, ok: bool) -> None:
            heard.append((-1, {str(ok)}))

    monkeypatch.setattr(trackers, "SINKS", {"trackio": Told})
    monkeypatch.setattr(dialogue, "check_trackers", lambda config: None)
    go(config, "--set", 'track.to=["trackio"]')
    assert [step for step, _ in heard] == [*range(1, 9), 8, -1]
    assert {"j", "kl_turn", "satisfied", "val_j", "tokens_per_s"} <= heard[1][1]
    assert {"final/j", "final/j_change", "final/satisfied"} <= heard[-2][1]
    same(config.parent / "runs/desk", whole)


def test_a_tracker_that_is_not_installed_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    assert "credence-lm[wandb]" in go(config, "--set", 'track.to=["wandb"]', code=1)


# ---- real kills -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_kills_on_a_tiny_transformer(tmp_path: Path) -> None:
    """SIGKILL to the command at a random moment of each third of the lessons, the second one inside a save."""
    prior = tiny_chat()
    prior.model.save_pretrained(tmp_path / "model")
    prior.codec.tokenizer.save_pretrained(tmp_path / "model")
    tail = '[prior]\nmodel = "model"\nsystem = ""\nhorizon = 6\ndtype = "float64"\n'
    config = write(tmp_path, tail, lr=1e-3, talk="prompt_tokens = 400")
    command = [sys.executable, "-c", SLOW, "dialogue", "train", str(config), "--resume", *STEPS[:4]]
    folder, rng = tmp_path / "runs/desk", Key(5).generator()

    def steps() -> int:
        history = folder / "history.jsonl"
        return len(history.read_bytes().splitlines()) if history.exists() else 0

    def saving() -> bool:
        return steps() > 2 and bool(list((folder / "checkpoints").glob("learn/.*.aside")))

    moments: list[Callable[[], bool]] = [lambda: (folder / "checkpoints/before").exists(), saving, lambda: steps() > 6]
    subprocess.run([*command, "--into", "whole"], check=True, capture_output=True, env=ENVIRONMENT, cwd=tmp_path)
    for number, moment in enumerate(moments):
        going = subprocess.Popen(
            [*command, "--into", "runs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
        )
        while not moment():
            assert going.poll() is None, going.communicate()[1].decode()[-2000:]
            time.sleep(0.001)
        if number != 1:
            time.sleep(float(rng.uniform(0, 0.1)))
        going.send_signal(signal.SIGKILL)
        going.communicate()
        assert going.returncode == -signal.SIGKILL
        assert told(folder)["status"] == "running"
    subprocess.run([*command, "--into", "runs"], check=True, capture_output=True, env=ENVIRONMENT, cwd=tmp_path)
    assert len(told(folder)["resumed"]) == 3
    for name in (*SAME, "policy/model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole/desk" / name).read_bytes(), name
