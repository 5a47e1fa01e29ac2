"""Looks at control on its way: policies kept and told, and all that is needed to go on from one of them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.learn import resume
from credence.learn.checkpoint import Checkpoint, Checkpoints
from credence.learn.world import World


@runtime_checkable
class Watcher(Protocol):
    """Told of every look, once, as soon as every run has passed it."""

    def begin(self, log_pi: Float[Tensor, "n R S A"]) -> None:
        """Before the first step: looks that a checkpoint brought back, none where learning starts."""
        ...

    def look(self, log_pi: Float[Tensor, "R S A"]) -> None:
        """The next one."""
        ...


class Looks:
    """Policies of R runs at N numbers of steps.

    A checkpoint is numbered by the looks that every run has passed, and holds the policies kept so far beside whatever
    its engine needs to go on. Tested in tests/unit/test_looks.py.

    Args:
        steps: increasing numbers of steps.
        log_prior: log q(a|s), nats.
        world: learnt in.
        origin: what tells this call from another one; a checkpoint of another is refused.
        watcher: told of every look.
        tick: told how far the run is, 0 to 1.
        store: of checkpoints; None saves nothing.
        every: looks between two checkpoints; one is always written at the last look. 0: only there.

    Raises:
        ShapeError: steps that do not increase, or a prior of another world.

    Cost: N × R × S × A numbers in memory, and as many in a checkpoint.
    """

    def __init__(
        self, steps: Sequence[int], log_prior: Float[Tensor, "S A"], world: World, runs: int,
        origin: Mapping[str, Any], watcher: Watcher | None, tick: Callable[[float], None],
        store: Checkpoints | None, every: int,
    ) -> None:  # fmt: skip
        check_looks(steps, log_prior, world)
        prior = hashlib.sha256(log_prior.contiguous().numpy().tobytes()).hexdigest()[:16]
        self.origin = {**origin, "looks": list(steps), "runs": runs, "prior": prior}
        self.steps, self.watcher, self.tick, self.store, self.every = tuple(steps), watcher, tick, store, every
        self.kept = torch.zeros(len(steps), runs, *log_prior.shape, dtype=torch.float64)
        self.passed, self.marks = 0, torch.tensor(steps)

    def bring_back(self) -> Checkpoint | None:
        """The newest whole checkpoint, its looks put back; None where learning starts.

        Raises:
            ConfigError: it is of another call; names what differs.
        """
        found = None if self.store is None else self.store.latest()
        if self.store is not None and found is not None:
            resume.refuse_another(self.store.folder, found.state["origin"], self.origin)
            self.kept, self.passed = found.tensors["kept"].clone(), found.step
        if self.watcher is not None:
            self.watcher.begin(self.kept[: self.passed])
        return found

    def reach(self, passed: int) -> bool:
        """Every run has passed so many looks; whether a checkpoint is due."""
        before, self.passed = self.passed, passed
        if self.watcher is not None:
            for i in range(before, passed):
                self.watcher.look(self.kept[i])
        last = passed == len(self.steps)
        return self.store is not None and passed > before and (
            last or (self.every > 0 and passed // self.every > before // self.every)
        )  # fmt: skip

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write what is needed to go on.

        Raises:
            BackendError: it cannot be written; those from before stay.
        """
        if self.store is not None:
            self.store.save(self.passed, {**tensors, "kept": self.kept}, {**state, "origin": self.origin})


def origin(engine: object, name: str, key: Key, beta: float, discount: float, last: int) -> dict[str, Any]:
    """What tells one call from another, besides the looks and the prior."""
    return {**resume.origin(name, engine, key, last), "beta": beta, "discount": discount}


def check_looks(looks: Sequence[int], log_prior: Tensor, world: World) -> None:
    """Refuse looks that do not increase, and a prior of another world.

    Raises:
        ShapeError: says what does not fit.
    """
    if not looks or looks[0] < 0 or any(a >= b for a, b in pairwise(looks)):
        raise ShapeError(f"looks = {list(looks)}: increasing numbers of steps are needed, from 0 on.")
    if log_prior.shape != (world.states, world.actions):
        raise ShapeError(
            f"the prior is a table of {tuple(log_prior.shape)}, and the world has {world.states} states and "
            f"{world.actions} actions."
        )
