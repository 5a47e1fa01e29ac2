"""Files that are whole or absent, and the checkpoints made of them."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from credence.core.errors import BackendError, ConfigError
from credence.learn import checkpoint
from credence.learn.checkpoint import Checkpoints, save_json, write_whole
from tests.survival import check_a_power_cut_leaves_a_whole_checkpoint


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


# ---- checkpoints ----------------------------------------------------------------------------------------------------


def store(folder: Path, steps: range = range(1, 4), best: int = 0, keep: int = 2) -> Checkpoints:
    made = Checkpoints(folder / "kept", keep)
    for step in steps:
        made.save(step, {"x": torch.full((3,), float(step))}, {"says": f"步 {step}", "bound": math.inf}, step == best)
    return made


def steps(made: Checkpoints) -> list[int]:
    return sorted(int(p.stem) for p in made.folder.glob("*.json"))


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    made = store(tmp_path)
    mixed = {"half": torch.ones(2, 2, dtype=torch.bfloat16).T, "count": torch.tensor(7.0), "none": torch.zeros(0, 3)}
    made.save(4, mixed, {})
    found = made.latest()
    assert found is not None
    assert found.step == 4
    assert {n: (t.dtype, t.tolist()) for n, t in found.tensors.items()} == {
        n: (t.dtype, t.tolist()) for n, t in mixed.items()
    }
    made.save(5, {}, {"says": "步", "bound": math.inf})
    found = made.latest()
    assert found is not None
    assert (dict(found.tensors), found.state) == ({}, {"says": "步", "bound": math.inf})


def test_the_last_ones_and_the_best_are_kept_and_nothing_else(tmp_path: Path) -> None:
    made = store(tmp_path, range(1, 8), best=2)
    assert steps(made) == [2, 6, 7]
    assert len(list(made.folder.iterdir())) == 6
    best, last = made.best(), made.latest()
    assert best is not None
    assert last is not None
    assert (best.step, last.step) == (2, 7)
    made.save(8, {}, {}, best=True)
    assert steps(made) == [7, 8]
    made.save(7, {}, {})  # going on from 6: what came after is of a past that was given up
    assert steps(made) == [7]
    made.clear()
    assert not made.folder.exists()
    assert made.latest() is None
    assert made.best() is None


@pytest.mark.parametrize("part", ["manifest", "tensors", "missing", "empty", "torn", "format"])
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(tmp_path: Path, part: str) -> None:
    made = store(tmp_path)
    manifest = made.folder / "00000003.json"
    (tensors,) = made.folder.glob("00000003-*.safetensors")
    match part:
        case "manifest":
            manifest.write_text(manifest.read_text(encoding="utf-8").replace("步 3", "步 8"), encoding="utf-8")
        case "tensors":
            raw = bytearray(tensors.read_bytes())
            raw[-1] ^= 1  # one bit
            tensors.write_bytes(raw)
        case "missing":
            tensors.unlink()
        case "empty":
            manifest.write_bytes(b"")
        case "torn":
            manifest.write_bytes(manifest.read_bytes()[:40])
        case _:
            manifest.write_text("[1]")
    found = made.latest()
    assert found is not None
    assert (found.step, found.state["says"]) == (2, "步 2")
    (warning,) = made.warnings
    assert "checkpoint 3 in" in warning
    assert "damaged" in warning
    made.save(3, {}, {})
    assert made.latest() is not None
    assert made.warnings == []


def test_all_damaged_is_none_with_a_sentence_each(tmp_path: Path) -> None:
    made = store(tmp_path)
    for path in made.folder.glob("*.safetensors"):
        path.write_bytes(b"")
    assert made.latest() is None
    assert len(made.warnings) == 2


def test_keep_must_leave_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep = 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_power_cut_at_any_flush_leaves_a_whole_one() -> None:
    check_a_power_cut_leaves_a_whole_checkpoint(1)


@pytest.mark.parametrize("where", ["tensors", "manifest"])
def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """safetensors' own error, and the system's."""
    made = store(tmp_path)
    monkeypatch.setattr(
        checkpoint, *(("save_file", _full_of_its_own) if where == "tensors" else ("write_whole", _full))
    )
    with pytest.raises(BackendError, match=r"checkpoint 4 cannot be written.*No space left.*The one before it stays"):
        made.save(4, {"x": torch.zeros(2)}, {})
    monkeypatch.undo()
    found = made.latest()
    assert found is not None
    assert found.step == 3
    assert made.warnings == []
    made.save(4, {"x": torch.zeros(2)}, {})
    assert sorted(p.suffix for p in made.folder.iterdir()) == [".json", ".json", ".safetensors", ".safetensors"]


def _full(path: Path, data: bytes) -> None:
    raise OSError(28, "No space left on device")


def _full_of_its_own(tensors: object, path: Path) -> None:
    path.write_bytes(b"a part")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="only Unix limits the size of a process's files")
def test_a_real_refusal_by_the_system(tmp_path: Path) -> None:
    """A process that may write files of 4 kB only: the small checkpoint is kept, the large one refused, in one line."""
    code = f"""
import resource, signal, torch
from pathlib import Path
from credence.core.errors import BackendError
from credence.learn.checkpoint import Checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
made = Checkpoints(Path({str(tmp_path)!r}))
made.save(1, {{"x": torch.ones(3)}}, {{}})
try:
    made.save(2, {{"x": torch.ones(100000)}}, {{}})
except BackendError as error:
    print(error)
print(made.latest().step, made.warnings, len(list(made.folder.iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    told, left = done.stdout.splitlines()
    assert "checkpoint 2 cannot be written" in told
    assert "File too large" in told
    assert left == "1 [] 2"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
