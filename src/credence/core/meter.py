"""How many tokens went through language models, counted at the one door to a model's body: for every engine alike."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class Meter:
    """What passed while it was open.

    Attributes:
        forward: positions of forward passes: tokens of prompts and replies, and what only pads a batch, because it is
            computed all the same.
        backward: those of backward passes, in forward passes: 2 a position where the weights are trained, one product
            for the gradient of the states and one for that of the weights; 1 where only adapters or a head are.
    """

    forward: int = 0
    backward: int = 0

    @property
    def tokens(self) -> int:
        """Model tokens: forward and backward together."""
        return self.forward + self.backward


_open: list[Meter] = []
_lock = threading.Lock()
"""Pieces of work on several threads report to the meters of the whole process."""


@contextmanager
def metered() -> Generator[Meter]:
    """Count what goes through any model until the block ends; they nest. Tested in tests/unit/test_meter.py."""
    meter = Meter()
    with _lock:
        _open.append(meter)
    try:
        yield meter
    finally:
        with _lock:
            _open.remove(meter)


def passed(forward: int, backward: int = 0) -> None:
    """Tell every open meter of one pass."""
    if not _open:
        return
    with _lock:
        for meter in _open:
            meter.forward += forward
            meter.backward += backward
