"""Every engine that draws, against enumeration. False alarm 1e-6 a test, one seed; what they reject: tests/mutants."""

from collections.abc import Callable

import pytest

from tests.statistical import checks


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_engine_keeps_its_guarantee(check: Callable[[int], None]) -> None:
    check(20)
