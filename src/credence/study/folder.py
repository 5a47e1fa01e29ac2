"""A run's folder: what is in it is whole, and what a run has acknowledged stays."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from credence.core.errors import BackendError, ConfigError
from credence.learn.checkpoint import save_json, write_whole
from credence.report.schema import plain_tree

LATEST, MANIFEST = "latest", "manifest.json"
REPLACE = "--overwrite to replace it, or --set name=another"
"""What a command offers where its folder exists; one that can resume says that too."""


def check_place(path: Path, overwrite: bool, instead: str = REPLACE) -> None:
    """Refuse a place where no run may go; touches nothing, so that it can be asked before anything is loaded.

    Raises:
        ConfigError: it exists and may not be replaced, is no run's folder, or "latest" is in the way.
    """
    latest = path.parent / LATEST
    if path.name == LATEST:
        raise ConfigError(f"{path}: this name is the link to the latest run. Give another: --set name=another.")
    if latest.exists() and not latest.is_symlink():
        raise ConfigError(f"{latest} should be a link to the latest run and is none. Move it away: mv {latest} OTHER")
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_symlink() or not path.is_dir():
        raise ConfigError(f"{path} is no folder: nothing is overwritten. Give another name: --set name=another.")
    if not overwrite:
        raise ConfigError(f"{path} exists. Give {instead}.")
    if not (path / MANIFEST).exists() and any(not _litter(p) for p in path.iterdir()):
        raise ConfigError(f"{path} is not a run's folder (no manifest.json): it is not overwritten.")


class RunFolder:
    """runs/<name>/: manifest.json, history.jsonl, timing.jsonl, report.json, report.html, policy/, checkpoints/.

    Raises:
        ConfigError: as check_place; or another process is at work in the folder.
        BackendError: whenever something cannot be written: says where, why and what to do.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        check_place(path, overwrite)
        self.path = path
        with self.writing():
            new, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
            new.mkdir(parents=True)
            if path.exists():
                with alone(path):
                    path.rename(old)
            new.rename(path)
            shutil.rmtree(old, ignore_errors=True)
            self._point_latest()

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """An earlier run's folder, to go on in; what a kill left half written beside its files is dropped."""
        place = cls.__new__(cls)
        place.path = path
        with place.writing(), alone(path):
            for litter in [p for p in path.iterdir() if _litter(p)]:
                shutil.rmtree(litter) if litter.is_dir() else litter.unlink()
            place._point_latest()
        return place

    def within(self, name: str) -> "RunFolder":
        """An empty folder inside this one, for a part of the run that has a history of its own."""
        inner = type(self).__new__(type(self))
        inner.path = self.path / name
        with inner.writing():
            shutil.rmtree(inner.path, ignore_errors=True)
            inner.path.mkdir(parents=True)
        return inner

    def _point_latest(self) -> None:
        """runs/latest -> this folder, replaced in one step."""
        aside = self.path.parent / f".{LATEST}.{os.getpid()}.aside"
        aside.unlink(missing_ok=True)
        aside.symlink_to(self.path.name, target_is_directory=True)
        aside.replace(self.path.parent / LATEST)

    @contextmanager
    def writing(self, name: str = "") -> Generator[Path]:
        """A file or folder of the run while it is written; what the system refuses becomes one clear error."""
        place = self.path / name
        try:
            yield place
        except OSError as error:
            raise BackendError(
                f"{place} cannot be written: {error.strerror or error}. Free some space or choose another place "
                "(--into FOLDER); what was written before stays."
            ) from error

    @contextmanager
    def under_way(self, manifest: Callable[[], Mapping[str, Any]]) -> Generator[None]:
        """The manifest says that the run goes on, or how it was broken off; whoever ends the run says that it is done.

        Args:
            manifest: called anew for each of them, since it holds the time spent.
        """
        self.json(MANIFEST, {"status": "running", **manifest()})
        try:
            yield
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(BackendError):  # a full disk is one of the reasons to be here: the first error counts
                self.json(MANIFEST, {"status": status, **manifest()})
            raise

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """One line of a .jsonl file, handed to the system when this returns."""
        with self.writing(name) as place, place.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def json(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON tree
        """A whole JSON file."""
        with self.writing(name) as place:
            save_json(place, value)

    def lines(self, name: str, records: list[dict[str, Any]]) -> None:
        """A whole .jsonl file."""
        self.text(name, "".join(map(_line, records)))

    def filter(self, name: str, stays: Callable[[dict[str, Any]], bool]) -> None:
        """Drop lines of a .jsonl file, and what is no line: one that a kill cut through, or that was damaged since."""
        if not (self.path / name).is_file():
            return
        with self.writing(name) as place:
            whole = place.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
            write_whole(place, "".join(f"{line}\n" for line in whole if _reads(line, stays)).encode())

    def text(self, name: str, value: str) -> None:
        """A whole text file."""
        with self.writing(name) as place:
            write_whole(place, value.encode())


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a run's folder, so that no other process goes on with it or replaces it meanwhile; a kill lets go of it.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: there nothing is held
        yield
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{path} is being written by another process. Let that run end, stop it, or give --set name=another."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(folder)


def _litter(path: Path) -> bool:
    """Whether this was being written, aside, when a run was killed."""
    return path.name.startswith(".") and path.name.endswith(".aside")


def _reads(line: str, stays: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        return stays(json.loads(line))
    except (ValueError, LookupError, TypeError):
        return False


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(plain_tree(record), ensure_ascii=False, allow_nan=False) + "\n"
