"""Speculative sampling, products of experts, stochastic beams, against enumeration. False alarm 1e-6 a test, one seed.

What they reject: tests/mutants/test_decoding_mutants.py.
"""

from collections.abc import Callable

import pytest

from tests.statistical import decoding_checks as checks


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_engine_keeps_its_guarantee(check: Callable[[int], None]) -> None:
    check(20)
