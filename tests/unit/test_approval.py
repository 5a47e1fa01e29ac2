"""The belief over approval follows what was rated, never the numbers of rows."""

from pathlib import Path

import pytest

from credence.core.keys import Key
from credence.dialogue.chat import Conversation
from credence.dialogue.feedback import FeedbackStore
from credence.prior.load import load
from credence.prior.reshape import Reshaped, reshape
from credence.study.approval import Approval
from credence.study.opinions import FeedbackSettings, Taught, hear, learn, ratings_print
from tests import talking


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Reshaped:
    return reshape(load(talking.make(tmp_path_factory.mktemp("talker")), horizon=6), 0.9)


def rated(prior: Reshaped, path: Path, kind: str) -> Conversation:
    talk = Conversation(prior, key=Key(2), store=FeedbackStore(path), model="tiny")
    "".join(talk.say("你好"))
    talk.rate(kind)
    return talk


def test_another_file_with_the_same_numbers_is_fitted_anew(prior: Reshaped, tmp_path: Path) -> None:
    liked, disliked = (rated(prior, tmp_path / f"{kind}.db", kind) for kind in ("good", "bad"))
    assert liked.store is not None
    assert disliked.store is not None
    standing = liked.store.standing()
    assert [r.id for r in standing] == [r.id for r in disliked.store.standing()]
    settings = FeedbackSettings()
    head = learn(hear(standing, prior, "tiny"), settings, prior)[0].head
    taught = Taught(settings, (standing[0].id,), ratings_print(standing, "tiny"), "", head)
    known = Approval(liked.store, prior, "tiny", settings, taught)
    other = Approval(disliked.store, prior, "tiny", settings, taught)
    ticks: list[int] = []
    assert known.work(liked.turns[0]) == 1  # the prompt's centre; what was taught is taken
    assert other.work(disliked.turns[0]) == 2  # and the rated reply
    found = other.of(disliked.turns[0], lambda: ticks.append(1))
    assert len(ticks) == 2
    believed = known.of(liked.turns[0])
    assert believed is not None
    assert found is not None
    assert believed.mean > 0 > found.mean  # by the numbers of rows alone the liked head would have been taken
    disliked.rate("good")
    again = other.of(disliked.turns[0])
    assert again is not None
    assert again.mean == pytest.approx(believed.mean, abs=1e-5)
