"""`credence dialogue update --resume` on a tiny model: the same bytes, no rating twice, or a clear no."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from credence.core.keys import Key
from credence.dialogue.feedback import FeedbackStore, Rating
from credence.learn import checkpoint
from credence.study import parts, refit, refit_work, session
from credence.study.folder import alone
from tests.e2e import test_dialogue_update
from tests.e2e.test_dialogue_update import call, update
from tests.e2e.test_run_resume import SLOW
from tests.survival import ENVIRONMENT, Killed

home = test_dialogue_update.home
"""The fixture: a config and a tiny model in the working directory."""
SAME = ("history.jsonl", "policy/model.safetensors", "feedback.safetensors")
FOLDER = Path("runs/mine-feedback-1")
COMMAND = ("dialogue", "update", "--config", "c.toml", "--fast")


def rate(conversation: str, message: str, reply: str, kind: str, text: str = "") -> None:
    """A rating as the chat keeps it, without a talk."""
    FeedbackStore(Path("state/feedback.db")).add(
        Rating(conversation, 0, ({"role": "user", "content": message},), reply, (), kind, text)
    )


@pytest.fixture
def rated(home: Path) -> Path:
    with Path("c.toml").open("a", encoding="utf-8") as file:
        file.write("checkpoint_every = 2\n")  # of [train], which comes last
    rate("a", "hi", "hello there", "good")
    rate("b", "how are you?", "go away", "bad")
    rate("c", "tell me", "no", "better", "of course")
    return home


@pytest.fixture
def whole(rated: Path) -> Path:
    """An update that nothing disturbed; its ratings are then as good as not learnt."""
    update("--out", "runs/whole")
    forget()
    return Path("runs/whole")


def forget() -> None:
    """No update was ever written down."""
    store = FeedbackStore(Path("state/feedback.db"))
    store._db.execute("DELETE FROM refit")
    store.close()


def refits() -> list[str]:
    return [Path(done.folder).name for done in FeedbackStore(Path("state/feedback.db")).refits()]


def told(folder: Path = FOLDER) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def same(whole: Path, folder: Path = FOLDER) -> None:
    assert told(folder)["status"] == "done"
    for name in SAME:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert (folder / "feedback.json").read_bytes() == (whole / "feedback.json").read_bytes()
    assert not (folder / "checkpoints").exists()
    assert "before this policy was measured" not in (folder / "policy/README.md").read_text(encoding="utf-8")


def die_at(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int = 1, *more: str) -> None:
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
            call(*COMMAND, "--resume", *more)


def resumed(*more: str, code: int = 0) -> str:
    """What the command says, on one line."""
    from typer.testing import CliRunner

    from credence.cli.main import app

    done = CliRunner().invoke(app, [*COMMAND, "--resume", *more], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return " ".join(done.output.split())


MOMENTS: tuple[tuple[Any, str, int], ...] = (
    (session.Session, "tell", 1),  # an empty folder
    (refit_work, "learn", 1),
    (refit_work, "draw_each", 1),
    (refit_work.Work, "__call__", 2),
    (checkpoint, "save_file", 1),
    (refit_work.Work, "__call__", 5),
    (checkpoint.Checkpoints, "_prune", 1),
    (refit_work, "draw_policy", 1),
    (refit_work, "changes_of", 1),
    (refit_work, "export_policy", 1),
    (parts.Parts, "clear", 1),  # after the last word
)
"""In the order in which one update comes to them, when it dies at each of them in turn."""


@pytest.mark.slow
def test_it_goes_on_from_every_part(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, number in MOMENTS:
        die_at(monkeypatch, owner, name, number)
        assert refits() == []
    said = resumed()
    assert "nothing new: these 3 ratings are already in runs/mine-feedback-1" in said
    assert refits() == ["mine-feedback-1"]  # once, though the command died before it could write that down
    same(whole)
    assert not Path("runs/mine-feedback-2").exists()


def test_one_that_goes_on_says_so_and_learns_nothing_twice(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_at(monkeypatch, refit_work.Work, "_measure")
    with (FOLDER / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"stage": "reinforce", "st')  # cut through
    with monkeypatch.context() as patch:
        patch.setattr(refit_work, "learn", lambda *_: pytest.fail("the ratings were counted again"))
        said = resumed()
    assert f"going on with the run of {told()['started']}, which was killed" in said
    assert said.count("taken from the disk") == 4
    assert "not surely" not in said
    same(whole)
    assert refits() == ["mine-feedback-1"]
    assert told()["resumed"]


def test_ratings_that_came_or_went_are_counted_and_refused(rated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_at(monkeypatch, refit_work, "draw_each")
    before = {p: p.read_bytes() for p in FOLDER.rglob("*") if p.is_file()}
    rate("d", "more", "less", "good")
    rate("e", "and", "so on", "bad")
    says = "was begun with 3 ratings, and since then 2 were added. "
    assert says in " ".join(call(*COMMAND, "--resume", code=2).split())
    rate("a", "hi", "hello there", "retract")
    wrong = " ".join(call(*COMMAND, "--resume", code=2).split())
    assert "since then 2 were added and 1 was taken back or replaced." in wrong
    assert "without --resume learns all ratings that stand, from the prior, in another folder" in wrong
    assert {p: p.read_bytes() for p in FOLDER.rglob("*") if p.is_file()} == before
    for conversation in ("d", "e"):  # taken back: they count for nothing, and neither do the rows that say so
        rate(conversation, "", "", "retract")
    rate("a", "hi", "hello there", "good")
    wrong = " ".join(call(*COMMAND, "--resume", code=2).split())
    assert "since then they stand in another order" in wrong
    assert refits() == []


def test_rows_that_change_no_evidence_change_nothing(rated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_at(monkeypatch, refit_work, "draw_each")
    rate("d", "more", "less", "good")
    rate("d", "more", "less", "retract")
    die_at(monkeypatch, refit_work, "draw_each")  # it came past the door, and the ratings were learnt before
    assert not Path("runs/mine-feedback-2").exists()


def test_other_options_settings_or_weights_are_refused(rated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_at(monkeypatch, refit_work, "draw_each")
    assert "beta was 0.5 and is 0.2" in " ".join(call(*COMMAND, "--resume", "--beta", "0.2", code=2).split())
    wrong = " ".join(call(*(word for word in COMMAND if word != "--fast"), "--resume", code=2).split())
    assert "draws was 16 and is 48" in wrong
    assert "--fast is a budget" in wrong
    text = Path("c.toml").read_text()
    Path("c.toml").write_text(text.replace("beta = 1.0", "beta = 2.0"))
    wrong = " ".join(call(*COMMAND, "--resume", code=2).split())
    assert "evidence.reward.0.beta was 1.0 and is 2.0" in wrong
    assert "without --resume" in wrong
    Path("c.toml").write_text(text)
    assert "choose one" in call(*COMMAND, "--resume", "--overwrite", "--out", str(FOLDER), code=2)
    with alone(FOLDER):
        assert "another process" in call(*COMMAND, "--resume", code=2)
    (FOLDER / "manifest.json").write_text((FOLDER / "manifest.json").read_text().replace("horizon", "horizont"))
    assert "horizont" in call(*COMMAND, "--resume", code=2)


def test_a_damaged_part_is_made_again_and_a_full_disk_leaves_the_last(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, count = checkpoint.save_file, itertools.count(1)

    def full(tensors: Any, place: Path) -> None:
        if next(count) == 4:  # the end of the first stage
            place.write_bytes(b"a part")
            raise OSError(28, "No space left on device")
        plain(tensors, place)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        assert "No space left" in call(*COMMAND, code=1)
    assert told()["status"] == "failed"
    for part in ("taught", "memory"):
        (file,) = (FOLDER / "checkpoints").glob(f"{part}/*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    said = resumed()
    assert said.count("It is made again") == 2
    assert "which failed" in said
    same(whole)


def test_where_nothing_is_it_begins_and_what_is_done_stays(rated: Path) -> None:
    assert "3 ratings, 3 prompts" in resumed()
    assert "nothing new" in resumed()
    rate("d", "more", "less", "good")
    assert "4 ratings, 4 prompts" in resumed()  # the latest is done: this is another update
    assert refits() == ["mine-feedback-1", "mine-feedback-2"]
    rate("e", "and", "so on", "bad")
    assert "was begun with 3 ratings, and since then 2 were added" in resumed("--out", str(FOLDER), code=2)


# ---- real kills -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_kills(whole: Path) -> None:
    """SIGKILL to the command: while it draws, while it trains, inside a save."""
    rng, command = Key(5).generator(), [sys.executable, "-c", SLOW, *COMMAND, "--resume"]

    def steps() -> int:
        history = FOLDER / "history.jsonl"
        return len(history.read_bytes().splitlines()) if history.exists() else 0

    def saving() -> bool:
        return bool(list((FOLDER / "checkpoints").glob("reinforce/.*.aside")))

    moments: list[Callable[[], bool]] = [(FOLDER / "checkpoints/taught").exists, lambda: steps() > 3, saving]
    for number, moment in enumerate(moments):
        going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **{
            name: ENVIRONMENT[name] for name in ("OMP_NUM_THREADS", "PYTHONPATH")
        }})  # fmt: skip
        while not moment():
            assert going.poll() is None, going.communicate()[1].decode()[-2000:]
            time.sleep(0.001)
        if number < 2:
            time.sleep(float(rng.uniform(0, 0.1)))
        going.send_signal(signal.SIGKILL)
        going.communicate()
        assert told()["status"] == "running"
        assert refits() == []
    environment = {**os.environ, **{n: ENVIRONMENT[n] for n in ("OMP_NUM_THREADS", "PYTHONPATH")}}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    same(whole)
    assert refits() == ["mine-feedback-1"]


def test_the_unfinished_one_is_the_latest(home: Path) -> None:
    config = type("C", (), {"name": "mine-feedback-1"})()
    for k, status in ((1, "done"), (2, "interrupted")):
        place = Path(f"runs/mine-feedback-{k}")
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(json.dumps({"kind": "update", "status": status}))
    assert refit._place(config, True).name == "mine-feedback-2"
    assert refit._place(config, False).name == "mine-feedback-3"
    mine = Path("runs/mine-feedback-3")
    mine.mkdir()
    (mine / ".manifest.json.7.aside").write_text("{")
    assert refit._place(config, True) == mine  # killed inside its first word
    (mine / "thesis.txt").write_text("years")
    assert refit._place(config, True).name == "mine-feedback-4"
