"""Another law on the prior's own replies, by name: a learnt policy, an exported model, any language model."""

from pathlib import Path
from typing import Any

import torch

from credence.core.errors import ConfigError
from credence.core.protocols import StepPrior
from credence.prior.guided import GuidedLM
from credence.prior.guided_file import holds_guide, load_guide
from credence.prior.hf import LMPrior
from credence.prior.load import NAMES, load
from credence.prior.reshape import Reshaped, reshape
from credence.study.job import Job
from credence.study.served import find_policy
from credence.study.stored import read_json
from credence.study.values import VALUES


def law(given: str, job: Job, prior: StepPrior, temperature: float | None = None) -> StepPrior:
    """The law that `given` names, on the prior's own tokens, horizon and device.

    A value of prefixes that a run has learnt is the policy that it guides, on the prior itself. A run's policy and an
    exported one speak at the temperature that they were saved with (generation_config.json), any other model at the
    job's. Its prompts are the prior's, already rendered: its own system message is not used.

    Args:
        given: a run's folder or name, a model's folder (first beside the config file, then here), or a hub id.
        job: whose prior's settings hold for it too.
        prior: what it must share its tokens with.
        temperature: in place of its own.

    Raises:
        ConfigError: no such thing, or other tokens than the prior's.
        BackendError: its files cannot be read.
    """
    if (valued := _valued(given, job.folder)) is not None:
        guided = load_guide(valued, prior)
        return guided if temperature is None else reshape(guided, temperature / guided.temperature)
    folder = weights_folder(given, job.folder)
    settings = job.prior
    model = load(
        given if folder is None else str(folder), horizon=settings.horizon, system=settings.system,
        style=settings.style, device=settings.device, dtype=getattr(torch, settings.dtype),
    )  # fmt: skip
    _same_tokens(given, model, prior)
    return reshape(model, temperature or _temperature(folder) or settings.temperature)


def guide(given: str, job: Job, prior: StepPrior) -> GuidedLM:
    """The value of prefixes that `given` names: a run that learnt one, or its folder.

    Raises:
        ConfigError: none is there, or it was learnt on another prior or at another temperature.
        BackendError: its files cannot be read.
    """
    valued = _valued(given, job.folder)
    if valued is None:
        raise ConfigError(
            f'no value of prefixes {given!r}: name a run whose train.method was "value", or the folder that holds one.'
        )
    return load_guide(valued, prior)


def _valued(given: str, beside: Path) -> Path | None:
    """Where the value of prefixes lies, in a run or by itself; None where there is none."""
    places = [inside for place in _places(given, beside) for inside in (place / VALUES, place)]
    return next((place for place in places if holds_guide(place)), None)


def _places(given: str, beside: Path) -> tuple[Path, ...]:
    return beside / given, Path(given), Path("runs") / given


def weights_folder(given: str, beside: Path) -> Path | None:
    """The folder that holds the weights; None for a name that the loader itself knows or fetches.

    Raises:
        ConfigError: no such thing.
    """
    here = [place for place in _places(given, beside) if place.is_dir()]
    if not here and (given in NAMES or ("/" in given and not given.startswith(("runs/", ".", "/", "~")))):
        return None
    found = find_policy(str(here[0]) if here else given)
    return found / "policy" if (found / "policy").is_dir() else found


def _temperature(folder: Path | None) -> float | None:
    """What an exported policy says of itself."""
    if folder is None or not (folder / "generation_config.json").exists():
        return None
    own: Any = read_json(folder / "generation_config.json").get("temperature")
    return float(own) if own else None


def _same_tokens(given: str, model: LMPrior, prior: StepPrior) -> None:
    base: Any = prior
    while isinstance(base, Reshaped):
        base = base.inner
    if not isinstance(base, LMPrior) or model.codec.tokenizer.get_vocab() != base.codec.tokenizer.get_vocab():
        raise ConfigError(
            f"{given!r} reads other tokens than the prior {getattr(base, 'name', type(base).__name__)!r}, so no log "
            "π0/q exists between them. Name a policy that was trained from it, or a model of its family."
        )
