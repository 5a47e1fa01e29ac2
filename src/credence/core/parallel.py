"""Independent pieces of work on several cores: one thread a piece, instead of several threads an operation."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def spread(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run jobs that need no gradient, as many at once as torch has threads; results in the order of the jobs.

    A token's matrix products are too small to be shared out: two threads an operation gained a tenth here, two pieces
    side by side nearly a factor of two, and nobody spins. Torch releases the interpreter's lock inside its operations.
    """
    threads = torch.get_num_threads()

    def quietly(job: Callable[[], T]) -> T:
        with torch.no_grad():  # grad mode belongs to a thread
            return job()

    if threads < 2 or len(jobs) < 2:
        return [quietly(job) for job in jobs]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(threads, len(jobs))) as pool:
            return list(pool.map(quietly, jobs))
    finally:
        torch.set_num_threads(threads)
