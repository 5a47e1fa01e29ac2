"""Files that are whole or absent."""

import json
import os
from pathlib import Path

import pytest

from credence.learn.checkpoint import save_json, write_whole


def test_json_is_readable_and_ends_its_last_line(tmp_path: Path) -> None:
    save_json(tmp_path / "x.json", {"名": "明天", "nats": -1.5})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "明天" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"名": "明天", "nats": -1.5}


def test_a_nan_is_never_written_and_the_old_file_stays(tmp_path: Path) -> None:
    save_json(tmp_path / "x.json", [1])
    with pytest.raises(ValueError, match="JSON"):
        save_json(tmp_path / "x.json", [float("nan")])
    assert json.loads((tmp_path / "x.json").read_text()) == [1]


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_crash_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    write_whole(tmp_path / "x", b"old")

    def crash(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(*((os, "fsync") if fault == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="full"):
        write_whole(tmp_path / "x", b"new and longer")
    monkeypatch.undo()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    write_whole(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
