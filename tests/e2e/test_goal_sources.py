"""What simulated users want, as the packages carry it."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.dialogue.goals import load_goals


@pytest.mark.parametrize(("source", "language", "count"), [("english", "en", 749), ("chinese", "zh", 368)])
def test_conversations_give_distinct_goals_with_an_answer_each(source: str, language: str, count: int) -> None:
    goals = load_goals(f"chatterbot:{source}")
    assert len(goals) == count
    assert len({g.question.casefold() for g in goals}) == count
    assert {g.language for g in goals} == {language}
    assert all(g.question.strip() and g.answer.strip() and g.entry for g in goals)
    assert goals == load_goals(f"chatterbot:{source}")


def test_a_language_that_users_do_not_speak_is_named_with_those_they_do() -> None:
    with pytest.raises(ConfigError, match=r"chatterbot:french.*english and chinese"):
        load_goals("chatterbot:french")


def test_a_file_without_answers_makes_no_users(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("question,answer\nWhy?,\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        load_goals("faq.csv", tmp_path)
