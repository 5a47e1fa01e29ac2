"""Conditional SMC, schemes, segments, given twists, two-sided log Z: against enumeration, false alarm 1e-6 a test."""

from collections.abc import Callable

import pytest

from tests.statistical import conditional_checks


@pytest.mark.parametrize("check", conditional_checks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_engine_keeps_its_guarantee(check: Callable[[int], None]) -> None:
    check(20)
