"""Scores lie where they must, whatever is stated."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from credence.core.keys import Key
from credence.diagnose.scoring_rules import reliability, score_labels

LAWS = settings(max_examples=40, deadline=None, derandomize=True)


@LAWS
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(2, 4), st.integers(0, 30))
def test_bounds(seed: int, n: int, k: int, sharp: int) -> None:
    rng = Key(seed).generator()
    law = torch.log_softmax(sharp * torch.from_numpy(rng.normal(size=(n, k))), 1)
    truth = torch.from_numpy(rng.integers(k, size=n))
    found = score_labels({"a": law}, truth, Key(seed), "a", resamples=50)["a"]
    for name, most in (("accuracy", 1.0), ("log_loss", math.inf), ("brier", 2.0), ("ece", 1.0)):
        value, low, high = getattr(found, name)
        assert -1e-12 <= low <= value <= high <= most + 1e-12, name
    assert sum(b.count for b in reliability(law, truth)) == n


@LAWS
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_the_truth_itself_scores_best(seed: int, n: int) -> None:
    rng = Key(seed).generator()
    truth = torch.from_numpy(rng.integers(3, size=n))
    law = torch.log_softmax(200.0 * torch.nn.functional.one_hot(truth, 3).double(), 1)
    found = score_labels({"a": law}, truth, Key(1), "a", resamples=20)["a"]
    assert found.accuracy[0] == 1
    assert found.log_loss[0] < 1e-9
    assert found.brier[0] < 1e-9
    assert found.ece[0] < 1e-9
