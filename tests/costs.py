"""What each test costs: `scripts/check costs` measures it, tests/conftest.py sorts the tests by it into their parts.

CPU seconds of the test with its fixtures and the processes that it started, on one thread; the first test of a file
pays for what the others share. Loaded as a plugin it writes them into tests/costs.json, of new tests alone by

    .venv/bin/python -m pytest -p tests.costs tests/unit/test_new.py
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parent / "costs.json"
TOLD = 0.05
"""CPU seconds below which a test is left out of the file: it is quick wherever it runs."""

_spent: dict[str, float] = {}


def known() -> dict[str, float]:
    """CPU seconds by test; what is not there costs next to nothing, or is new."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Measured around fixtures, call and tearing down."""
    item.stash[_BEGAN] = _cpu()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """The report carries the cost to the process that writes the file."""
    report = yield
    if call.when == "teardown":
        report.user_properties.append(("cpu", _cpu() - item.stash[_BEGAN]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that gathers the reports."""
    if report.when == "teardown":
        _spent[report.nodeid] = float(dict(report.user_properties).get("cpu", 0.0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tests that were not run keep what they had, unless their file is gone. Not in a worker of xdist."""
    if not hasattr(session.config, "workerinput"):
        root = FILE.parents[1]
        kept = {name: cpu for name, cpu in known().items() if (root / name.split("::")[0]).exists()}
        found = {**kept, **{name: round(cpu, 2) for name, cpu in _spent.items()}}
        told = {name: cpu for name, cpu in sorted(found.items()) if cpu >= TOLD}
        FILE.write_text(json.dumps(told, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


_BEGAN: pytest.StashKey[float] = pytest.StashKey()
