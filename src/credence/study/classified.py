"""A label as evidence, in the file: the head that `credence believe classify` left in a run's folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from credence.core.errors import ConfigError
from credence.evidence.classifier import Classifier, load_label_head
from credence.evidence.embedding import load_embedder
from credence.study.evidence_config import ClassifierConfig

WEIGHTS = "head.safetensors"
"""The head, in the folder of a `credence believe classify` run."""


def classified(given: ClassifierConfig, beside: Path) -> Classifier:
    """The label as evidence.

    Args:
        given: its settings.
        beside: where a relative path begins.

    Raises:
        ConfigError: no such run or label.
        MissingExtraError: the embedder is not installed.
    """
    head = load_label_head(_place(given, beside))
    return Classifier(head, load_embedder(head.embedder), given.label, given.beta, given.on_prefix, given.name)


def _place(given: ClassifierConfig, beside: Path) -> Path:
    places = [folder / WEIGHTS for folder in (beside / given.run, Path(given.run), Path("runs") / given.run)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(
            f"evidence.classifier.run = {given.run!r}: no {WEIGHTS} there. `credence believe classify CONFIG` leaves "
            "one in its run's folder, where the config has [head]."
        )
    return found


def origin(given: Sequence[ClassifierConfig], beside: Path) -> dict[str, list[str]]:
    """What the heads hold: a run that is resumed must find the same.

    Raises:
        ConfigError: as classified.
    """
    hashes = [hashlib.sha256(_place(one, beside).read_bytes()).hexdigest()[:16] for one in given]
    return {"evidence.classifier": hashes} if hashes else {}
