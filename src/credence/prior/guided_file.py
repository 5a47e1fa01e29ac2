"""A guide as a folder: its head alone, a few megabytes. The model it stands on is named, not copied."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.prior.guided import GuidedLM, guided_policy

HEAD, SETTINGS = "head.safetensors", "guide.json"
FORMAT = 1


def save_guide(guide: GuidedLM, folder: Path, card: str) -> None:
    """Write head, settings and card; aside, and renamed, so that the folder is whole or absent.

    Tested in tests/contract/test_guides.py: read back, it scores as it did.

    Raises:
        ConfigError: the folder exists.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: name another folder or remove it.")
    aside = folder.with_name(f".{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)  # of a save that was broken off
    aside.mkdir(parents=True)
    inner = guide.head.inner
    settings = {
        "format": FORMAT,
        "size": guide.size,
        "width": 0 if inner is None else inner.out_features,
        "follow": guide.follow,
        "temperature": guide.temperature,
        "vocabulary": guide.lm.head.out_features,
    }
    save_file({name: x.contiguous().cpu() for name, x in guide.state().items()}, aside / HEAD)
    (aside / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (aside / "README.md").write_text(card, encoding="utf-8")
    for path in aside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    aside.rename(folder)


def holds_guide(folder: Path) -> bool:
    """Whether a guide was saved here."""
    return (folder / SETTINGS).is_file()


def load_guide(folder: Path, prior: StepPrior) -> GuidedLM:
    """The guide saved in a folder, on the prior it was trained on.

    Args:
        folder: as `save_guide` left it.
        prior: the same model at the same temperature; another one has no such states.

    Raises:
        ConfigError: no guide is there, or it belongs to a model of another size, vocabulary or temperature.
        BackendError: its files cannot be read.
    """
    if not holds_guide(folder):
        raise ConfigError(f'{folder} holds no value of prefixes ({SETTINGS}): train one with train.method = "value".')
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        head = load_file(folder / HEAD)
        guide = guided_policy(prior, Key(0), int(settings["width"]), float(settings["follow"]))
        own = {"size": guide.size, "temperature": guide.temperature, "vocabulary": guide.lm.head.out_features}
        differs = [f"{name} {settings[name]} there and {value} here" for name, value in own.items()
                   if settings[name] != value]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        raise BackendError(f"the value of prefixes in {folder} could not be read: {error}") from error
    if differs:
        raise ConfigError(
            f"the value of prefixes in {folder} was learnt on another prior: {'; '.join(differs)}. Give the model and "
            "temperature that it was trained with."
        )
    guide.restore({name: x.to(guide.lm.device) for name, x in head.items()})
    return guide
