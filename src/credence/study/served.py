"""From a run's folder, an exported model or settings to what a conversation needs: prior, policy, evidence."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from credence.core.errors import ConfigError, CredenceError, MissingExtraError, nearest
from credence.core.protocols import Evidence, StepPrior
from credence.dialogue.choice import Chooser
from credence.dialogue.talk import WINDOW
from credence.evidence.ended import Ended
from credence.evidence.product import Product
from credence.evidence.strength import factors
from credence.prior.load import load
from credence.prior.reshape import Reshaped, reshape
from credence.study import build
from credence.study.config import RunConfig
from credence.study.dialogue_config import DialogueConfig
from credence.study.opinions import Taught, taught_evidence
from credence.study.stored import read_json
from credence.study.toml import load_config

HORIZON = 48
"""Most tokens of a reply where no run says another number."""

WEIGHTS = "weights.json"
"""In policy/: a law over candidates, its weights by feature."""
ANSWERS = "answers.json"
"""Beside it: the answers that it chooses among, so that it needs no source to talk."""

AGAIN = {
    "run": "credence run CONFIG --resume",
    "dialogue": "credence dialogue train CONFIG --resume",
    "update": "credence dialogue update --resume",
}
"""What goes on with a run that was stopped, by the kind of run."""

Note = tuple[str, str | CredenceError]
"""Name of a sentence, and what to put in; a mistake is worded by the surface too."""


@dataclass(frozen=True, eq=False)
class Served:
    """What can be talked to.

    Attributes:
        prior: at its temperature; of a law over candidates the base measure.
        policy: trained on it; None where the prior speaks alone.
        evidence: what the run called good, with the feedback that it was taught; None where it cannot be had.
        config: settings of the run (or the given ones).
        taught: feedback that the policy was trained on, None where it was none.
        source: what to call it on the screen.
        law: fingerprint of the policy's weights, "" without one.
        notes: what the user should know, as (name of a sentence, what to put in) for the surface to word.
        chooser: the law over candidates, where that is what was learnt.
        utterances: that it was shown in training.
    """

    prior: StepPrior
    policy: StepPrior | None
    evidence: Evidence | None
    config: RunConfig
    taught: Taught | None
    source: str
    law: str
    notes: tuple[Note, ...] = field(default=())
    chooser: Chooser | None = None
    utterances: int = WINDOW

    @property
    def model(self) -> str:
        """What ratings call the one who spoke: the prior's model, or the run whose answers were chosen among."""
        return self.config.prior.model if self.chooser is None else Path(self.source).name


