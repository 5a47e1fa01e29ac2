"""The error tree is what its picture says, and each class is also the standard library's."""

import inspect

import pytest

from credence.core import errors

PARENTS = {
    "ConfigError": ValueError,
    "ShapeError": ValueError,
    "ContractError": TypeError,
    "DegeneracyError": ArithmeticError,
    "BackendError": RuntimeError,
    "MissingExtraError": ImportError,
}


def classes() -> dict[str, type]:
    return {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)}


def test_the_tree_holds_the_root_and_six_leaves() -> None:
    assert set(classes()) == {"CredenceError", *PARENTS}


@pytest.mark.parametrize(("name", "builtin"), PARENTS.items())
def test_each_error_is_ours_and_the_standard_librarys(name: str, builtin: type) -> None:
    assert issubclass(classes()[name], errors.CredenceError)
    assert issubclass(classes()[name], builtin)
    assert f"{name}({builtin.__name__})" in (errors.__doc__ or "")


def test_nearest_names_only_what_is_close() -> None:
    assert errors.nearest("temprature", ["temperature", "seed"]) == " Did you mean 'temperature'?"
    assert errors.nearest("xyz", ["temperature"]) == ""
