"""`credence run --resume` on a tiny random model: from whatever state a kill left, to the same bytes, or a clear no."""

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

from credence.core.errors import BackendError, ConfigError, ContractError
from credence.core.keys import Key
from credence.learn import checkpoint
from credence.study import learning, parts, run, session, sources, trackers
from credence.study.folder import RunFolder, alone
from tests.e2e import test_run
from tests.e2e.test_run import SRC, call, lines, status, study

config = test_run.config
"""The fixture."""
STEPS = ("train.reinforce.steps=9", "train.checkpoint_every=3")
SAME = ("history.jsonl", "policy/model.safetensors", "policy/generation_config.json", "policy/config.json")


class Killed(BaseException):
    """What a test raises where a process would be killed; unlike a kill, it lets the run say that it failed."""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.study.run.render", lambda report: "<html>")


@pytest.fixture
def whole(config: Path) -> Path:
    """A run that nothing disturbed."""
    return study(config, *STEPS, name="whole")[1]


def same(folder: Path, whole: Path) -> None:
    assert status(folder) == "done"
    for name in SAME:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (folder / "checkpoints").exists()
    assert not [p for p in [*folder.rglob("*"), *folder.parent.iterdir()] if p.name.startswith(".")]
    report, other = (json.loads((f / "report.json").read_text(encoding="utf-8")) for f in (folder, whole))
    for part in ("gap_closed", "prompts", "replies", "history", "frontier"):
        assert report[part] == other[part], part


def die_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call_number: int = 1) -> None:
    """The process dies at this call, without a word: `keep`, which a kill does not reach, is silent too."""
    plain, count = getattr(owner, name), itertools.count(1)

    def dies(*given: Any, **named: Any) -> Any:
        if next(count) == call_number:
            raise Killed
        return plain(*given, **named)

    monkeypatch.setattr(owner, name, dies)
    monkeypatch.setattr(session.Session, "keep", lambda *_: None)


MOMENTS: tuple[tuple[Any, str, int], ...] = (
    (session.Session, "tell", 1),  # an empty folder
    (run, "draw_each", 1),  # the prior's draws
    (run, "draw_each", 1),  # SMC's: the prior's are on the disk
    (sources, "draw_each", 1),
    (learning.Learning, "keep", 2),
    (learning, "draw_policy", 1),  # between the stages
    (learning.Learning, "keep", 5),  # of the second stage: the first has ended
    (checkpoint, "save_file", 1),
    (checkpoint.Checkpoints, "_prune", 1),
    (run, "score_each", 1),
    (run, "export_policy", 1),
    (run, "render", 1),  # after the export
    (parts.Parts, "clear", 1),  # after the last word
)
"""In the order in which one run comes to them, when it dies at each of them in turn."""