def find_policy(given: str, runs: Path = Path("runs"), choosing: bool = False) -> Path:
    """The folder of a run or an exported model that speaks: as given, or a name under runs/.

    Args:
        given: a folder or a name.
        runs: where names are looked for.
        choosing: whether a law over candidates will do; else it is refused.

    Raises:
        ConfigError: no such folder (with the nearest names); a run of another kind, or one that has saved no policy.
    """
    found = next((p for p in (Path(given), runs / given) if p.is_dir()), None)
    if found is None:
        known = sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
        names = ", ".join(known)
        raise ConfigError(
            f"no policy {given!r}, neither a folder nor under {runs}/.{nearest(given, known)} "
            f"{f'Known runs: {names}.' if known else 'Make one: credence run examples/cheerful.toml'}",
            "no policy" if known else "no runs",
            given=given,
            **({"known": names} if known else {}),
        )
    if (found / WEIGHTS).exists() and found.name == "policy":
        found = found.parent
    if (found / "policy" / WEIGHTS).exists():
        if choosing:
            return found
        raise ConfigError(
            f"{found} learnt to choose among answers looked up (policy/{WEIGHTS}): that law gives no probability to "
            f"other texts. Talk to it: credence chat --policy {found}",
            "policy chooses",
            folder=found,
        )
    if (found / "config.json").exists() or (found / "policy/config.json").exists():
        return found
    if kind_of(found) == "control":
        raise ConfigError(
            f"{found} is a run of `credence control`: its policy moves in a grid and has no words. Read it in "
            f"{found / 'report.html'}; to talk, name a run of credence run or credence dialogue train.",
            "policy control",
            folder=found,
        )
    status = _manifest(found).get("status", "done")
    if status != "done":
        again = AGAIN.get(kind_of(found), AGAIN["run"])
        raise ConfigError(
            f"{found} holds no policy yet: its run is at work or was stopped ({status}) before it saved one. Wait for "
            f"it, or go on with it: {again}",
            "policy unfinished",
            folder=found,
            status=status,
            again=again,
        )
    raise ConfigError(
        f"{found} holds no policy (no policy/config.json): no run has trained one there. Make one: credence run "
        "examples/cheerful.toml",
        "policy none",
        folder=found,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    return read_json(folder / "manifest.json") if (folder / "manifest.json").exists() else {}


def kind_of(folder: Path) -> str:
    """What kind of run left this folder: "run", "dialogue" or "control"; "" where no manifest says."""
    found = _manifest(folder)
    config: Any = found.get("config")
    if isinstance(config, dict) and "environment" in config:
        return "control"
    return str(found.get("kind", "run")) if found else ""


def run_config(folder: Path, config: Path | None = None) -> RunConfig:
    """The settings of a finished run: from its manifest, or from the file that it was started with.

    A manifest names nobody's folders, so a reward in a file of one's own is looked for beside the working directory,
    in examples/ and in the run's folder; `config` says where it really is.

    Raises:
        ConfigError: not a run's folder, or settings of another version.
    """
    if kind_of(folder) == "dialogue":
        raise ConfigError(
            f"{folder} was trained by `credence dialogue train`: its rewards need reference answers, which ratings "
            "have not. Name a run of credence run, or leave --policy out to learn from the prior alone."
        )
    if config is not None:
        return load_config(config)
    given = read_json(folder / "manifest.json").get("config")
    try:
        found = RunConfig.model_validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{folder / 'manifest.json'}: {'.'.join(map(str, first['loc']))}: {first['msg']}. The run was made by "
            "another version of credence; give the file that it was started with: --config FILE",
            "policy version",
            folder=folder,
            place=".".join(map(str, first["loc"])),
        ) from None
    files = [r.fn.rpartition(":")[0] for r in found.evidence.reward if ".py:" in r.fn]
    places = [Path(), Path("examples"), folder]
    return found.at(next((p for p in places if all((p / f).is_file() for f in files)), Path()))


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits of the weights: the same law, the same digits. Cost: reads them once."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted([*folder.glob("*.safetensors"), *(folder / name for name in (WEIGHTS, ANSWERS))]):
        if not file.exists():
            continue
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "blake2b").digest())
    return digest.hexdigest()


def open_run(folder: Path, config: Path | None, horizon: int | None, device: str | None) -> Served:
    """Prior, policy and evidence of a finished run.

    Raises:
        ConfigError: as run_config; a prior that is trained on raw text and cannot converse.
        BackendError: a model's files cannot be read.
    """
    settings = run_config(folder, config)
    if settings.prior.style == "raw":
        raise _raw(str(folder))
    changed: dict[str, Any] = {"horizon": horizon} if horizon else {}
    changed |= {"device": device} if device else {}
    settings = _with_prior(settings, **changed)
    notes: list[Note] = (
        [("longer", str(horizon))] if horizon and horizon != run_config(folder, config).prior.horizon else []
    )
    prior, policy = build.prior(settings), _policy(folder, settings)
    evidence, trouble = _evidence(settings, prior)
    taught = Taught.read(folder)
    if taught is not None:
        extra = taught_evidence(taught, prior)
        evidence = extra if evidence is None else Product((*factors(evidence), extra))
    notes += [("no evidence", trouble)] if trouble is not None else []
    notes += stopped(folder)
    return Served(prior, policy, evidence, settings, taught, str(folder), fingerprint(folder / "policy"), tuple(notes))


def open_dialogue(folder: Path, horizon: int | None, device: str | None) -> Served:
    """Prior and policy of `credence dialogue train`, without evidence: its rewards need users and reference answers.

    Raises:
        ConfigError: settings of another version.
        BackendError: a model's files cannot be read.
    """
    given = dialogue_config(folder, f"talk to its policy alone: --policy {folder / 'policy'}")
    changed: dict[str, Any] = {"horizon": horizon} if horizon else {}
    changed |= {"device": device} if device else {}
    settings = load_config(None).model_copy(update={"prior": given.prior})
    settings = _with_prior(settings, **changed)
    prior, policy = build.prior(settings), _policy(folder, settings)
    notes: list[Note] = [("references", "")]
    notes += [("looked up", given.talk.knowledge)] if given.talk.knowledge else []
    notes += [("longer", str(horizon))] if horizon and horizon != given.prior.horizon else []
    notes += stopped(folder)
    return Served(
        prior, policy, None, settings, None, str(folder), fingerprint(folder / "policy"), tuple(notes),
        utterances=given.talk.context_window,
    )  # fmt: skip


