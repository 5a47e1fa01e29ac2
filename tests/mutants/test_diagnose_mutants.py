"""Wrong two-sample tests and wrong calibration; each must fail the very check that the right one passes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from credence.core.types import Draws
from credence.diagnose import calibration, two_sample
from credence.sample.importance import Importance
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical.test_calibration import check_coverage, check_sbc
from tests.statistical.test_two_sample import check_false_alarms, check_mmd_unbiased

Patch = pytest.MonkeyPatch


def diagonal_left_in(patch: Patch) -> None:
    """A row is compared with itself: the estimate is never below 0, and too high."""

    def wrong(kernel: torch.Tensor, side: Any) -> float:
        x = torch.from_numpy(np.asarray(side)).double()
        y = 1 - x
        m, n = float(x.sum()), float(y.sum())
        return float(x @ kernel @ x) / m**2 + float(y @ kernel @ y) / n**2 - 2 * float(x @ kernel @ y) / (m * n)

    patch.setattr(two_sample, "mmd2", wrong)


def judged_on_training_rows(patch: Patch) -> None:
    """The classifier is tested on what it was trained on."""
    right = two_sample._split
    patch.setattr(two_sample, "_split", lambda side, least, key: (right(side, least, key)[1],) * 2)


def likelihood_twice(patch: Patch) -> None:
    """The evidence is counted again, as when a reference moves while the old evidence stays."""
    right = calibration.observation
    patch.setattr(calibration, "observation", lambda channel, o: right(channel, o) ** 2.0)


def ties_above(patch: Patch) -> None:
    """A draw equal to the truth never counts as below it."""
    patch.setattr(calibration, "ranks", lambda truth, draws, key: (draws < truth[:, None]).sum(1))


def half_the_error(patch: Patch) -> None:
    """The standard error of log Z is halved."""
    right = Importance.draw

    def wrong(self: Importance, *given: Any) -> Draws:
        draws = right(self, *given)
        return replace(draws, log_z_se=draws.log_z_se / 2)

    patch.setattr(Importance, "draw", wrong)


MUTANTS: Sequence[Mutant] = (
    Mutant("diagonal left in MMD", check_mmd_unbiased, diagonal_left_in),
    Mutant("classifier judged on its training rows", check_false_alarms, judged_on_training_rows),
    Mutant("likelihood counted twice", check_sbc, likelihood_twice),
    Mutant("ties always above", check_sbc, ties_above),
    Mutant("half the standard error", check_coverage, half_the_error),
)
LONG = (
    "classifier judged on its training rows",
    "likelihood counted twice",
    "ties always above",
    "half the standard error",
)
"""Left to the slow part: each takes some seconds a seed."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(tuple(MUTANTS), LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
