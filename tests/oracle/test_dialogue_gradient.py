"""The dialogue's policy gradient against enumeration: a two-turn table dialogue with a user who goes by chance."""

import math

import pytest
import torch

from credence.core.keys import Key
from credence.learn.losses.turns import baselines, returns_to_go
from tests.dialogues import (
    check_coin,
    check_dialogue_gradient,
    coin,
    expected_gradient,
    j_of,
    soft_optimum,
    somewhere,
    table_agent,
    talk_once,
    two_turns,
)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_expected_gradient_is_that_of_j(seed: int) -> None:
    # Exact, no chance: 100 pairs of 10 dialogues. Its mutants: tests/mutants/test_dialogue_mutants.py.
    check_dialogue_gradient(seed)


def test_a_lone_dialogue_has_no_baseline_and_the_same_gradient() -> None:
    agent = somewhere(4)
    wanted = -torch.autograd.grad(j_of(agent, two_turns()), agent.policy.logits)[0]
    assert torch.allclose(expected_gradient(agent, two_turns(), size=1), wanted, atol=1e-10, rtol=0)


def test_sampled_updates_reach_the_soft_optimum() -> None:
    # 60 steps of 32 dialogues from a policy 0.1 to 0.6 nats below. Rejects: returns of the own turn only (0.05 short).
    agent = somewhere(0)
    best, start = soft_optimum(agent), float(j_of(agent, two_turns()).detach())
    assert start < best - 0.1
    for step in range(60):
        agent.update_model(*talk_once(agent, Key(9).fold(step), 32), lr=0.08 * (1 - step / 60))
    assert best - 0.01 < float(j_of(agent, two_turns()).detach()) <= best + 1e-12


def test_a_coin_is_not_better_than_a_sure_half() -> None:
    """SCIENCE 4.4: conditioning gives P(coin) = .987 and β log Z = .863; the KL-RL optimum is .5 with J = .5."""
    check_coin(0)
    lucky = 0.5 * (1 + math.exp(10)) / (0.5 * (1 + math.exp(10)) + math.exp(5))
    assert round(lucky, 3) == 0.987
    assert round(0.1 * math.log(0.5 * (0.5 * (1 + math.exp(10)) + math.exp(5))), 3) == 0.863
    agent = table_agent(coin(), 2, lambda seen: [0.0, 0.0])
    agent.policy.restore({"logits": torch.tensor([[math.log(lucky / (1 - lucky)), 0.0]], dtype=torch.float64)})
    assert (
        0.1 * float(j_of(agent, coin()).detach()) < 0.5 - 0.05
    )  # what conditioning hopes for is worth less than the prior


def test_returns_hold_later_turns_and_baselines_other_dialogues() -> None:
    gain = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
    dialogue, turn = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 0, 0, 1])
    back = returns_to_go(gain, dialogue, turn)
    assert back.tolist() == [3.0, 2.0, 4.0, 24.0, 16.0]
    user = torch.tensor([0, 0, 0, 1, 1])
    # turn 0 of user 0: each other; turn 1 of dialogue 0: no other of its user got there, so dialogue 2; user 1: any.
    assert baselines(back, dialogue, turn, user).tolist() == [4.0, 16.0, 3.0, 3.5, 2.0]
    assert baselines(back[:1], dialogue[:1], turn[:1], user[:1]).tolist() == [0.0]