def dialogue_config(folder: Path, instead: str) -> DialogueConfig:
    """The settings of a dialogue run, from its manifest.

    Raises:
        ConfigError: settings of another version; `instead` says what to do then.
    """
    try:
        return DialogueConfig.model_validate_json(json.dumps(_manifest(folder).get("config")))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(
            f"{folder / 'manifest.json'}: {place}: {error.errors()[0]['msg']}. The run was made by another version of "
            f"credence; {instead}",
            "policy version",
            folder=folder,
            place=place,
        ) from None


def _policy(folder: Path, settings: RunConfig) -> Reshaped:
    given = settings.prior
    model = load(
        str(folder / "policy"), horizon=given.horizon, system=given.system, style=given.style, device=given.device,
        dtype=getattr(torch, given.dtype),
    )  # fmt: skip
    return reshape(model, given.temperature)


def stopped(folder: Path) -> list[Note]:
    """Whether the run came to its end: a policy that was saved before is one, and it is said."""
    return [] if _manifest(folder).get("status", "done") == "done" else [("stopped", "")]


def _raw(source: str) -> ConfigError:
    return ConfigError(
        f"{source} continues raw text (prior.style = 'raw') and holds no conversation; use 'chat' or 'plain'.",
        "raw",
        source=source,
    )


def open_settings(
    config: Path | None, lang: str, model: str | None, system: str | None, horizon: int | None, device: str | None
) -> Served:
    """The prior alone, with the evidence that the settings name, to be read and drawn from.

    Without a file the evidence is VADER's sentiment in English; in another language, which VADER cannot read, only
    that a reply comes to its end.

    Raises:
        ConfigError: as load_config, or an unknown model.
        BackendError: its files cannot be read.
    """
    settings = load_config(config)
    changed: dict[str, Any] = {"model": model, "system": system, "device": device}
    changed["horizon"] = horizon or (HORIZON if config is None else None)
    settings = _with_prior(settings, **{k: v for k, v in changed.items() if v is not None})
    if settings.prior.style == "raw":
        raise _raw(settings.prior.model)
    prior = build.prior(settings)
    notes: list[Note] = [("prior alone", settings.prior.model)]
    if lang != "en" and settings.prior.model == "smollm2":
        notes.append(("english model", settings.prior.model))
    if config is None and lang != "en":
        return Served(prior, None, Ended(), settings, None, settings.prior.model, "", tuple(notes))
    evidence, trouble = _evidence(settings, prior)
    notes += [("no evidence", trouble)] if trouble is not None else []
    return Served(prior, None, evidence, settings, None, settings.prior.model, "", tuple(notes))


def open_model(folder: Path, given: Served) -> Served:
    """An exported policy that stands outside a run: its own settings say how it is sampled, the rest is `given`.

    Raises:
        ConfigError: it has other tokens than the prior.
        BackendError: its files cannot be read.
    """
    own = read_json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    prior = given.config.prior
    model = load(
        str(folder), horizon=prior.horizon, system=prior.system, style=prior.style, device=prior.device,
        dtype=getattr(torch, prior.dtype),
    )  # fmt: skip
    whole: Any = given.prior
    base = whole.inner
    if model.ends != base.ends or model.codec.encode("a b 你") != base.codec.encode("a b 你"):
        raise ConfigError(
            f"{folder} speaks other tokens than the prior {prior.model!r}, so no log π/π0 exists between them. Name "
            "its own prior: --model FOLDER",
            "other tokens",
            folder=folder,
            prior=prior.model,
        )
    temperature = float(own.get("temperature") or prior.temperature)
    policy = reshape(model, temperature)
    notes = (("outside a run", prior.model), *(n for n in given.notes if n[0] != "prior alone"))
    return replace(given, policy=policy, source=str(folder), law=fingerprint(folder), notes=notes)


def _evidence(settings: RunConfig, prior: Reshaped) -> tuple[Evidence | None, CredenceError | None]:
    """The evidence, or why there is none: a talk can do without it, and says so."""
    try:
        return build.evidence(settings, prior=prior), None
    except (ConfigError, MissingExtraError) as error:
        return None, error


def _with_prior(settings: RunConfig, **changed: object) -> RunConfig:
    """The same settings with other ones of the prior, checked again."""
    if not changed:
        return settings
    table = settings.prior.model_dump() | changed
    prior: Any = type(settings.prior).model_validate(table)
    return settings.model_copy(update={"prior": prior}).at(settings.folder)
