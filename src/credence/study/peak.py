"""The most memory that a piece of work needed, where the system can be asked anew for each piece."""

import ctypes
import gc
from pathlib import Path

import torch

_HIGH = "VmHWM:"


class Peak:
    """Begins anew when it is made; `mib` says the largest since then.

    On a CPU the resident memory of the whole process, model included: Linux lets a process reset its high-water mark.
    On a GPU what torch allocated there. Tested in tests/unit/test_peak.py.

    Args:
        device: of the model.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        _give_back()
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self.known = True
        except OSError:
            self.known = False

    @property
    def mib(self) -> float | None:
        """MiB; None where the system keeps one mark for the life of a process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        if not self.known:
            return None
        try:
            lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return None
        found = [line.split()[1] for line in lines if line.startswith(_HIGH)]
        return int(found[0]) / 1024 if found else None


def _give_back() -> None:
    """What an earlier piece of work freed goes back to the system, where its C library can be asked: else it counts."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # another C library than glibc
        return
