"""Wrong versions, and the check that must fail on each: a passing test means nothing until its mutants die.

A mutant is a name, the check (the same function that the real test runs: a seed in, AssertionError where it fails), and
the wrong version as a patch. A mutant that dies of another error than AssertionError has not been caught, only broken.
Another room's mutants are another file beside test_sample_mutants.py with its own tuple of Mutant.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from _pytest.mark.structures import ParameterSet

SEEDS = tuple(int(seed) for seed in os.environ.get("CREDENCE_MUTANT_SEEDS", "20").split(","))
"""Seeds that every mutant must die at: CREDENCE_MUTANT_SEEDS=1,2,3 tries others."""


@dataclass(frozen=True)
class Mutant:
    """A wrong version.

    Attributes:
        name: what is wrong.
        check: passes on the right version at this seed, raises AssertionError on the wrong one.
        wrong: puts the wrong version in place; it is taken away again.
    """

    name: str
    check: Callable[[int], None]
    wrong: Callable[[pytest.MonkeyPatch], None]


def params(mutants: tuple[Mutant, ...], long: tuple[str, ...]) -> list[ParameterSet]:
    """The mutants as parameters, those named in `long` marked slow; each such name must exist."""
    assert set(long) <= {mutant.name for mutant in mutants}
    return [pytest.param(m, id=m.name.replace(" ", "_"), marks=[pytest.mark.slow] * (m.name in long)) for m in mutants]


@cache
def passes_when_right(check: Callable[[int], None], seed: int) -> None:
    """Run the check on the right version, once a check and seed; raises what the check raises."""
    check(seed)


def kill(mutant: Mutant, seed: int) -> None:
    """Assert that the check passes on the right version and fails on the mutant."""
    passes_when_right(mutant.check, seed)
    with pytest.MonkeyPatch.context() as patch:
        mutant.wrong(patch)
        try:
            mutant.check(seed)
        except AssertionError:
            return
    raise AssertionError(f"the mutant '{mutant.name}' lives: {mutant.check.__name__} passed at seed {seed}.")
