import json
from pathlib import Path

import pytest

from credence.core.errors import BackendError, ConfigError
from credence.study.folder import RunFolder, check_place


def finished(path: Path) -> Path:
    RunFolder(path, False).json("manifest.json", {"status": "done"})
    return path


def test_a_new_folder_is_the_latest(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "runs/one"), finished(tmp_path / "runs/two")
    assert (tmp_path / "runs/latest").resolve() == second
    assert sorted(p.name for p in first.parent.iterdir()) == ["latest", "one", "two"]
    assert not Path((tmp_path / "runs/latest").readlink()).is_absolute()  # runs/ can be moved as a whole


def test_an_earlier_run_is_replaced_only_on_demand(tmp_path: Path) -> None:
    path = finished(tmp_path / "one")
    with pytest.raises(ConfigError, match="--overwrite"):
        RunFolder(path, False)
    assert (path / "manifest.json").exists()
    RunFolder(path, True)
    assert list(path.iterdir()) == []


def test_nothing_but_a_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("mine")
    for name, says in {"mine": "manifest.json", "file": "no folder", "link": "no folder", "latest": "latest"}.items():
        with pytest.raises(ConfigError, match=says):
            RunFolder(tmp_path / name, True)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"
    assert (tmp_path / "file").read_text() == "x"


def test_latest_in_the_way_is_said_before_an_earlier_run_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.mkdir()
    (path / "manifest.json").write_text("{}")
    (tmp_path / "latest").mkdir()
    with pytest.raises(ConfigError, match="Move it away"):
        RunFolder(path, True)
    assert (path / "manifest.json").exists()  # rejects: emptied first, refused afterwards


def test_check_place_touches_nothing(tmp_path: Path) -> None:
    check_place(tmp_path / "deep/er/run", False)
    assert list(tmp_path.iterdir()) == []


def test_lines_and_whole_files(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run", False)
    for i in range(2):
        place.append("history.jsonl", {"step": i, "text": "好"})
    text = (tmp_path / "run/history.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["step"] for line in text.splitlines()] == [0, 1]
    assert "好" in text
    place.lines("history.jsonl", [{"step": 5}])
    assert (tmp_path / "run/history.jsonl").read_text(encoding="utf-8") == '{"step": 5}\n'


def test_what_the_system_refuses_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="cannot be written: Not a directory"):
        RunFolder(tmp_path / "file/runs/one", False)
    place = RunFolder(tmp_path / "run", False)
    if Path("/dev/full").exists():
        (tmp_path / "run/history.jsonl").symlink_to("/dev/full")
        with pytest.raises(BackendError, match=r"No space left on device.*what was written before stays"):
            place.append("history.jsonl", {"step": 1})
