"""Every engine of chains, against enumeration. False alarm 1e-6 a test, one seed; what they reject: tests/mutants."""

from collections.abc import Callable

import pytest

from tests.statistical import chain_checks


@pytest.mark.parametrize("check", chain_checks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_chains_keep_their_guarantee(check: Callable[[int], None]) -> None:
    check(20)
