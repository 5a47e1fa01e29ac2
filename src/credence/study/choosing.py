"""A law over candidates in a folder: saved by `credence dialogue train`, opened without its source by `credence chat`.

Tested in tests/e2e/test_chat_choosing.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.dialogue.candidates import FEATURES, CandidatePolicy, candidate_policy
from credence.dialogue.choice import Chooser
from credence.dialogue.knowledge import Entry
from credence.learn.checkpoint import save_json
from credence.study import served
from credence.study.dialogue_config import DialogueConfig, load_dialogue
from credence.study.opinions import FILE, Taught
from credence.study.served import ANSWERS, WEIGHTS, Note, Served
from credence.study.stored import read_json
from credence.study.talking import candidates, retriever_of
from credence.study.toml import load_config

SCHEMA = 1
_ELSEWHERE = "…/"
"""How a manifest begins a path that it does not tell."""


def save_choosing(folder: Path, policy: CandidatePolicy) -> None:
    """The weights by feature, and every entry that can be answered from."""
    save_json(folder / WEIGHTS, policy.named())
    entries = [[e.name, e.question, e.answer] for e in policy.prior.retriever.entries]
    save_json(folder / ANSWERS, {"schema": SCHEMA, "entries": entries})


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a run that chooses has left.

    Attributes:
        config: its settings.
        entries: what it answers from.
        weights: (F,) that are served.
        run: (F,) that its simulated users taught: the same, until ratings are learnt.
    """

    config: DialogueConfig
    entries: tuple[Entry, ...]
    weights: Float[Tensor, " F"]
    run: Float[Tensor, " F"]

    def policy(self, score: bool) -> CandidatePolicy:
        """The law as training had it; with `score` prior.model reads the candidates.

        Raises:
            ConfigError: the settings choose nothing, or leave out where the model is.
            BackendError: the model cannot be read.
        """
        config = self.config
        if config.candidates is None:
            raise ConfigError("these settings have no [candidates]: they are not those of the run. Name its own.")
        if score and config.prior.model.startswith(_ELSEWHERE):
            raise ConfigError(
                f"a model scores the answers, prior.model = {config.prior.model!r}, and a manifest does not tell where "
                "it is. Name the file that the run was started with: --config FILE",
                "scored elsewhere",
                model=config.prior.model,
            )
        given = config.candidates.model_copy(update={"score": score})
        made = candidate_policy(candidates(config, given, retriever_of(config, self.entries)))
        made.restore({"weights": self.weights})
        return made


def read_choosing(folder: Path, config: Path | None = None, device: str | None = None) -> Chosen:
    """What a run's folder holds; no model is loaded.

    Args:
        folder: of a run that chooses, or of an update of one.
        config: the file that the run was started with; else its manifest's settings.
        device: where a model computes, if another than the settings say.

    Raises:
        ConfigError: files that are missing, broken or of another version.
    """
    place = folder / "policy" / ANSWERS
    if not place.exists():
        raise ConfigError(
            f"{folder} kept no answers (policy/{ANSWERS}): an earlier credence made it. Train it again: credence "
            "dialogue train CONFIG --overwrite",
            "no answers",
            folder=folder,
        )
    given = _settings(folder) if config is None else load_dialogue(config)
    if device is not None:
        prior = type(given.prior).model_validate(given.prior.model_dump() | {"device": device})
        given = given.model_copy(update={"prior": prior}).at(given.folder)
    try:
        found = read_json(place)
        entries = tuple(Entry(*_texts(row)) for row in found["entries"])
        if found["schema"] != SCHEMA or not entries:
            raise ValueError(f"schema {found['schema']}, {len(entries)} entries")
        weights = _weights(read_json(folder / "policy" / WEIGHTS))
        run = _weights(read_json(folder / FILE)["run"]) if (folder / FILE).exists() else weights
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the files in {folder / 'policy'} are not as credence writes them ({type(error).__name__}: {error}). "
            "Bring them back, or train the run again: credence dialogue train CONFIG --overwrite",
            "broken choosing",
            folder=folder / "policy",
            why=error,
        ) from None
    return Chosen(given, entries, weights, run)


def _settings(folder: Path) -> DialogueConfig:
    again = "train it again: credence dialogue train CONFIG --overwrite"
    try:
        return served.dialogue_config(folder, again)
    except ConfigError as error:
        if error.case != "policy version":
            raise
        raise ConfigError(str(error), "choosing version", folder=folder, place=error.given["place"]) from None


def open_choosing(folder: Path, config: Path | None, device: str | None) -> Served:
    """The law over candidates of a run, ready to talk. prior.model is loaded only where the learnt law reads it.

    Raises:
        ConfigError: as read_choosing.
        BackendError: the model that scores candidates cannot be read.
    """
    found = read_choosing(folder, config, device)
    given = found.config
    scores = given.candidates is not None and given.candidates.score
    policy = found.policy(scores and bool(found.weights[FEATURES.index("fluency")] != 0))
    beta = given.evidence.reward[0].beta if given.evidence.reward else None
    taught = Taught.read(folder)
    chooser = Chooser(policy, beta, found.run if taught is not None else None)
    notes: list[Note] = [("chooses", given.talk.knowledge or str(len(found.entries)))]
    notes += [("rated", str(len(taught.ratings)))] if taught is not None else []
    notes += served.stopped(folder)
    settings = load_config(None).model_copy(update={"prior": given.prior})
    return Served(
        policy.prior, policy, None, settings, taught, str(folder), served.fingerprint(folder / "policy"), tuple(notes),
        chooser, given.talk.context_window,
    )  # fmt: skip


def _texts(row: Sequence[Any]) -> tuple[str, str, str]:
    name, question, answer = row
    if not all(isinstance(text, str) and text for text in row):
        raise ValueError("an entry is not three texts")
    return name, question, answer


def _weights(named: Any) -> Float[Tensor, " F"]:  # noqa: ANN401 - a JSON tree
    found = torch.tensor([float(named[name]) for name in FEATURES], dtype=torch.float64)
    if not bool(torch.isfinite(found).all()):
        raise ValueError("a weight is not finite")
    return found
