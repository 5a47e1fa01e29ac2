"""What an update rests on, and whether one that was begun rests on the same: none counts twice, none is left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError
from credence.dialogue.feedback import FeedbackStore, Rating
from credence.study.config import RunConfig
from credence.study.folder import MANIFEST
from credence.study.job import LongJob
from credence.study.opinions import FILE, FeedbackSettings, ratings_print
from credence.study.resumption import reward_files
from credence.study.stored import read_json

KIND = "update"
ANEW = "the same command without --resume learns all ratings that stand, from the prior, in another folder"
"""How to begin an update anew."""


@dataclass(frozen=True)
class Budget:
    """How much is spent; the defaults end in some minutes on two cores for a handful of rated prompts.

    Attributes:
        draws: prior draws a context, for forward KL and the ruler.
        epochs: of forward KL.
        steps: of REINFORCE.
        prompts: contexts a step.
        group: replies a context and step.
        lr: step size.
        measured: policy draws a context, for the ruler.
    """

    draws: int = 48
    epochs: int = 3
    steps: int = 12
    prompts: int = 4
    group: int = 8
    lr: float = 3e-4
    measured: int = 48


IDLE = {"name": True, "track": True, "train": {"keep": True, "checkpoint_every": True}}
"""Settings that move nothing that is learnt: who is told, and what is kept on the way."""

FAST = Budget(draws=16, epochs=2, steps=4, group=4, measured=16)


@dataclass(frozen=True, eq=False)
class Basis:
    """All that an update depends on, besides the prior's weights.

    Attributes:
        ratings: that stand, in the order they came.
        config: the prior, its evidence, and how a policy is built on it.
        settings: how ratings become nats.
        budget: how much is spent.
    """

    ratings: tuple[Rating, ...]
    config: RunConfig
    settings: FeedbackSettings
    budget: Budget

    @property
    def digits(self) -> str:
        """A fingerprint of it: the same, nothing new to learn."""
        config = self.config.model_dump(mode="json", exclude=IDLE)
        files = reward_files(self.config.evidence.reward, self.config.folder)
        return ratings_print(self.ratings, asdict(self.settings), [config, asdict(self.budget), files])

    def told(self) -> dict[str, Any]:
        """For a manifest, which holds no word that anyone said: each rating is a hash."""
        each = [ratings_print([r]) for r in self.ratings]
        return {"ratings": each, "settings": asdict(self.settings), "budget": asdict(self.budget)}

    def refuse_another(self, place: Path, before: Mapping[str, Any]) -> None:
        """Refuse to go on with an update that rests on other ratings or options.

        Args:
            place: its folder.
            before: its manifest.

        Raises:
            ConfigError: says how many ratings came and went, or which options differ, and what to do.
        """
        was, now = before.get("origin", {}).get("update", {}), self.told()
        came, went = _differ(was.get("ratings", []), now["ratings"])
        if came or went or was.get("ratings") != now["ratings"]:
            moved = [f"{_count(came)} added" * bool(came), f"{_count(went)} taken back or replaced" * bool(went)]
            told = " and ".join(filter(None, moved)) or "they stand in another order"
            raise ConfigError(
                f"{place} was begun with {len(was.get('ratings', []))} ratings, and since then {told}. What is on the "
                f"disk was learnt from those of then, and an update never mixes two sets: {ANEW}."
            )
        changes = [
            f"{name} was {was.get(group, {}).get(name)!r} and is {value!r}"
            for group in ("settings", "budget")
            for name, value in now[group].items()
            if was.get(group, {}).get(name) != value
        ]
        if changes:
            hint = " (--fast is a budget)" if was.get("budget") != now["budget"] else ""
            raise ConfigError(
                f"{place} was begun with other options: {'; '.join(changes)}{hint}. Set them back to resume it; or "
                f"begin anew: {ANEW}."
            )


def _differ(was: Sequence[str], now: Sequence[str]) -> tuple[int, int]:
    """How many of `now` are not in `was`, and the other way round."""
    return sum((Counter(now) - Counter(was)).values()), sum((Counter(was) - Counter(now)).values())


def _count(n: int) -> str:
    return "1 was" if n == 1 else f"{n} were"


def learnt_before(store: FeedbackStore, digits: str, file: str) -> Path | None:
    """The folder of an update that rested on the same, and whose policy/`file` is still there."""
    places = (Path(done.folder) for done in reversed(store.refits()) if done.fingerprint == digits)
    return next((p for p in places if (p / "policy" / file).exists() and (p / FILE).exists()), None)


def folders(config: LongJob, runs: Path = Path("runs")) -> tuple[Path | None, Path]:
    """The latest of runs/<name>-feedback-<k>, if there is one, and the first that is free after it."""
    name, k = config.name.partition("-feedback-")[0], 1
    while (runs / f"{name}-feedback-{k}").exists():
        k += 1
    return (runs / f"{name}-feedback-{k - 1}" if k > 1 else None), runs / f"{name}-feedback-{k}"


def manifest_of(place: Path | None) -> dict[str, Any]:
    """What an update's folder says of itself; empty where it is none."""
    if place is None or not (place / MANIFEST).is_file():
        return {}
    found = read_json(place / MANIFEST)
    return found if found.get("kind") == KIND else {}


def learnt_from(place: Path, digits: str) -> bool:
    """Whether this folder holds, whole, what was learnt from just this."""
    if not ((place / "policy/config.json").exists() and (place / FILE).exists()):
        return False
    return manifest_of(place).get("status") == "done" and read_json(place / FILE).get("fingerprint") == digits
