"""REINFORCE on its own draws reaches the posterior, measured exactly; from KL(π0‖p*) = .618 to below 1e-3 nats."""

import pytest

from tests.learning import check_reinforce_training, free_policy, mean_kl
from tests.toys import toy_a, toy_prompts


def test_reinforce_reaches_the_posterior() -> None:
    # 150 steps of 64 fresh draws, seed fixed. Zero variance at the optimum: it comes as close as the step size allows.
    # Power: rejects the KL dropped, k3 in the reward, k3 as loss, no end scored (tests/mutants/test_learn_mutants.py).
    start = free_policy(toy_a(), toy_prompts())
    assert mean_kl(start, toy_a(), toy_prompts()) == pytest.approx(0.6180801270, abs=1e-9)
    check_reinforce_training(1)
