"""The package as a whole: every module imports, the front door is light, the rooms open one way."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

from importlinter.cli import lint_imports

import credence

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(credence.__path__, "credence.") if not m.name.endswith("__main__")]


def test_every_module_imports_and_keeps_the_promise_of_its_all() -> None:
    found = modules()
    assert len(found) > 25, found  # a walk that finds nothing passes everything
    for name in found:
        module = importlib.import_module(name)
        missing = [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)]
        assert not missing, f"{name}.__all__ names what is not there: {missing}"


def test_the_front_door_exports_what_it_lists() -> None:
    for name in getattr(credence, "__all__", ()):
        assert getattr(credence, name) is not None
        assert name in dir(credence)


def test_importing_credence_and_its_errors_costs_no_torch() -> None:
    # Wrong version this rejects: an eager `from credence.core.types import ...` in credence/__init__.py.
    code = (
        "import sys, credence, credence.core.errors; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert done.stdout.strip() == "[]"


def test_rooms_open_one_way() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0
