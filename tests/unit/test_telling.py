"""The example rewards, by hand, in English and Chinese."""

import pytest

from credence.evidence.telling import TOLD, brief, facts, length, overlap, polite, solved, turn


def test_polite() -> None:
    texts = ["You are welcome!", "请稍等", "No.", "I hope this helps", "pleased"]
    assert polite([], texts) == [1, 1, 0, 1, 0]


def test_length_counts_words_and_half_characters() -> None:
    assert length("Run apt-get update, then wait.") == 5
    assert length("运行 apt update") == 3
    assert brief([], ["one two three four five", ""]) == [-0.5, 0]


def test_overlap_is_f1_of_content_words() -> None:
    answer = "Run apt update as root."
    assert overlap([], ["Run apt update as root"], [answer]) == [1.0]
    assert overlap([], ["apt"], [answer]) == [pytest.approx(2 * 1 * 0.25 / 1.25)]  # four content words
    assert overlap([], ["banana", ""], [answer, answer]) == [0, 0]
    assert facts("安全更新") == {"安全", "全更", "更新"}
    assert overlap([], ["安全更新"], ["只有安全更新"])[0] == pytest.approx(2 * 0.6 / 1.6)
    long = " ".join(f"word{i}" for i in range(40))
    assert overlap([], [" ".join(f"word{i}" for i in range(TOLD))], [long]) == [1.0]


def test_what_the_user_did() -> None:
    assert turn([], ["a", "b"]) == [-1, -1]
    assert solved([], ["a", "b"], [1.0, 0.0]) == [1, 0]
