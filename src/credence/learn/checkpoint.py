"""Files that are either whole or absent, and checkpoints made of them.

Whatever is written goes to a file aside, is flushed to the disk, and is renamed: a crash at any moment, a full disk
included, leaves the old file or the new one. docs/runs.md tells users what follows from it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from credence.core.errors import BackendError, ConfigError

FORMAT = 1
"""Of a checkpoint's manifest; another number is another layout, and is not read."""


def write_whole(path: Path, data: bytes) -> None:
    """Write bytes so that a crash at any moment leaves the old file or the new one, never a part."""
    aside = _aside(path)
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def save_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON tree
    """A JSON file, UTF-8, readable."""
    write_whole(path, (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a loop needs to go on.

    Attributes:
        step: the last one that it holds.
        tensors: by name, on the CPU.
        state: any JSON tree; infinities are legal in it.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


@dataclass(eq=False)
class Checkpoints:
    """A folder of checkpoints: the last `keep` and the best, each a safetensors file and a manifest with its SHA-256.

    A checkpoint exists once its manifest has its name, which is the last thing that happens; the tensors' file bears
    its own hash in its name, so a step saved twice never mixes. Tested in tests/unit/test_checkpoint.py, and by kills
    at random moments in tests/e2e/test_kill.py.

    Attributes:
        folder: made when the first one is saved.
        keep: how many of the last ones stay, besides the best.
        warnings: a sentence for each checkpoint that the last look found to be damaged.

    Raises:
        ConfigError: keep below 1.
    """

    folder: Path
    keep: int = 2
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"keep = {self.keep}: at least one checkpoint must stay, or there is nothing to resume.")

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], best: bool = False) -> None:
        """Write one, then drop what is no longer kept; later steps go too: they are of a past that was given up.

        Args:
            step: 0 or more.
            tensors: by name; copied to the CPU as they are written.
            state: any JSON tree.
            best: it stays, beyond the last `keep`, until another is the best.

        Raises:
            BackendError: it cannot be written; those from before stay.

        Cost: the tensors' bytes on the disk, on top of those kept, and one pass over them for the hash.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file, digest = self._write_tensors(step, tensors)
            body = {"format": FORMAT, "step": step, "best": best, "file": file, "sha256": digest, "state": dict(state)}
            text = json.dumps({**body, "manifest_sha256": _digest(body)}, ensure_ascii=False)
            write_whole(self._manifest(step), text.encode())
            self._prune(step)
        except (OSError, SafetensorError) as error:
            why = (getattr(error, "strerror", None) or str(error)).removeprefix("Error while serializing: ")
            raise BackendError(
                f"checkpoint {step} cannot be written to {self.folder}: {why}. The one before it stays: "
                "free some space and resume."
            ) from error

    def latest(self) -> Checkpoint | None:
        """The newest that is whole; None where there is none. `warnings` then tells of the damaged ones passed over."""
        self.warnings = []
        return self._first(self._newest())

    def best(self) -> Checkpoint | None:
        """The newest that was saved as the best and is whole; None where there is none."""
        self.warnings = []
        return self._first(path for path in self._newest() if _peek(path).get("best"))

    def clear(self) -> None:
        """Drop all of them, and the folder."""
        if not self.folder.is_dir():
            return
        for path in [*self._newest(), *self.folder.glob("*.safetensors"), *self.folder.glob(".*.aside")]:
            path.unlink(missing_ok=True)  # manifests first: what is left of a broken-off clearing is no checkpoint
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{step:08d}.json"

    def _newest(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.json"), reverse=True)

    def _write_tensors(self, step: int, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
        """Name and hash of the tensors' file, flushed to the disk under its name."""
        aside = _aside(self.folder / f"{step:08d}.safetensors")
        try:
            save_file(_apart(tensors), aside)
            with aside.open("r+b") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            name = f"{step:08d}-{digest[:12]}.safetensors"
            aside.replace(self.folder / name)
        finally:
            aside.unlink(missing_ok=True)
        _flush_folder(self.folder)
        return name, digest

    def _prune(self, step: int) -> None:
        found = self._newest()
        stays = [path for path in found if path <= self._manifest(step)]
        kept = {*stays[: self.keep], *[path for path in stays if _peek(path).get("best")][:1]}
        for path in found:
            if path not in kept:
                path.unlink()
        files = {_peek(path).get("file") for path in kept}
        for path in [*self.folder.glob("*.safetensors"), *self.folder.glob(".*.aside")]:
            if path.name not in files:
                path.unlink(missing_ok=True)

    def _first(self, paths: Iterator[Path] | list[Path]) -> Checkpoint | None:
        for path in paths:
            try:
                return _read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self.warnings.append(
                    f"checkpoint {int(path.stem)} in {self.folder} is damaged ({error}): it is passed over."
                )
        return None


def _read(path: Path) -> Checkpoint:
    """One checkpoint, every byte of it checked. Raises ValueError, KeyError, OSError or SafetensorError."""
    body = json.loads(path.read_bytes())
    if not isinstance(body, dict) or body.pop("manifest_sha256", None) != _digest(body):
        raise ValueError("its manifest has another hash than it says")
    if body["format"] != FORMAT:
        raise ValueError(f"its format is {body['format']}, this credence reads {FORMAT}")
    place = path.with_name(body["file"])
    with place.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != body["sha256"]:
            raise ValueError("its tensors have another hash than its manifest says")
    return Checkpoint(body["step"], load_file(place), body["state"])


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each in memory of its own: safetensors refuses two names for one place."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        out[name] = own.clone() if place in seen else own
        seen.add(place)
    return out


def _peek(path: Path) -> dict[str, Any]:
    """A manifest as it stands; empty where it cannot be read."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.aside")


def _flush_folder(path: Path) -> None:
    """Make renames in this folder last."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
