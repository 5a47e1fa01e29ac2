"""A run's folder: what is in it is whole, and what a run has acknowledged stays."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError
from credence.learn.checkpoint import save_json, write_whole


class RunFolder:
    """runs/<name>/: manifest.json, history.jsonl, timing.jsonl, report.json, report.html, policy/."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        if path.exists():
            if not overwrite:
                raise ConfigError(f"{path} exists. Give --overwrite to replace it, or --set name=another.")
            if not (path / "manifest.json").exists() and any(path.iterdir()):
                raise ConfigError(f"{path} is not a run's folder (no manifest.json): it is not overwritten.")
            shutil.rmtree(path)
        path.mkdir(parents=True)
        self.path = path
        self._point_latest()

    def _point_latest(self) -> None:
        """runs/latest -> this folder, replaced in one step."""
        aside = self.path.parent / ".latest.aside"
        aside.unlink(missing_ok=True)
        aside.symlink_to(self.path.name, target_is_directory=True)
        latest = self.path.parent / "latest"
        if latest.is_dir() and not latest.is_symlink():
            aside.unlink()
            raise ConfigError(f"{latest} is a folder: it should be a link to the latest run. Move it away.")
        aside.replace(latest)

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """One line of a .jsonl file, on the disk when this returns."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()

    def json(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON tree
        """A whole JSON file."""
        save_json(self.path / name, value)

    def text(self, name: str, value: str) -> None:
        """A whole text file."""
        write_whole(self.path / name, value.encode())
