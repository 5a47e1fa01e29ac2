"""`import credence`: few public names, each with its docstring, none loaded before it is used."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import credence

ROOT = Path(__file__).parents[2]


def test_the_front_door_is_small_sorted_and_complete() -> None:
    assert 12 <= len(credence.__all__) <= 24
    assert len(set(credence.__all__)) == len(credence.__all__)
    assert dir(credence) == sorted([*credence.__all__, "__version__"])


@pytest.mark.parametrize("name", credence.__all__)
def test_every_public_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(credence, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert not inspect.ismodule(value), f"{name} is a module: a room's name shadows the public name"


def test_what_a_public_class_says_it_takes_is_what_it_takes() -> None:
    told = 0
    for name in credence.__all__:
        value = getattr(credence, name)
        text = inspect.getdoc(value) or ""
        if not inspect.isclass(value) or "Args:" not in text:
            continue
        part = text.partition("Args:\n")[2].partition("\n\n")[0]
        named = re.findall(r"^    (\w+):", part, re.MULTILINE)
        assert set(named) <= set(inspect.signature(value).parameters), name
        told += len(named)
    assert told > 10


def test_an_unknown_name_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="'Posterior'"):
        credence.Posteriour  # noqa: B018 - the access is the test
    assert isinstance(credence.__version__, str)


def test_a_star_import_of_the_light_names_costs_no_torch() -> None:
    # Rejects: `from credence.core.types import Draws` at the top of __init__.py; Key needs numpy only.
    code = "import sys; from credence import Key, CredenceError; Key(1).fold('a'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")
