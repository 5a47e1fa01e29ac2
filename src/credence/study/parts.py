"""What a run's finished parts found, kept on the disk until the run is done: a resumed run takes it from there."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from credence.core.keys import Key
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts
from credence.learn.checkpoint import Checkpoint, Checkpoints
from credence.study.live import Telling

T = TypeVar("T")
Packed = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and a JSON tree."""


class Parts:
    """runs/<name>/checkpoints/: a folder a part. Draws follow from their keys, but drawing them again takes minutes.

    Attributes:
        folder: of all parts.
        keep: checkpoints that a stage of training keeps.
        resumed: whether the run was begun by another process.
    """

    def __init__(self, folder: Path, keep: int, live: Telling, resumed: bool) -> None:
        self.folder, self.keep, self.live, self.resumed = folder, keep, live, resumed

    def checkpoints(self, name: str) -> Checkpoints:
        """Of a stage of training."""
        return Checkpoints(self.folder / name, self.keep)

    def kept(
        self,
        name: str,
        make: Callable[[], T],
        pack: Callable[[T], Packed],
        unpack: Callable[[Checkpoint], T],
        sound: Callable[[T], bool] = lambda made: True,
    ) -> T:
        """What `make` gives: from the disk where it is there and whole, else made, and kept for another time.

        What is not `sound` is not kept: it would come out otherwise once its cause is mended.

        Raises:
            BackendError: it cannot be written.
        """
        store = Checkpoints(self.folder / name, keep=1)
        found = store.latest()
        for warning in store.warnings:
            self.live.say(f"  {warning} It is made again.", "yellow")
        if found is not None:
            self.live.skip(1.0)
            self.live.say("  taken from the disk", "dim")
            return unpack(found)
        made = make()
        if sound(made):
            store.save(0, *pack(made))
        return made

    def draws(self, name: str, prompts: Prompts, make: Callable[[], Draws]) -> Draws:
        """Draws on these prompts."""
        return self.kept(name, make, pack_draws, lambda found: unpack_draws(found, prompts))

    def packed(self, name: str, make: Callable[[], Packed]) -> Packed:
        """Tensors by name, and a JSON tree."""
        return self.kept(name, make, lambda made: made, lambda found: (dict(found.tensors), dict(found.state)))

    def clear(self) -> None:
        """The run is done: its folder holds all that is needed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def pack_completions(rows: Completions) -> Packed:
    """Completions as tensors."""
    tensors = {"ids": rows.ids, "mask": rows.mask, "ended": rows.ended, "prompt": rows.prompt}
    return tensors | ({} if rows.turn is None else {"turn": rows.turn}), {"close_calls": rows.close_calls}


def unpack_completions(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Completions:
    """The inverse."""
    own = {name: tensors[name] for name in ("ids", "mask", "ended", "prompt")}
    return Completions(**own, turn=tensors.get("turn"), close_calls=state["close_calls"])


def pack_draws(draws: Draws) -> Packed:
    """Draws as tensors; their prompts are those of the config."""
    tensors, state = pack_completions(draws.completions)
    tensors |= {name: getattr(draws, name) for name in ("log_q", "log_w", "log_z", "log_z_se")}
    tensors |= {f"info/{name}": value for name, value in draws.info.items()}
    tensors |= {f"readings/{name}": value for name, value in draws.readings.items()}
    cost = [draws.cost.tokens, draws.cost.seconds]
    return tensors, {
        **state,
        "status": [s.name for s in draws.status],
        "cost": cost,
        "key": draws.key.seed,
        "info": list(draws.info),
        "readings": list(draws.readings),  # their order counts: the first is what reports call the reward
    }


def unpack_draws(found: Checkpoint, prompts: Prompts) -> Draws:
    """The inverse."""
    tensors, state = found.tensors, found.state
    return Draws(
        prompts,
        unpack_completions(tensors, state),
        **{name: tensors[name] for name in ("log_q", "log_w", "log_z", "log_z_se")},
        status=tuple(Status[name] for name in state["status"]),
        cost=Cost(*state["cost"]),
        key=Key(state["key"]),
        info={name: tensors[f"info/{name}"] for name in state["info"]},
        readings={name: tensors[f"readings/{name}"] for name in state["readings"]},
    )
