"""Bandits: regrets of SCIENCE 6.4, calibrated beliefs, contraction, coverage. Rates and powers stand at each check."""

from collections.abc import Callable

import pytest

from tests.statistical import bandit_checks as checks

SEED = 20
CHECKS = (
    checks.check_golden_regrets,
    checks.check_ucb,
    checks.check_beta_ranks,
    checks.check_linear_ranks,
    checks.check_beta_coverage,
    checks.check_logistic_coverage,
    checks.check_contraction,
    checks.check_off_policy_unbiased,
    checks.check_off_policy_coverage,
    checks.check_learnt_policy,
)


# Each check states its false-alarm rate (1e-6); the wrong versions that it rejects are in
# tests/mutants/test_bandit_mutants.py.
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_bandits(check: Callable[[int], None]) -> None:
    check(SEED)
