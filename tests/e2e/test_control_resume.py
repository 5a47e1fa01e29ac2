"""`credence control --resume` on a small lake: from whatever state a kill left, to the same bytes, or a clear no."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credence.core.errors import BackendError, ConfigError
from credence.learn import checkpoint
from credence.study import control, parts, session, trackers
from credence.study.folder import alone
from tests.control_survival import loaded
from tests.survival import Killed

pytest.importorskip("gymnasium", reason="the extra `control` is not installed")

LOOKS = 6
ENGINES = ["q", "q_plain", "sarsa", "sarsa_plain", "actor", "actor_plain"]


@pytest.fixture(autouse=True, scope="module")
def _no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "render", lambda report: "<html>")
        patch.setattr(control, "save_png", lambda report, place: None)
        yield


def go(folder: Path, *settings: str, **how: bool) -> str:
    """What a run says, on one line."""
    console = Console(record=True, width=200)
    control.run_control(loaded(*settings), folder, console=console, **how)
    return " ".join(console.export_text().split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _no_pictures: None) -> Path:
    """A run that nothing disturbed."""
    place = tmp_path_factory.mktemp("undisturbed") / "whole"
    go(place)
    return place


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def same(folder: Path, whole: Path) -> None:
    assert told(folder)["status"] == "done"
    assert (folder / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()
    found, other = ({k: v for k, v in report(f).items() if k != "manifest"} for f in (folder, whole))
    assert json.dumps(found) == json.dumps(other)
    assert not (folder / "checkpoints").exists()
    assert not [p for p in [*folder.rglob("*"), *folder.parent.iterdir()] if p.name.startswith(".")]


def die_at(patch: pytest.MonkeyPatch, folder: Path, owner: Any, name: str, number: int = 1, *settings: str) -> None:
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
            go(folder, *settings, resume=True)


MOMENTS: tuple[tuple[Any, str, int], ...] = (
    (session.Session, "tell", 1),  # an empty folder
    (control._Seen, "look", 1),
    (control._Seen, "look", 4),  # of Q-learning: three looks are on the disk
    (checkpoint, "save_file", 3),
    (checkpoint.Checkpoints, "_prune", 2),
    (control, "learn_values", 2),  # between two engines
    (control, "learn_policy", 1),
    (control._Seen, "look", 3),
    (control._Seen, "look", 4),  # counted from where it goes on
    (control, "report", 1),
    (control, "render", 1),
    (parts.Parts, "clear", 1),  # after the last word
)
"""In the order in which one run comes to them, when it dies at each of them in turn."""


def test_it_goes_on_from_every_part(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    for owner, name, number in MOMENTS:
        die_at(monkeypatch, folder, owner, name, number)
    assert "lake is done: there is nothing to resume" in go(folder, resume=True)
    same(folder, whole)
    stored = control.run_control(loaded(), folder, resume=True, console=Console(quiet=True))
    assert stored.to_json() == report(folder)


def test_a_run_that_goes_on_says_so_and_acts_nothing_twice(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    die_at(monkeypatch, folder, control._Seen, "look", 2 * LOOKS + 4)  # of soft SARSA
    began = told(folder)["started"]
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"stage": "sarsa", "st')  # cut through
    learnt: list[str] = []
    plain = control._Run.learn

    def learn(self: Any, seen: Any) -> Any:
        learnt.append(seen.engine)
        return plain(self, seen)

    monkeypatch.setattr(control._Run, "learn", learn)
    said = go(folder, resume=True)
    assert learnt == ["sarsa", "sarsa", "actor", "actor"]
    assert f"going on with the run of {began}, which was killed" in said
    assert said.count("taken from the disk") == 3  # two engines, and three looks
    assert "3 looks taken from the disk" in said
    assert "not surely" not in said
    same(folder, whole)
    assert told(folder)["started"] == began
    assert len(told(folder)["resumed"]) == 1


def test_a_damaged_part_is_made_again_and_a_damaged_checkpoint_passed_over(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    die_at(monkeypatch, folder, control._Seen, "look", LOOKS + 5)
    for part in ("q-done/00000000", "q_plain/00000004"):
        (file,) = (folder / "checkpoints").glob(f"{part}-*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    said = go(folder, resume=True)
    assert "q-done is damaged" in said
    assert "It is made again" in said
    assert "6 looks taken from the disk" in said  # of the engine's own checkpoints: nothing is learnt twice
    assert "checkpoint 4 in" in said
    assert "3 looks taken from the disk" in said
    same(folder, whole)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, plain, count = tmp_path / "lake", checkpoint.save_file, itertools.count(1)

    def full(tensors: Any, place: Path) -> None:
        if next(count) == 5:
            place.write_bytes(b"a part")
            raise OSError(28, "No space left on device")
        plain(tensors, place)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(BackendError, match=r"checkpoint 5 cannot be written.*No space left"):
            go(folder)
    assert told(folder)["status"] == "failed"
    said = go(folder, resume=True)
    assert "which failed" in said
    assert "4 looks taken from the disk" in said
    same(folder, whole)


def test_what_was_interrupted_goes_on(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, plain = tmp_path / "lake", control._Seen.look

    def look(self: control._Seen, log_pi: Any) -> None:
        plain(self, log_pi)
        if self.engine == "actor":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(control._Seen, "look", look)
        with pytest.raises(KeyboardInterrupt):
            go(folder)
    assert told(folder)["status"] == "interrupted"
    assert "which was interrupted" in go(folder, resume=True)
    same(folder, whole)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    die_at(monkeypatch, tmp_path / "lake", control._Seen, "look", 4)
    return tmp_path / "lake"


def test_changed_settings_are_named_and_refused(begun: Path) -> None:
    before = {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError) as wrong:
        go(begun, "beta=0.01", "learn.sarsa.rate=0.5", "environment.discount=0.9", resume=True)
    for says in ("beta was 0.004 and is 0.01", "rate was 1.0 and is 0.5", "discount was 1.0 and is 0.9", "--overwrite"):
        assert says in str(wrong.value)
    with pytest.raises(ConfigError, match="choose one"):
        go(begun, resume=True, overwrite=True)
    with pytest.raises(ConfigError, match="--resume to go on"):
        go(begun)
    with alone(begun), pytest.raises(ConfigError, match="another process"):
        go(begun, resume=True)
    assert {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()} == before


def test_settings_that_change_no_number_may_change(begun: Path, whole: Path) -> None:
    go(begun, "learn.checkpoint_every=3", "learn.keep=1", "track.project=mine", resume=True)
    same(begun, whole)


def test_another_world_or_prior_behind_the_same_settings(
    tmp_path: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = control.world
    with monkeypatch.context() as patch:

        def other(config: Any) -> Any:
            found = plain(config)
            found.mdp.reward[14, 2] += 0.5
            return found

        patch.setattr(control, "world", other)
        with pytest.raises(ConfigError, match="environment holds other outcomes than when the run was begun"):
            go(begun, resume=True)
    law = tmp_path / "law.json"
    law.write_text(json.dumps([0.4, 0.3, 0.2, 0.1]), encoding="utf-8")
    table = ("name=table", f"prior.law={law}")
    die_at(monkeypatch, tmp_path / "table", control._Seen, "look", 2, *table)
    law.write_text(json.dumps([0.1, 0.2, 0.3, 0.4]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prior\.law holds other probabilities"):
        go(tmp_path / "table", *table, resume=True)


def test_a_model_is_asked_once(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    words = (f"prior.model={tiny}", "prior.style=raw", "prior.told=row {row}")
    die_at(monkeypatch, tmp_path / "words", control._Seen, "look", 2, *words)
    with monkeypatch.context() as patch:
        patch.setattr(control.Words, "ask", lambda *_: pytest.fail("it was asked again"))
        assert "taken from the disk" in go(tmp_path / "words", *words, resume=True)
    assert any("told as: row 1" in fact for fact in report(tmp_path / "words")["facts"])
    die_at(monkeypatch, tmp_path / "again", control._Seen, "look", 2, *words)
    weights = Path(tiny) / "model.safetensors"
    kept = weights.read_bytes()
    try:
        save_file({n: t + 0.3 * (t.dim() > 1) for n, t in load_file(weights).items()}, weights, {"format": "pt"})
        with pytest.raises(ConfigError, match="other weights than when the run was begun"):
            go(tmp_path / "again", *words, resume=True)
    finally:
        weights.write_bytes(kept)


def sinks(told: list[tuple[int, set[str]]]) -> dict[str, Callable[..., Any]]:
    class Told:
        def __init__(self, about: trackers.About) -> None:
            told.append((about.step, {"open"}))

        def scalars(self, values: Any, step: int) -> None:
            told.append((step, set(values)))

        def close(self, ok: bool) -> None:
            told.append((-1, {str(ok)}))

    class Broken(Told):
        def scalars(self, values: Any, step: int) -> None:
            raise TimeoutError("nobody answers")

    return {"trackio": Told, "wandb": Broken}


def test_trackers_are_told_every_look_and_cannot_end_a_run(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, set[str]]] = []
    monkeypatch.setattr(trackers, "SINKS", sinks(heard))
    monkeypatch.setattr(control, "check_trackers", lambda config: None)
    folder, both = tmp_path / "lake", 'track.to=["wandb", "trackio"]'
    die_at(monkeypatch, folder, control._Seen, "look", LOOKS + 3, both)
    assert max(step for step, _ in heard) == 156  # Q-learning's 150 steps, and 6 of the second engine's
    heard.clear()
    said = go(folder, both, resume=True)
    assert said.count("wandb is told nothing more, the run goes on: TimeoutError") == 1
    same(folder, whole)
    steps = [step for step, names in heard if names != {"open"}]
    assert steps[0] == 150 + 24
    assert steps[:-1] == sorted(steps[:-1])
    assert heard[-1] == (-1, {"True"})
    assert {f"final/{name}/{n}" for name in ENGINES for n in ("j", "gap")} <= heard[-2][1]
    assert heard[-3][1] == {f"actor_plain/{name}" for name in ("j", "reward", "kl", "length", "j_se")}
