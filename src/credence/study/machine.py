"""What this machine can do, looked at before it is relied on."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch

PAYS = 0.8
"""Share of float32's time that bfloat16 products must stay under to be used."""


@contextmanager
def fast_products() -> Generator[str]:
    """Let float32 matrix products run at "medium" precision where that costs no accuracy here; yields what was set.

    On some processors "medium" is up to three times faster with float32's own error, on others it rounds to bfloat16:
    so one product of a model's size is compared with float64 first. What was set before comes back at the end.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    grid = torch.arange(512 * 576, dtype=torch.float64).view(512, 576)
    left, right = torch.sin(grid * 0.7), torch.cos(grid.T[:, :256] * 1.3)
    exact = left @ right
    plain = float((left.float() @ right.float() - exact).abs().max())
    torch.set_float32_matmul_precision("medium")
    fast = float((left.float() @ right.float() - exact).abs().max())
    if fast > 8 * plain:
        torch.set_float32_matmul_precision("highest")
    try:
        yield torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)


def training_products(asked: str, device: str) -> torch.dtype | None:
    """The format of a training pass's matrix products: bfloat16 where it is asked for and faster here, else None.

    Processors without bfloat16 units take up to four times as long as in float32, so both are timed first, on a product
    of the embedded model's size; other devices than a CPU are taken at their word.
    """
    if asked != "bfloat16":
        return None
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    left, right = torch.ones(1024, 576), torch.ones(576, 1536)
    plain = min(_seconds(left, right) for _ in range(5))
    half = min(_seconds(left.bfloat16(), right.bfloat16()) for _ in range(5))
    return torch.bfloat16 if half < PAYS * plain else None


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    began = time.perf_counter()
    torch.matmul(left, right)
    return time.perf_counter() - began
