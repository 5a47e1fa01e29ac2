"""Whether a run's folder can be gone on with: the same settings, sources and prior, or what differs."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from credence.core.errors import ConfigError
from credence.core.protocols import StepPrior
from credence.core.types import Prompts
from credence.report.manifest import without_paths
from credence.report.schema import plain_tree
from credence.study.config import Placed
from credence.study.evidence_config import RewardConfig
from credence.study.folder import MANIFEST, check_place
from credence.study.stored import read_json

FREE = re.compile(r"name|(track|sample)\..*|(train|learn)\.(checkpoint_every|keep)|evidence\.reward\.\d+\.timeout")
"""Settings that change no number: they may differ between run and resume."""
ANEW = "--overwrite, or --set name=another"
"""How to begin a run anew where it cannot be gone on with."""
NEAR = 0.05
"""Nats by which the prior's log-probabilities may differ, by rounding, on another machine or version of torch."""
LOOKED_AT = 16
"""Log-probabilities of the prior that are compared."""
WHAT = {
    "prompts.source": "prompts",
    "users.source": "users",
    "users.rewordings": "questions",
    "talk.knowledge": "answers",
    "environment": "outcomes",
    "prior.law": "probabilities",
    "evidence.preference.data": "comparisons",
    "evidence.classifier": "weights",
    "evidence.reward_head": "weights",
    "evidence.preference.model": "weights",
    **{f"train.{name}.data": "recorded replies" for name in ("dpo", "ipo", "kto", "sft")},
}
"""What a setting that names a source brings."""


def earlier(folder: Path, config: Placed, kind: str = "", anew: str = ANEW) -> dict[str, Any] | None:
    """The manifest of the run to go on with; None where there is nothing yet. Touches nothing.

    Args:
        folder: of the run.
        config: of now.
        kind: of run, as its manifest says it.
        anew: how to begin one instead.

    Raises:
        ConfigError: no run's folder, a manifest that cannot be read, a run of another command, or changed settings,
            each named.
    """
    check_place(folder, True)
    if not (folder / MANIFEST).is_file():
        return None
    before = read_json(folder / MANIFEST)
    if before.get("kind", "") != kind:
        raise ConfigError(f"{folder} was left by another command: begin anew, {anew}.")
    changes = changed(before.get("config", {}), before.get("origin", {}).get("paths", {}), config)
    if changes:
        raise ConfigError(
            f"{folder} was begun with other settings: {'; '.join(changes)}. Set them back to resume it, or begin anew: "
            f"{anew}."
        )
    return before


def changed(before: Mapping[str, Any], hidden: Mapping[str, str], config: Placed) -> list[str]:
    """A phrase for each setting that differs and matters; settings that one side does not know count by default."""
    now = plain_tree(config.model_dump(mode="json"))  # as a manifest holds it: -inf is a string there
    default = dict(_flat(plain_tree(type(config).model_validate(config.LEAST).model_dump(mode="json"))))
    old, new, whole = dict(_flat(before)), dict(_flat(without_paths(now))), dict(_flat(now))
    out: list[str] = []
    for name in {**old, **new}:
        if FREE.fullmatch(name):
            continue
        was, here = old.get(name, default.get(name)), new.get(name, default.get(name))
        moved = name in hidden and hidden[name] != _hash(whole.get(name))
        if was != here or moved:
            told = f"{name} was {json.dumps(was, ensure_ascii=False)} and is {json.dumps(here, ensure_ascii=False)}"
            out.append(told + (" in another place" if was == here else ""))
    return out


def origin(
    config: Placed, sources: Mapping[str, Any], rewards: Mapping[str, str], prior: Sequence[float]
) -> dict[str, Any]:
    """What the settings do not say of where a run began. Paths, which no manifest tells, are there as hashes.

    Args:
        config: of the run.
        sources: what each setting that names a source brought; any JSON tree.
        rewards: hashes of reward files by setting.
        prior: some of the prior's own numbers, nats.
    """
    now = config.model_dump(mode="json")
    whole, shown = dict(_flat(now)), dict(_flat(without_paths(now)))
    return {
        "paths": {name: _hash(value) for name, value in whole.items() if shown.get(name) != value},
        "sources": {name: _hash(brought) for name, brought in sources.items()},
        "rewards": dict(rewards),
        "prior": list(prior),
    }


def first_words(prior: StepPrior, prompts: Prompts) -> list[float]:
    """Log-probabilities, in nats, of some possible first tokens of the reply to the first prompt.

    Cost: one forward pass over one prompt.
    """
    log_p = torch.log_softmax(prior.next_logits(prior.start(prompts.take([0]), 1))[0].double().cpu(), -1)
    possible = log_p[torch.isfinite(log_p)]
    return possible[torch.linspace(0, len(possible) - 1, LOOKED_AT).long()].tolist()


def doubts(before: Mapping[str, Any], now: Mapping[str, Any], anew: str) -> list[str]:
    """A sentence for each thing that may cost equal bytes, of two manifests with their origins.

    Raises:
        ConfigError: other sources, or a prior with other weights: what is on the disk is of another posterior.
    """
    was, here = before.get("origin", {}), now["origin"]
    for name, brought in here["sources"].items():
        if was.get("sources", {}).get(name, brought) != brought:
            raise ConfigError(
                f"{name} holds other {WHAT[name]} than when the run was begun, and what is on the disk comes from "
                f"those. Bring them back, or begin anew: {anew}."
            )
    far = max((abs(a - b) for a, b in zip(was.get("prior", here["prior"]), here["prior"], strict=False)), default=0.0)
    if not far <= NEAR:
        raise ConfigError(
            f"prior.model has other weights than when the run was begun: its log-probabilities differ by {far:.2f} "
            f"nats. Bring the model back, or begin anew: {anew}."
        )
    out = [
        f"{name}: the file of this reward was changed; what was scored before keeps its old values."
        for name, value in here["rewards"].items()
        if was.get("rewards", {}).get(name, value) != value
    ]
    for group in ("versions", "numerics"):
        old, new = before.get(group, {}), now[group]
        out += [f"{n} was {old.get(n)} and is {new[n]}." for n in new if n in old and old.get(n) != new[n]]
    if far > 0:
        out.append(f"the prior's log-probabilities differ by {far:.1g} nats: it rounds otherwise here.")
    return out


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - walks any JSON tree
    """Every leaf with its dotted path."""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if entries is None or not value:
        yield path, value
        return
    for name, below in entries:
        yield from _flat(below, f"{path}.{name}" if path else str(name))


def _hash(value: Any) -> str:  # noqa: ANN401 - any JSON tree
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]


def reward_files(rewards: Sequence[RewardConfig], folder: Path) -> dict[str, str]:
    """By setting, the hash of each reward's file: its name alone does not say what it rewards."""
    return {f"evidence.reward.{i}.fn": function_file(r.fn, folder) for i, r in enumerate(rewards)}


def function_file(fn: str, folder: Path) -> str:
    """Hash of the file that a function stands in; "" for one that comes with credence."""
    place = folder / fn.rpartition(":")[0]
    return hashlib.sha256(place.read_bytes()).hexdigest()[:16] if place.is_file() else ""
