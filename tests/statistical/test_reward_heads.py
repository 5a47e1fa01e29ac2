"""Learnt rewards: calibrated beliefs, coverage, and what a bootstrapped ensemble does not know."""

from collections.abc import Callable

import pytest
import torch

from credence.belief.reward_posterior import AVERAGED, ENSEMBLE, simulated_coverage
from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.evidence.fitted import Fitted
from credence.evidence.reward_head import Heard, fit
from tests.statistical import reward_checks as checks


# Each check states its false-alarm rate (1e-6); the wrong versions that it rejects are in
# tests/mutants/test_reward_mutants.py.
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda c: c.__name__)
def test_reward_heads(check: Callable[[int], None]) -> None:
    check(30)


def test_laplace_is_too_narrow_where_pairs_are_few() -> None:
    # SCIENCE 6.4: 0.926 at 20 pairs. 300 runs: a share outside [0.85, 0.985] has a chance below 1e-6 if that is so.
    assert 0.85 < checks.covered(31, 20, 300) < 0.985


def said(kind: str, n: int, d: int) -> tuple[Heard, Heard, Fitted]:
    rng = Key(7).generator()
    phi = torch.from_numpy(rng.normal(size=(n + 40, d)))
    value = (torch.from_numpy(rng.logistic(size=n + 40)) + phi[:, 0] > 0).double()
    heard = Heard(kind, phi, value)  # pyright: ignore[reportArgumentType]
    train, rest = heard.take(torch.arange(n)), heard.take(torch.arange(n, n + 40))
    return train, rest, fit(train, torch.ones(d).double())


@pytest.mark.parametrize("kind", ["comparisons", "labels"])
def test_simulated_coverage_finds_laplace_honest_and_the_bootstrap_not(kind: str) -> None:
    # 12 features, 60 opinions, 12 rewards drawn, each at 40 texts. Held to 5 standard errors over rewards (about
    # 0.03 each): Laplace covers its levels but for its own narrowness; resampled heads, which all shrink alike, do not.
    train, rest, fitted = said(kind, 60, 12)
    found = simulated_coverage(train, rest, fitted, Key(2), members=5, runs=12)
    for level, (value, low, high) in found[AVERAGED].items():
        assert low <= value <= high
        assert abs(value - level) < 0.15, level
    assert found[ENSEMBLE][0.95][0] < found[AVERAGED][0.95][0] + 0.02
    again = simulated_coverage(train, rest, fitted, Key(2), members=5, runs=12)
    assert again == found


def test_scores_show_their_coverage_themselves() -> None:
    train, rest, fitted = said("scores", 30, 2)
    with pytest.raises(ConfigError, match="themselves"):
        simulated_coverage(train, rest, fitted, Key(0), members=2, runs=2)
