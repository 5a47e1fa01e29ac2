"""What the training loop saves so that a killed stage goes on to the same bytes: weights, moments, the best, facts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Policy
from credence.learn.checkpoint import Checkpoints


@dataclass(frozen=True, eq=False)
class Brought:
    """What a checkpoint brought back; weights and moments are in the policy already.

    Attributes:
        facts: what the loop said of itself when it saved.
        best: the best weights so far; None where they are those that the policy came with.
        replay: what was kept for replay; empty where nothing was.
    """

    facts: Mapping[str, Any]
    best: Mapping[str, Tensor] | None
    replay: Mapping[str, Tensor]


@dataclass(eq=False)
class Saver:
    """The checkpoints of one stage: when one is due, and what is in it.

    Names of tensors: "policy/…" the weights, "adam/…" the optimiser's moments, "best/…" the best weights where they are
    neither the current ones nor those at the start, "replay/…" what is kept for replay. A stage that ended leaves one
    checkpoint, with what it kept only.

    Attributes:
        store: where; None saves nothing.
        every: steps between two.
        origin: what tells this stage from another; a checkpoint of another is refused.
        ended: whether what was loaded had come to its end.
    """

    store: Checkpoints | None
    every: int
    origin: Mapping[str, Any]
    ended: bool = False

    def due(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return self.store is not None and self.every > 0 and step % self.every == 0

    def load(self, policy: Policy) -> Brought | None:
        """Put the newest whole checkpoint into the policy; None where there is none.

        Raises:
            ConfigError: it is of another stage; names what differs.
        """
        found = None if self.store is None else self.store.latest()
        if self.store is None or found is None:
            return None
        refuse_another(self.store.folder, found.state["origin"], self.origin)
        self.ended = bool(found.state["ended"])
        weights, moments, best = (_under(prefix, found.tensors) for prefix in ("policy", "adam", "best"))
        replay = _under("replay", found.tensors)
        if weights:
            policy.restore(weights, moments)
        kept = self.ended or found.state["facts"]["best"] == found.step
        return Brought(found.state["facts"], best or (policy.state() if kept and weights else None), replay)

    def save(
        self,
        step: int,
        policy: Policy,
        best: Mapping[str, Tensor] | None,
        facts: Mapping[str, Any],
        replay: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write what is needed to go on after this step.

        Args:
            step: the last one done.
            policy: with its moments.
            best: the best weights, unless they are the current ones or those at the start.
            facts: any JSON tree.
            replay: what is kept for replay.
        """
        if self.store is None:
            return
        tensors = _named("policy", policy.state()) | _named("adam", policy.moments()) | _named("best", best or {})
        tensors |= _named("replay", replay or {})
        self.store.save(step, tensors, {"origin": dict(self.origin), "ended": False, "facts": dict(facts)})

    def end(self, policy: Policy, moved: bool, facts: Mapping[str, Any]) -> None:
        """Write what the stage leaves: its policy, unless that is the one it came with. It replaces all others."""
        if self.store is None or self.ended:
            return
        state = {"origin": dict(self.origin), "ended": True, "facts": dict(facts)}
        last = Checkpoints(self.store.folder, keep=1)
        last.save(len(facts["history"]) + 1, _named("policy", policy.state()) if moved else {}, state)
        self.ended = True


def origin(stage: str, learner: object, key: Key, steps: int) -> dict[str, Any]:
    """What tells one stage from another: its name, seed, steps, and the learner (a dataclass) with its settings."""
    return {"stage": stage, "seed": key.seed, "steps": steps, "learner": type(learner).__name__, **_settings(learner)}


def _settings(part: object) -> dict[str, Any]:
    """The fields of a dataclass as a JSON tree: choices by value, an engine inside by its own fields, None left out."""
    if not is_dataclass(part):
        return {}
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return {name: _plain(value) for name, value in values if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    name = type(value).__name__ if not callable(value) else getattr(value, "__qualname__", type(value).__name__)
    return {"is": name, **_settings(value)} if is_dataclass(value) else name


def refuse_another(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another origin.

    Raises:
        ConfigError: names what differs.
    """
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if names:
        each = ", ".join(f"{name} was {was.get(name)!r} and is {now.get(name)!r}" for name in names)
        raise ConfigError(
            f"the checkpoints in {folder} are of other settings: {each}. Set them back, or give another folder."
        )


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those under a prefix, copied: the file may go away."""
    return {n.removeprefix(f"{prefix}/"): v.clone() for n, v in tensors.items() if n.startswith(f"{prefix}/")}
