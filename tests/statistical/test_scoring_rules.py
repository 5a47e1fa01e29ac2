"""Intervals of scores hold the truth as often as they say, of a calibrated classifier and of one that is too sure."""

import math

import numpy as np
import pytest
import torch

from credence.core.keys import Key
from credence.diagnose.scoring_rules import calibration_error, score_labels

SETS, TEXTS = 250, 100
NAMES = ("accuracy", "log_loss", "brier", "ece", "against")


def drawn(count: int, power: float, rng: np.random.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Labels of log-odds z ~ N(0, 1.5²), and classifiers that state them to a power, and to the power ½."""
    z = rng.normal(size=count) * 1.5
    truth = torch.from_numpy((rng.random(count) < 1 / (1 + np.exp(-z))).astype(int))

    def law(tau: float) -> torch.Tensor:
        return torch.log_softmax(torch.from_numpy(np.stack([np.zeros(count), tau * z], 1)), 1)

    return {"a": law(power), "b": law(0.5)}, truth


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_coverage(power: float) -> None:
    """Within the binomial 1e-6 band of 95 % (±6.8 %); ECE's interval, whose bins are estimated, above 85 %.

    Measured at this seed: see the assertion's message. Rejects the percentile interval of ECE: of a calibrated
    classifier it holds the truth in less than half of the sets, for resamples only ever add to a sum of |errors|.
    """
    laws, truth = drawn(200_000, power, Key(4).generator())
    picked = torch.arange(len(truth))
    loss = {name: -law[picked, truth] for name, law in laws.items()}
    wrong = laws["a"].exp().clone()
    wrong[picked, truth] -= 1
    exact = {
        "accuracy": float((laws["a"].argmax(1) == truth).double().mean()),
        "log_loss": float(loss["a"].mean()),
        "brier": float(wrong.square().sum(1).mean()),
        "ece": calibration_error(*_only(laws, truth)),
        "against": float((loss["a"] - loss["b"]).mean()),
    }
    rng, hits = Key(5).generator(), dict.fromkeys(NAMES, 0)
    for i in range(SETS):
        found = score_labels(*drawn(TEXTS, power, rng), Key(i), "b", resamples=300)["a"]
        for name in NAMES:
            _, low, high = getattr(found, name)
            hits[name] += low <= exact[name] <= high
    share = {name: count / SETS for name, count in hits.items()}
    band = 4.9 * math.sqrt(0.95 * 0.05 / SETS)
    assert all(share[name] > 0.95 - band for name in NAMES if name != "ece"), share
    assert share["ece"] > 0.85, share


def _only(laws: dict[str, torch.Tensor], truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return laws["a"], truth
