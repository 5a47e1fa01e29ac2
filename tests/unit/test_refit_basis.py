"""What an update of feedback rests on: settings that move nothing learnt do not make an old one new."""

import pytest

from credence.study.opinions import FeedbackSettings
from credence.study.refit_basis import FAST, Basis
from credence.study.toml import load_config


def digits(*settings: str) -> str:
    return Basis((), load_config(None, list(settings)), FeedbackSettings(), FAST).digits


@pytest.mark.parametrize(
    "idle",
    ["name='other'", "track.to=['tensorboard']", "track.project='x'", "train.keep=5", "train.checkpoint_every=9"],
)
def test_who_is_told_and_what_is_kept_is_nothing_new(idle: str) -> None:
    assert digits(idle) == digits()


@pytest.mark.parametrize("moving", ["seed=1", "prior.temperature=0.8", "train.rank=4", "evidence.ended.cut=-2.0"])
def test_what_moves_the_policy_is(moving: str) -> None:
    assert digits(moving) != digits()
