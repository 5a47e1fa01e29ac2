"""Every engine that draws, against enumeration. False alarm 1e-6 a test, one seed; what they reject: tests/mutants."""

from collections.abc import Callable

import pytest

from tests.statistical import checks

SLOW = (
    checks.check_importance_proposal,
    checks.check_importance_reshaped,
    checks.check_smc_islands,
    checks.check_smc_proposal,
    checks.check_smc_untwisted,
    checks.check_smc_hard,
    checks.check_rejection,
    checks.check_rejection_log_z,
)
"""Over two seconds each."""


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=check.__name__.removeprefix("check_"), marks=[pytest.mark.slow] * (check in SLOW))
        for check in checks.CHECKS
    ],
)
def test_engine_keeps_its_guarantee(check: Callable[[int], None]) -> None:
    check(20)
