"""Every test runs with axes and types checked, on one thread, without a network, and with warnings as errors."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs a network would pass here and fail elsewhere
os.environ.setdefault("MPLBACKEND", "Agg")
# CREDENCE_CACHE is left as the user has it: the embedded model is unpacked there once, not once a test run.

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.costs import known

# Before the first import of credence: shapes like Float[Tensor, "R T"] are checked at every call, in tests only.
# Not in study and cli: pydantic and typer check those, and beartype cannot read pydantic's validators (typing.Self).
ROOMS = sorted(p.name for p in (Path(__file__).parents[1] / "src/credence").iterdir() if (p / "__init__.py").exists())
install_import_hook([f"credence.{room}" for room in ROOMS if room not in ("study", "cli")], "beartype.beartype")

QUICK = ("unit", "oracle", "contract", "surface")
QUICK_BELOW, SLOW_FROM = 0.08, 1.2
"""CPU seconds as tests/costs.json has them. The quick part costs a minute of CPU by the one, `make test` its minutes by
the other."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only quick tests are asked for, files of other parts are not even read."""
    here = Path(__file__).parent
    if not config.option.markexpr.startswith("quick") or collection_path == here or here not in collection_path.parents:
        return None
    return True if collection_path.relative_to(here).parts[0] not in QUICK else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests into parts: quick by folder and cost, slow by cost or by name."""
    here, costs = Path(__file__).parent, known()
    for item in items:
        cost = costs.get(item.nodeid, 0.0)
        inside = item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in QUICK
        if cost >= SLOW_FROM:
            item.add_marker(pytest.mark.slow)
        elif inside and cost < QUICK_BELOW:
            item.add_marker(pytest.mark.quick)


def pytest_collection_finish() -> None:
    """One thread; torch is loaded here, since the process that only hands out tests to others has no need of it.

    What was imported stays: without this every collection of garbage walks through torch and transformers again.
    """
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