def test_it_goes_on_from_every_part(config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = config.parent / "runs/small"
    for owner, name, number in MOMENTS:
        with monkeypatch.context() as patch:
            die_at(patch, owner, name, number)
            with pytest.raises(Killed):
                study(config, *STEPS, resume=True)
    said = study(config, *STEPS, resume=True)[2]
    assert "small is done" in said.replace("\n", " ")
    same(folder, whole)


def test_a_run_that_goes_on_says_so_and_draws_nothing_twice(
    config: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, learning.Learning, "keep", 9)  # step 7 of the second stage
        with pytest.raises(Killed):
            study(config, *STEPS, resume=True)
    folder = config.parent / "runs/small"
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"stage": "reinforce", "st')  # cut through
    began = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["started"]
    monkeypatch.setattr(run, "draw_each", never)
    monkeypatch.setattr(sources, "draw_each", never)
    _, _, said = study(config, *STEPS, resume=True)
    assert f"going on with the run of {began}, which was killed" in said.replace("\n", " ")
    assert said.count("taken from the disk") == 6
    assert "6 steps taken from the disk" in said
    assert "not surely" not in said
    same(folder, whole)
    assert len(lines(folder / "timing.jsonl")) == 11
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["started"] == began
    assert len(told["resumed"]) == 1


def never(*_: Any) -> Any:
    raise AssertionError("it drew again")


def test_a_damaged_part_is_made_again_and_a_damaged_checkpoint_passed_over(
    config: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, learning.Learning, "keep", 10)
        with pytest.raises(Killed):
            study(config, *STEPS, resume=True)
    folder = config.parent / "runs/small"
    for part in ("smc/00000000", "reinforce/00000006"):
        (file,) = (folder / "checkpoints").glob(f"{part}-*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    said = study(config, *STEPS, resume=True)[2].replace("\n", " ")
    assert "checkpoint 0 in" in said
    assert "It is made again" in said
    assert "checkpoint 6 in" in said
    assert "3 steps taken from the disk" in said
    same(folder, whole)


def test_what_was_interrupted_or_failed_goes_on_too(
    config: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C, then a reward that fails: each leaves its best policy, which the finished run replaces."""
    folder = config.parent / "runs/small"
    plain = learning.Learning.keep
    for raised, left in ((KeyboardInterrupt, "interrupted"), (ContractError("the reward broke"), "failed")):

        def keep(self: learning.Learning, record: Any, clock: Any, raised: Any = raised) -> None:
            plain(self, record, clock)
            if record["stage"] == "reinforce" and record["step"] > 3:
                raise raised

        monkeypatch.setattr(learning.Learning, "keep", keep)
        with pytest.raises((KeyboardInterrupt, ContractError)):
            study(config, *STEPS, resume=True)
        assert status(folder) == left
        assert "before this policy was measured" in (folder / "policy/README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(learning.Learning, "keep", plain)
    assert "which failed" in study(config, *STEPS, resume=True)[2]
    same(folder, whole)
    assert "share of the gap closed" in (folder / "policy/README.md").read_text(encoding="utf-8")


@pytest.fixture
def begun(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        die_at(patch, run, "draw_each", 2)
        with pytest.raises(Killed):
            study(config, *STEPS)
    return config.parent / "runs/small"


def test_changed_settings_are_named_and_refused(config: Path, begun: Path) -> None:
    before = {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    same_steps = [part for setting in STEPS for part in ("--set", setting)]
    changes = ("train.reinforce.lr=0.2", "evidence.reward.beta=0.3", "train.dpg.seconds=9.0", "seed=4")
    wrong = call(config, "--resume", *same_steps, *(p for c in changes for p in ("--set", c)), code=2).stderr
    for says in (
        "lr was 0.01 and is 0.2",
        "beta was 0.2 and is 0.3",
        "seconds was null and is 9.0",
        "seed was 0 and is 4",
    ):
        assert says in wrong.replace("\n", " ")
    text = config.read_text(encoding="utf-8")
    more = (
        text.replace("[evidence.reward]", "[[evidence.reward]]")
        + "[[evidence.constraint]]\nmax_chars = 5\notherwise = -1.0\n"
    )
    config.write_text(more, encoding="utf-8")
    assert "max_chars was null and is 5" in call(config, "--resume", *same_steps, code=2).stderr
    config.write_text(text, encoding="utf-8")
    assert "choose one" in call(config, "--resume", "--overwrite", code=2).stderr
    assert "--resume to go on" in call(config, code=2).stderr
    assert {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()} == before


def test_settings_that_change_no_number_may_change(config: Path, begun: Path, whole: Path) -> None:
    free = ("evidence.reward.timeout=9.0", "train.checkpoint_every=2", "train.keep=1")
    study(config, STEPS[0], *free, resume=True)
    same(begun, whole)


def test_other_prompts_or_weights_behind_the_same_settings(config: Path, begun: Path, tiny: str) -> None:
    from safetensors.torch import load_file, save_file

    asked = config.parent / "asked.jsonl"
    text = asked.read_text(encoding="utf-8")
    asked.write_text(text.replace("Say 3", "Say three"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prompts\.source holds other prompts"):
        study(config, *STEPS, resume=True)
    asked.write_text(text, encoding="utf-8")
    moved = config.parent / "elsewhere" / Path(tiny).name
    moved.mkdir(parents=True)
    for file in Path(tiny).iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=r"prior\.model was .* in another place"):
        study(config, *STEPS, f"prior.model={moved}", resume=True)
    weights = Path(tiny) / "model.safetensors"
    kept = weights.read_bytes()
    try:
        save_file({n: t + 0.3 * (t.dim() > 1) for n, t in load_file(weights).items()}, weights, {"format": "pt"})
        with pytest.raises(ConfigError, match=r"other weights than when the run was begun"):
            study(config, *STEPS, resume=True)
    finally:
        weights.write_bytes(kept)


def test_a_changed_reward_file_and_other_versions_are_said(config: Path, begun: Path) -> None:
    mine = config.parent / "mine.py"
    mine.write_text(mine.read_text(encoding="utf-8") + "\n# mended\n", encoding="utf-8")
    place = begun / "manifest.json"
    told = json.loads(place.read_text(encoding="utf-8"))
    told["versions"]["torch"] = "1.0"
    told["origin"]["prior"][0] += 1e-6
    place.write_text(json.dumps(told), encoding="utf-8")
    said = study(config, *STEPS, resume=True)[2].replace("\n", " ")
    assert "evidence.reward.0.fn: the file of this reward was changed" in said
    assert "torch was 1.0 and is" in said
    assert "rounds otherwise here" in said
    assert status(begun) == "done"


def test_where_nothing_is_it_begins_and_what_is_no_run_is_safe(config: Path) -> None:
    mine = config.parent / "runs/small"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    assert "not a run's folder" in call(config, "--resume", code=2).stderr
    (mine / "thesis.txt").unlink()
    call(config, "--resume", "--set", "train.reinforce.steps=0")
    assert "there is nothing to resume" in call(config, "--resume", "--set", "train.reinforce.steps=0").stderr
    assert "lr was 0.01" in call(config, "--resume", "--set", "train.dpg.lr=0.5", code=2).stderr
    (mine / "manifest.json").write_text("{", encoding="utf-8")
    assert "is not JSON" in call(config, "--resume", code=2).stderr


def test_two_processes_never_write_one_run(config: Path, begun: Path) -> None:
    with alone(begun):
        for how in ("resume", "overwrite"):
            with pytest.raises(ConfigError, match="another process"):
                study(config, *STEPS, **{how: True})
    study(config, *STEPS, resume=True)


def test_a_full_disk_leaves_the_last_checkpoint(
    config: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, count = checkpoint.save_file, itertools.count(1)

    def full(tensors: Any, place: Path) -> None:
        if next(count) == 7:
            place.write_bytes(b"a part")
            raise OSError(28, "No space left on device")
        plain(tensors, place)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(BackendError, match=r"checkpoint 6 cannot be written.*No space left"):
            study(config, *STEPS)
    assert status(config.parent / "runs/small") == "failed"
    assert "3 steps taken from the disk" in study(config, *STEPS, resume=True)[2]
    same(config.parent / "runs/small", whole)


def test_a_folder_is_reopened_without_litter(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run", False)
    place.json("manifest.json", {})
    (tmp_path / "run/.manifest.json.77.aside").write_text("{")
    (tmp_path / "run/.policy.aside").mkdir()
    (tmp_path / "latest").unlink()
    RunFolder.reopen(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["manifest.json"]
    assert (tmp_path / "latest").resolve() == tmp_path / "run"


def test_lines_are_filtered_and_whole(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run", False)
    place.filter("x.jsonl", bool)
    assert not (tmp_path / "run/x.jsonl").exists()
    (tmp_path / "run/x.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a"')
    place.filter("x.jsonl", bool)
    assert (tmp_path / "run/x.jsonl").read_text() == '{"a": 1}\n{"a": 2}\n'
    place.filter("x.jsonl", lambda line: line["a"] < 2)
    assert (tmp_path / "run/x.jsonl").read_text() == '{"a": 1}\n'


def test_trackers_are_told_all_steps_and_cannot_end_a_run(
    config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, set[str]]] = []

    class Told:
        def __init__(self, about: trackers.About) -> None:
            self.opened = about.step

        def scalars(self, values: Any, step: int) -> None:
            told.append((step, set(values)))

        def close(self, ok: bool) -> None:
            told.append((-1, {str(ok)}))

    class Broken(Told):
        def scalars(self, values: Any, step: int) -> None:
            raise TimeoutError("nobody answers")

    monkeypatch.setattr(trackers, "SINKS", {"trackio": Told, "wandb": Broken})
    monkeypatch.setattr(run, "check_trackers", lambda config: None)
    said = study(config, *STEPS, 'track.to=["wandb", "trackio"]')[2]
    assert said.count("wandb is told nothing more, the run goes on: TimeoutError") == 1
    assert [step for step, _ in told] == [*range(1, 12), 11, -1]
    assert {"elbo", "kl_prior", "reward", "val_elbo", "tokens_per_s"} <= told[1][1]
    assert {"final/gap_closed", "final/kl_reverse"} <= told[-2][1]
    assert told[-1][1] == {"True"}
    same(config.parent / "runs/small", whole)


# ---- real kills -----------------------------------------------------------------------------------------------------

SLOW = """
import os, time
plain = os.fsync
def fsync(descriptor):
    time.sleep(0.02)
    plain(descriptor)
    time.sleep(0.02)
os.fsync = fsync
from credence.cli.main import app
app()
"""
"""`credence` whose flushes take their time, so that many moments lie inside a save."""


@pytest.mark.slow
def test_three_kills_on_a_tiny_transformer(config: Path, whole: Path) -> None:
    """SIGKILL to the command at a random moment of each third of the training, the second one inside a save."""
    folder, rng = config.parent / "runs/small", Key(5).generator()
    command = [sys.executable, "-c", SLOW, "run", str(config), "--into", str(folder.parent), "--resume"]
    command += [part for setting in STEPS for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}

    def steps() -> int:
        history = folder / "history.jsonl"
        return len(history.read_bytes().splitlines()) if history.exists() else 0

    def saving() -> bool:
        return steps() > 5 and bool(list((folder / "checkpoints").glob("reinforce/.*.aside")))

    moments: list[Callable[[], bool]] = [lambda: (folder / "checkpoints/smc").exists(), saving, lambda: steps() > 9]
    for number, moment in enumerate(moments):
        going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        while not moment():
            assert going.poll() is None, going.communicate()[1].decode()[-2000:]
            time.sleep(0.001)
        if number != 1:
            time.sleep(float(rng.uniform(0, 0.3)))
        going.send_signal(signal.SIGKILL)
        going.communicate()
        assert going.returncode == -signal.SIGKILL
        assert status(folder) == "running"
        if number == 1:
            assert list((folder / "checkpoints").glob("reinforce/.*.aside"))
    subprocess.run(command, check=True, capture_output=True, env=environment)
    for name in SAME[:2]:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
