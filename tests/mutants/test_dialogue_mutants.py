"""Wrong updates of the dialogue agent; each must fail a check that the right one passes (tests/dialogues.py)."""

from functools import partial

import pytest
import torch
from torch import Tensor

from credence.learn.losses import turns
from tests.dialogues import check_coin, check_dialogue_gradient
from tests.mutants.runner import SEEDS, Mutant, kill, params

Patch = pytest.MonkeyPatch


def own_turn_only(gain: Tensor, dialogue: Tensor, turn: Tensor) -> Tensor:
    """Each turn is paid for itself alone: what it leads to, and the KL of later turns, is forgotten."""
    return gain


def whole_return(gain: Tensor, dialogue: Tensor, turn: Tensor) -> Tensor:
    """Turns before this one count with the wrong sign of time: reward so far instead of reward to go."""
    before = (dialogue[:, None] == dialogue[None, :]) & (turn[None, :] <= turn[:, None])
    return torch.where(before, gain[None, :], 0.0).sum(1)


def sees_itself(back: Tensor, dialogue: Tensor, turn: Tensor, user: Tensor) -> Tensor:
    """A baseline that holds the dialogue's own return of a later turn."""
    last = dialogue[:, None] == dialogue[None, :]
    return torch.where(last, back[None, :], 0.0).sum(1) / last.sum(1)


def conditioned(gain: Tensor, dialogue: Tensor, turn: Tensor) -> Tensor:
    """Conditioning on success: log-mean-exp over the world's chance, as if the agent could tilt the coin."""
    lucky = turns_to_go(gain, dialogue, turn)
    return torch.exp(lucky.clamp(max=12.0)) / 1000


turns_to_go = turns.returns_to_go


def put(name: str, wrong: object, patch: Patch) -> None:
    patch.setattr(turns, name, wrong)


MUTANTS = (
    Mutant("later turns forgotten", check_dialogue_gradient, partial(put, "returns_to_go", own_turn_only)),
    Mutant("reward so far", check_dialogue_gradient, partial(put, "returns_to_go", whole_return)),
    Mutant("baseline sees its own dialogue", check_dialogue_gradient, partial(put, "baselines", sees_itself)),
    Mutant("conditioning instead of the mean", check_coin, partial(put, "returns_to_go", conditioned)),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
