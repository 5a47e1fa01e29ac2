"""/why on long replies: evidence is read at a bounded number of places, and nothing is lost between them."""

import pytest

from credence.core.protocols import StepPrior
from credence.dialogue.room import prompts_of
from credence.dialogue.stream import as_row
from credence.dialogue.why import MOST, explain, steps
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from credence.prior.load import load
from credence.prior.passage import passages, score_in_passages
from credence.prior.reshape import reshape
from tests import talking

LENGTH = MOST * 2 + 7


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> StepPrior:
    return load(talking.make(tmp_path_factory.mktemp("talker")), horizon=8)


class Counted:
    """A reward for each b, which counts the texts that it reads."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, prompts: list, completions: list[str]) -> list[float]:
        self.read += len(completions)
        return [float(text.count("b")) for text in completions]


def test_a_long_reply_is_read_at_a_bounded_number_of_places(prior: StepPrior) -> None:
    counted, ticks = Counted(), list[int]()
    evidence = Reward(counted, beta=0.5, on_prefix=True, name="bees") * Ended()
    letters = ["a"] * LENGTH
    letters[3] = letters[100] = letters[101] = letters[-1] = "b"
    ids = tuple(prior.codec.encode("".join(letters)))
    prompts = prompts_of(prior, [{"role": "user", "content": "hi"}])
    why = explain(prior, None, evidence, prompts, ids, False, lambda: ticks.append(1))
    bees, ended = why.evidence
    assert counted.read <= MOST + 3
    assert len(bees.ends) == MOST
    assert bees.ends[-1] == LENGTH
    assert (bees.nats, sum(bees.by_token), len(bees.by_token)) == (8.0, 8.0, LENGTH)
    told = why.told(bees)
    assert sum(nats for _, nats in told) == pytest.approx(8.0)
    assert all(text.count("b") == nats / 2 for text, nats in told)
    assert not ended.unfinished
    assert len(ticks) == steps(prior, None, evidence, prompts, ids)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 200])
def test_passages_give_the_score(prior: StepPrior, length: int) -> None:
    law, prompts = reshape(prior, 0.7, top_k=200), prompts_of(prior, [{"role": "user", "content": "x" * 40}])
    row = as_row([(7 * i) % 256 for i in range(length)], False)
    ticks: list[int] = []
    found = score_in_passages(law, prompts, row, lambda: ticks.append(1))
    assert found == pytest.approx(law.score(prompts, row)[0].tolist(), abs=1e-4)
    assert len(ticks) == passages(prompts, row)


def test_a_short_reply_is_read_after_every_token(prior: StepPrior) -> None:
    evidence = Reward(Counted(), beta=0.5, on_prefix=True, name="bees")
    ids = tuple(prior.codec.encode("abab"))
    why = explain(prior, prior, evidence, prompts_of(prior, [{"role": "user", "content": "hi"}]), ids, False)
    assert why.evidence[0].ends == (1, 2, 3, 4)
    assert why.evidence[0].by_token == (0.0, 2.0, 0.0, 2.0)
    assert why.told(why.evidence[0]) == why.most(why.evidence[0].by_token, 4) == [("b", 2.0), ("b", 2.0)]
