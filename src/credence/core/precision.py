"""In which format matrix products are taken, where a pass may be less exact than the law that is measured."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def products_in(dtype: torch.dtype | None) -> Generator[None]:
    """Matrix products in this format on every device here, sums and weights as they are; None: all as they are.

    Weights are cast once a block, so a block should be one pass, and one with gradients must not follow one without in
    the same block: torch would hand it the casts that carry none. Tested in tests/contract/test_precision.py.
    """
    with ExitStack() as stack:
        if dtype is not None:
            for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
                stack.enter_context(torch.autocast(device, dtype))
        yield


def products_here() -> torch.dtype | None:
    """The format set by `products_in` for this thread; a new thread starts without one."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
