"""Key facts and AnswerCorrect: what counts as a fact, what separates right from wrong, both parts by name."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError, ContractError
from credence.dialogue.judge import judge
from credence.evidence.answer import AnswerCorrect
from credence.evidence.key_facts import KeyFacts
from credence.evidence.product import measure
from credence.evidence.reward import Reward
from credence.study.functions import load_function
from credence.study.toml import load_config
from tests.embedders import HashedGrams
from tests.tiny import llama

ENGLISH = [
    "Run `apt update` and then `apt install foo` as root; the list is in /etc/apt/sources.list.",
    "Debian 11 is called Bullseye. It was released in August 2021.",
    "Write to the mailing list, or report the bug with the command reportbug --severity=minor.",
    "The shop opens at nine.",
]
CHINESE = [
    "请以 root 身份运行 apt install foo，软件源列表在 /etc/apt/sources.list 里。",
    "Debian 11 的代号是 bullseye，于 2021 年 8 月发布。",
    "请向邮件列表写信，或者用 reportbug 命令报告缺陷。",
    "图书馆星期日不开放，借书证可以续期三次。",
]


@pytest.mark.parametrize(
    ("answers", "index", "facts"),
    [
        (ENGLISH, 0, {"apt update", "apt install foo", "/etc/apt/sources.list", "root"}),
        (ENGLISH, 1, {"debian", "11", "bullseye", "2021", "august"}),
        (ENGLISH, 2, {"reportbug", "--severity=minor"}),
        (CHINESE, 0, {"root", "apt", "/etc/apt/sources.list"}),
        (CHINESE, 1, {"debian", "11", "bullseye", "2021", "代号", "发布"}),
        (CHINESE, 3, {"书馆", "续期"}),
    ],
)
def test_facts(answers: list[str], index: int, facts: set[str]) -> None:
    found = KeyFacts(answers).of(answers[index])
    assert facts <= set(found), found
    assert not {"the", "is", "的", "可以"} & set(found)


def test_rare_facts_weigh_more() -> None:
    weights = KeyFacts([*ENGLISH, "Debian is free.", "Debian is old."]).of(ENGLISH[1])
    assert weights["bullseye"] > 1.5 * weights["debian"]


@pytest.mark.parametrize("answers", [ENGLISH, CHINESE])
def test_right_answers_are_told_from_wrong_ones(answers: list[str]) -> None:
    correct = AnswerCorrect.calibrated(HashedGrams(), answers)
    for i, reference in enumerate(answers):
        right, wrong = correct([""] * 4, [reference, *(a for a in answers if a != reference)], [reference] * 4), []
        wrong = right[1:]
        assert right[0] == pytest.approx(1.0, abs=1e-6)
        assert max(wrong) < 0.25, (i, wrong)
        half = correct([""], [reference[: len(reference) * 2 // 3]], [reference])[0]
        assert max(wrong) < half < 1


def test_both_parts_are_readable_by_name() -> None:
    correct = AnswerCorrect.calibrated(HashedGrams(), ENGLISH)
    said, meant = ["Run apt update as root, see /etc/apt/sources.list."], [ENGLISH[0]]
    (verdict,) = correct.judge(said, meant)
    assert correct.similarity([""], said, meant) == [verdict.similarity]
    assert verdict.facts is not None
    assert correct.facts([""], said, meant) == [verdict.facts.share]
    assert {"apt update", "/etc/apt/sources.list", "root"} <= set(verdict.facts.found)
    assert "apt install foo" in verdict.facts.missing
    assert verdict.score == pytest.approx((verdict.similarity + verdict.facts.share) / 2)


def test_an_empty_completion_gets_nothing_and_an_empty_reference_is_an_error() -> None:
    correct = AnswerCorrect.calibrated(HashedGrams(), ENGLISH)
    assert correct(["", ""], ["", "  "], ENGLISH[:2]) == [0.0, 0.0]
    assert correct([], [], []) == []
    with pytest.raises(ContractError, match="reference answer 1 is empty"):
        correct(["", ""], ["a", "b"], ["a", " "])
    with pytest.raises(ContractError, match="one each"):
        correct([""], ["a"], [])
    with pytest.raises(ConfigError, match="at least three"):
        AnswerCorrect.calibrated(HashedGrams(), ENGLISH[:2])
    with pytest.raises(ConfigError, match="floor"):
        AnswerCorrect(HashedGrams(), floor=1.0)


def test_it_is_evidence_with_a_column_of_answers() -> None:
    """As TRL's users write it: the column `answer` reaches the reward by name."""
    correct = AnswerCorrect(HashedGrams())
    prior = llama()
    prompts = prior.codec.prompts([(1, 2)], {"answer": ["token (3, 4)"]})
    completions, _ = prior.sample(__import__("credence").Key(0), prompts, 2)

    def said(prompts: list, completions: list, answer: list) -> list[float]:
        return correct(prompts, [str(c) for c in completions], answer)

    nats, readings = measure(Reward(said, beta=0.5, name="answer_correct"), prompts, completions)
    assert (nats * 0.5).tolist() == readings["answer_correct"].tolist()
    assert Reward(correct, beta=0.5).name == "answer_correct"
    assert Reward(correct.similarity, beta=0.5).name == "similarity"


def test_its_parts_are_read_beside_it_and_are_worth_nothing() -> None:
    correct = AnswerCorrect.calibrated(HashedGrams(), ENGLISH)
    reward = Reward(correct, beta=0.5, name="answer", parts=correct.parts)
    said = ["Run apt update as root.", "The shop opens at nine."]
    verdicts = judge(reward, ["?"] * 2, said, [True] * 2, {"answer": [ENGLISH[0]] * 2})
    for verdict, text in zip(verdicts, said, strict=True):
        assert list(verdict.readings) == ["answer", "answer_similarity", "answer_facts"]
        score, likeness, facts = verdict.readings.values()
        assert score == pytest.approx((likeness + facts) / 2)
        assert verdict.nats == pytest.approx(score / 0.5)
        assert facts == correct.facts([""], [text], [ENGLISH[0]])[0]
    assert verdicts[0].nats > verdicts[1].nats


def test_by_name_it_needs_reference_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("credence.evidence.embedding.load_embedder", HashedGrams)
    fn = load_function("answer", tmp_path, ENGLISH)
    assert isinstance(fn, AnswerCorrect)
    assert 0 < fn.floor < 1
    with pytest.raises(ConfigError, match="only `credence dialogue train` has"):
        load_function("answer", tmp_path)
    with pytest.raises(ConfigError, match=r"evidence\.reward\.fn = 'answer'"):
        load_config(None, ["evidence.reward.fn=answer"])
