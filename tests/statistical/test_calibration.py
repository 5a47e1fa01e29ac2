"""Simulation-based calibration and coverage of log Z on enumerable priors.

The checks are functions of a seed; tests/mutants/test_diagnose_mutants.py runs them on wrong versions.
"""

import math
from collections.abc import Callable

import pytest

from credence.core.keys import Key
from credence.diagnose.calibration import ALARM, log_z_coverage, sbc
from credence.sample.importance import Importance
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from credence.testing import random_language
from tests.toys import code, toy_a, toy_prior, toy_prompts


def channel(text: tuple[int, ...]) -> list[float]:
    """p(o|x) of three observations, none of them like another."""
    raw = [3.0 * math.sin(1 + 0.7 * code(text)), 0.4, -2.0 * math.cos(2.0 * code(text))]
    top = math.log(sum(math.exp(x) for x in raw))
    return [x - top for x in raw]


def statistic(text: tuple[int, ...]) -> float:
    """Of what the observation tells most about; ties are seldom."""
    return math.sin(1 + 0.7 * code(text))


def check_sbc(seed: int) -> None:
    # 6,000 runs, 9 draws each, chi-square of 10 ranks, false-alarm rate 1e-6, seed fixed.
    # Power: rejects the likelihood counted twice, and ties never broken: tests/mutants/test_diagnose_mutants.py.
    engine = Rejection(most=2000)
    found = sbc(toy_prior(), toy_prompts(), channel, engine, statistic, Key(seed), 6000, 9)
    assert found.p >= ALARM, found


def check_sbc_weighted(seed: int) -> None:
    # As above on a random language with weighted draws resampled from 64: their bias is far below what 1,000 runs see.
    prior = random_language(3, 3, 8)
    prompts = prior.codec.prompts([(1,)])
    found = sbc(prior, prompts, channel, Importance(), statistic, Key(seed), 1000, 4, effort=64)
    assert found.p >= ALARM, found


def check_coverage(seed: int) -> None:
    # 300 intervals of 95 % from 100 draws each, binomial 99 % band: a right level fails at 1 % of seeds, ours is fixed.
    # Power: rejects a standard error halved.
    found = log_z_coverage(Importance(), toy_a(), toy_prompts(), Key(seed), 300, 100)
    assert found.ok, found.meaning


@pytest.mark.parametrize("check", [check_sbc, check_sbc_weighted, check_coverage])
def test_calibration(check: Callable[[int], None]) -> None:
    check(20)


def test_a_wide_error_from_few_islands_is_seen() -> None:
    """Two islands of four particles: ± from two numbers covers far too rarely, and the helper says so."""
    found = log_z_coverage(SMC(4, 2, 0.9), toy_a(), toy_prompts(), Key(1), 300, 1)
    assert not found.ok
    assert "too rarely" in found.meaning
