"""What this machine can do, looked at before it is relied on."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


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
