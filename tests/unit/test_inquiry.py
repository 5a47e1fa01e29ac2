"""Which question to ask: gains against enumeration, and conversations whose length is known."""

import math

import pytest
import torch

from credence.belief.belief import Belief
from credence.belief.inquiry import Question, best, converse, gain, told
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key

SIXTEEN = Belief.uniform([str(i) for i in range(16)])
BITS = [told(f"bit {b}?", ["yes" if i >> b & 1 else "no" for i in range(16)], 0.0) for b in range(4)]
ONES = [told(f"is it {k}?", ["yes" if i == k else "no" for i in range(16)], 0.0) for k in range(16)]


def random_question(seed: int, answers: int, k: int) -> Question:
    logits = torch.from_numpy(Key(seed).generator().normal(size=(answers, k))) * 2
    return Question("?", tuple(map(str, range(answers))), torch.log_softmax(logits, 0))


def random_belief(seed: int, k: int) -> Belief:
    logits = torch.from_numpy(Key(seed).fold("belief").generator().normal(size=k)) * 2
    return Belief(tuple(map(str, range(k))), torch.log_softmax(logits, 0))


@pytest.mark.parametrize("seed", range(6))
def test_the_gain_is_the_mutual_information_and_bounded(seed: int) -> None:
    belief, question = random_belief(seed, 5), random_question(seed, 2 + seed % 3, 5)
    joint = (belief.log_p + question.log_lik).exp()
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    wanted = float((joint * (joint / product).log()).sum())
    found = gain(belief, question)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert 0 <= found <= min(belief.entropy(), math.log(len(question.answers))) + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_entropy_falls_by_the_gain_on_average_over_answers(seed: int) -> None:
    belief, question = random_belief(seed, 6), random_question(seed, 3, 6)
    heard = torch.logsumexp(belief.log_p + question.log_lik, 1).exp().tolist()
    after = sum(p * belief.update(row).entropy() for p, row in zip(heard, question.log_lik, strict=True))
    assert belief.entropy() - after == pytest.approx(gain(belief, question), abs=1e-12)


def test_what_all_answer_alike_gains_nothing_and_an_impossible_answer_does_no_harm() -> None:
    alike = Question("?", ("a", "b"), torch.tensor([[0.3] * 16, [0.7] * 16], dtype=torch.float64).log())
    assert gain(SIXTEEN, alike) == pytest.approx(0, abs=1e-12)
    never = Question("?", ("a", "b", "c"), torch.tensor([[0.5] * 16, [0.5] * 16, [0.0] * 16]).double().log())
    assert gain(SIXTEEN, never) == pytest.approx(0, abs=1e-12)
    assert gain(SIXTEEN, BITS[2]) == pytest.approx(math.log(2))


def test_halving_finds_one_of_sixteen_in_four_questions() -> None:
    """Bits halve, single guesses do not: the best question is a bit each time, and four settle it."""
    for truth in range(16):
        done = converse(SIXTEEN, [*ONES, *BITS], truth, Key(truth), "gain", 0.99, 20)
        assert len(done.asked) == 4  # of the last two a guess tells as much as a bit
        assert done.asked[:3] == (16, 17, 18)
        assert done.found
        assert done.entropy == pytest.approx([math.log(16 / 2**t) for t in range(5)], abs=1e-9)


def test_at_random_it_takes_longer() -> None:
    turns = {
        how: sum(len(converse(SIXTEEN, [*ONES, *BITS], t, Key(t), how, 0.99, 20).asked) for t in range(16)) / 16
        for how in ("gain", "random")
    }  # fmt: skip
    assert turns["gain"] == 4
    assert turns["random"] > 7


def test_nothing_is_asked_twice_and_nothing_when_sure() -> None:
    noisy = [told(f"bit {b}?", ["yes" if i >> b & 1 else "no" for i in range(16)], 0.2) for b in range(4)]
    done = converse(SIXTEEN, noisy, 5, Key(0), "gain", 0.999, 20)
    assert sorted(done.asked) == [0, 1, 2, 3]
    assert best(SIXTEEN, noisy, {0, 1, 2, 3}) is None
    sure = SIXTEEN.update(torch.tensor([0.0] + [-20.0] * 15))
    assert converse(sure, noisy, 0, Key(0), "gain", 0.9, 20).asked == ()


def test_an_unknown_answer_says_nothing() -> None:
    belief = Belief.uniform(["a", "b", "c"])
    question = told("?", ["yes", "no", None], 0.0)
    assert belief.update(question.log_lik[0]).probability("c") == pytest.approx(1 / 3)
    assert belief.update(question.log_lik[0]).probability("b") == 0


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(ConfigError, match="answered alike"):
        told("?", ["yes", "yes", None], 0.1)
    with pytest.raises(ConfigError, match="chance of a wrong"):
        told("?", ["yes", "no"], 1.0)
    with pytest.raises(ContractError, match="sum to one"):
        Question("?", ("a", "b"), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="two different"):
        Question("?", ("a", "a"), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="for 2 answers"):
        Question("?", ("a", "b"), torch.zeros(3, 3))
    with pytest.raises(ShapeError, match="16 hypotheses"):
        gain(Belief.uniform(["a"]), BITS[0])
