"""A learnt value as critic and proposal, held to unbiasedness; the exact part is in tests/oracle/test_twist.py."""

import pytest

from tests import valuing


@pytest.mark.parametrize("shape", ["token", "state"])
def test_a_wrong_value_moves_no_target(shape: str) -> None:
    """Values at random, as critic and as proposal: E[Ẑ f] = Z E_p*[f]. 800 islands, six functions, z-test at 1e-6 in
    all (|z| < 5.3), seed fixed.

    Power: at this seed, as at 2, 3 and 4, rejects the twist in the final weight, tests/mutants/test_value_mutants.py.
    """
    valuing.check_twist_moves_no_target(5, shape)
