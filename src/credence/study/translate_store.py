"""What a translation study leaves behind so that it can answer: both IBM models, the memory, the weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from credence.belief.ibm1 import IBM1, NULL
from credence.belief.length_law import LengthLaw
from credence.belief.memory import TranslationMemory
from credence.belief.translate import Weights
from credence.core.errors import ConfigError
from credence.study.folder import RunFolder
from credence.study.stored import read_json
from credence.study.translate_config import TranslateConfig

if TYPE_CHECKING:
    from credence.study.translate_rows import Chosen, Found

SETTINGS, MODELS, MEMORY, POLICY = "translator.json", "channel.safetensors", "memory.jsonl", "policy"
"""In a run's folder: what answering needs."""
_MODELS = ("channel", "direct")
_ARRAYS = ("keys", "t", "background")


def settings(config: TranslateConfig) -> dict[str, object]:
    """What an answer depends on: the language model and the embedder. Where it computes does not matter."""
    told = config.model_dump(mode="json")
    prior = {name: value for name, value in told["prior"].items() if name != "device"}
    return {"prior": prior, "likeness": told["likeness"], "translator": config.seq2seq is not None}


def store(place: RunFolder, config: TranslateConfig, found: "Found", chosen: "Chosen") -> None:
    """Write the models, the memory, the weights, and what every scorer says of the test sources."""
    models = {"channel": found.channel, "direct": found.direct}
    with place.writing(MODELS) as where:
        save_file({f"{name}/{part}": getattr(law, part) for name, law in models.items() for part in _ARRAYS}, where)
    place.json(SETTINGS, {
        "schema": 1, "settings": settings(config), "weights": asdict(chosen.weights), "answers": chosen.answers,
        "models": {name: _told(law) for name, law in models.items()},
    })  # fmt: skip
    place.lines(MEMORY, [{"source": x, "translation": y} for x, y in found.parts.train.both()])
    p = {name: law.exp().tolist() for name, law in chosen.test.items()}
    place.lines("choices.jsonl", [
        {"source": source, "candidates": list(found.texts[found.tuned + i]), "reference": found.truth[found.tuned + i],
         "p": {name: rows[i] for name, rows in p.items()}}
        for i, source in enumerate(found.parts.test.sources)
    ])  # fmt: skip


def _told(law: IBM1) -> dict[str, Any]:
    return {"said": list(law.said), "given": list(law.given)[1:], "smoothing": law.smoothing,
            "ratio": law.length.ratio, "spread": law.length.spread, "history": list(law.history)}  # fmt: skip


def stored(folder: Path, config: TranslateConfig, command: str) -> dict[str, Any]:
    """translator.json of a run that was measured under these settings.

    Raises:
        ConfigError: no such run, or one of other settings.
    """
    if not (folder / SETTINGS).is_file():
        raise ConfigError(
            f"no measured translator in {folder}: the IBM models and the weights come from a run. First: {command}"
        )
    found = read_json(folder / SETTINGS)
    if found.get("settings") != json.loads(json.dumps(settings(config))):
        raise ConfigError(
            f"{folder} was measured with other settings of prior, likeness or seq2seq: what was tuned there does not "
            f"hold here. Set them back, or measure again: {command} --overwrite"
        )
    return found


def read_models_of(folder: Path, told: Mapping[str, Any]) -> tuple[IBM1, IBM1]:
    """p(x | y) and p(y | x) of a run.

    Raises:
        ConfigError: files that credence did not write.
    """
    try:
        arrays = load_file(folder / MODELS)
        made = [_model({part: arrays[f"{name}/{part}"] for part in _ARRAYS}, told["models"][name]) for name in _MODELS]
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ConfigError(f"{folder / MODELS} was not written by credence ({error}). Measure again.") from None
    return made[0], made[1]


def _model(arrays: Mapping[str, np.ndarray], told: Mapping[str, Any]) -> IBM1:
    said, given = list(told["said"]), [NULL, *told["given"]]
    return IBM1(
        {unit: i for i, unit in enumerate(said)},
        {unit: i for i, unit in enumerate(given)},
        arrays["keys"],
        arrays["t"],
        arrays["background"],
        float(told["smoothing"]),
        LengthLaw(float(told["ratio"]), float(told["spread"])),
        tuple(told["history"]),
    )


def read_weights(folder: Path, told: Mapping[str, Any]) -> Weights:
    """What validation set.

    Raises:
        ConfigError: a file that credence did not write.
    """
    try:
        w = told["weights"]
        likeness = None if w["likeness"] is None else float(w["likeness"])
        three = tuple(float(x) for x in w["combined"])
        lam, tau, channel, direct = (float(w[name]) for name in ("lam", "tau", "channel", "direct"))
        return Weights(lam, tau, channel, direct, three, likeness)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder / SETTINGS} was not written by credence ({error}). Measure again.") from None


def read_memory(folder: Path) -> TranslationMemory:
    """The pairs that are looked up.

    Raises:
        ConfigError: a file that credence did not write.
    """
    try:
        rows = [json.loads(line) for line in (folder / MEMORY).read_text(encoding="utf-8").splitlines()]
        return TranslationMemory(tuple(r["source"] for r in rows), tuple(r["translation"] for r in rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / MEMORY} was not written by credence ({error}). Measure again.") from None
