"""From a run's folder, an exported model or settings to what a conversation needs: prior, policy, evidence."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from credence.core.errors import ConfigError, MissingExtraError, nearest
from credence.core.protocols import Evidence
from credence.evidence.ended import Ended
from credence.evidence.product import Product
from credence.evidence.strength import factors
from credence.prior.load import load
from credence.prior.reshape import Reshaped, reshape
from credence.study import build
from credence.study.config import RunConfig
from credence.study.opinions import Taught, taught_evidence
from credence.study.stored import read_json
from credence.study.toml import load_config

HORIZON = 48
"""Most tokens of a reply where no run says another number."""


@dataclass(frozen=True, eq=False)
class Served:
    """What can be talked to.

    Attributes:
        prior: at its temperature.
        policy: trained on it; None where the prior speaks alone.
        evidence: what the run called good, with the feedback that it was taught; None where it cannot be had.
        config: settings of the run (or the given ones).
        taught: feedback that the policy was trained on, None where it was none.
        source: what to call it on the screen.
        law: fingerprint of the policy's weights, "" without one.
        notes: what the user should know, as (name of a sentence, what to put in) for the surface to word.
    """

    prior: Reshaped
    policy: Reshaped | None
    evidence: Evidence | None
    config: RunConfig
    taught: Taught | None
    source: str
    law: str
    notes: tuple[tuple[str, str], ...] = field(default=())


def find_policy(given: str, runs: Path = Path("runs")) -> Path:
    """The folder of a run or an exported model: as given, or a name under runs/.

    Raises:
        ConfigError: no such folder (with the nearest names), or one without a policy.
    """
    found = next((p for p in (Path(given), runs / given) if p.is_dir()), None)
    if found is None:
        known = sorted(p.name for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
        raise ConfigError(
            f"no policy {given!r}, neither a folder nor under {runs}/.{nearest(given, known)} "
            f"{'Known runs: ' + ', '.join(known) + '.' if known else 'Make one: credence run examples/cheerful.toml'}"
        )
    if (found / "policy/weights.json").exists():
        raise ConfigError(
            f"{found} learnt to choose among answers looked up (policy/weights.json): that law has no words of "
            "its own, so it holds no conversation here. Its dialogues: transcripts.jsonl; ask the knowledge itself: "
            "credence chat --knowledge SOURCE"
        )
    if (found / "policy/config.json").exists() and _kind(found) == "dialogue":
        raise ConfigError(
            f"{found} was trained by `credence dialogue train`: its rewards need reference answers, which a chat has "
            f"not. Talk to the policy without them: --policy {found / 'policy'}"
        )
    if (found / "config.json").exists() or (found / "policy/config.json").exists():
        return found
    raise ConfigError(f"{found} holds no policy (no policy/config.json): the run has not finished, or trained nothing.")


def _kind(folder: Path) -> str:
    """What kind of run left this folder; "" for `credence run`'s own."""
    return str(read_json(folder / "manifest.json").get("kind", "")) if (folder / "manifest.json").exists() else ""


def run_config(folder: Path, config: Path | None = None) -> RunConfig:
    """The settings of a finished run: from its manifest, or from the file that it was started with.

    A manifest names nobody's folders, so a reward in a file of one's own is looked for beside the working directory,
    in examples/ and in the run's folder; `config` says where it really is.

    Raises:
        ConfigError: not a run's folder, or settings of another version.
    """
    if config is not None:
        return load_config(config)
    given = read_json(folder / "manifest.json").get("config")
    try:
        found = RunConfig.model_validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{folder / 'manifest.json'}: {'.'.join(map(str, first['loc']))}: {first['msg']}. The run was made by "
            "another version of credence; give the file that it was started with: --config FILE"
        ) from None
    files = [r.fn.rpartition(":")[0] for r in found.evidence.reward if ".py:" in r.fn]
    places = [Path(), Path("examples"), folder]
    return found.at(next((p for p in places if all((p / f).is_file() for f in files)), Path()))


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits of the weights: the same law, the same digits. Cost: reads them once."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.glob("*.safetensors")):
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
        raise ConfigError(f"the policy of {folder} continues raw text (prior.style = 'raw') and holds no conversation.")
    changed: dict[str, Any] = {"horizon": horizon} if horizon else {}
    changed |= {"device": device} if device else {}
    settings = _with_prior(settings, **changed)
    notes = [("longer", str(horizon))] if horizon and horizon != run_config(folder, config).prior.horizon else []
    prior = build.prior(settings)
    given = settings.prior
    model = load(
        str(folder / "policy"), horizon=given.horizon, system=given.system, style=given.style, device=given.device,
        dtype=getattr(torch, given.dtype),
    )  # fmt: skip
    policy = reshape(model, given.temperature)
    evidence, trouble = _evidence(settings)
    taught = Taught.read(folder)
    if taught is not None:
        extra = taught_evidence(taught, prior)
        evidence = extra if evidence is None else Product((*factors(evidence), extra))
    notes += [("no evidence", trouble)] if trouble else []
    return Served(prior, policy, evidence, settings, taught, str(folder), fingerprint(folder / "policy"), tuple(notes))


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
        raise ConfigError("prior.style = 'raw' continues text and holds no conversation; use 'chat' or 'plain'.")
    prior = build.prior(settings)
    notes = [("prior alone", settings.prior.model)]
    if lang != "en" and settings.prior.model == "smollm2":
        notes.append(("english model", settings.prior.model))
    if config is None and lang != "en":
        return Served(prior, None, Ended(), settings, None, settings.prior.model, "", tuple(notes))
    evidence, trouble = _evidence(settings)
    notes += [("no evidence", trouble)] if trouble else []
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
    base: Any = given.prior.inner
    if model.ends != base.ends or model.codec.encode("a b 你") != base.codec.encode("a b 你"):
        raise ConfigError(
            f"{folder} speaks other tokens than the prior {prior.model!r}, so no log π/π0 exists between them. Name "
            "its own prior: --model FOLDER"
        )
    temperature = float(own.get("temperature") or prior.temperature)
    policy = reshape(model, temperature)
    notes = (("outside a run", prior.model), *(n for n in given.notes if n[0] != "prior alone"))
    return replace(given, policy=policy, source=str(folder), law=fingerprint(folder), notes=notes)


def _evidence(settings: RunConfig) -> tuple[Evidence | None, str]:
    """The evidence, or why there is none: a talk can do without it, and says so."""
    try:
        return build.evidence(settings), ""
    except (ConfigError, MissingExtraError) as error:
        return None, str(error)


def _with_prior(settings: RunConfig, **changed: object) -> RunConfig:
    """The same settings with other ones of the prior, checked again."""
    if not changed:
        return settings
    table = settings.prior.model_dump() | changed
    prior: Any = type(settings.prior).model_validate(table)
    return settings.model_copy(update={"prior": prior}).at(settings.folder)
