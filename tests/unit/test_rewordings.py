"""Users ask in other words than the source's: which, in what order, and files that cannot be used."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.dialogue.goals import Goal
from credence.dialogue.questions import read_questions
from credence.dialogue.rewordings import reworded
from credence.dialogue.users import User, crowd

EXAMPLE = Path(__file__).parents[2] / "examples/debian_faq_questions.csv"
TEA = Goal("How is tea made?", "With water.", "en", "tea")
RICE = Goal("How is rice cooked?", "In a pot.", "en", "rice")
CHA = Goal("茶怎么泡？", "用水。", "zh", "cha")


def written(folder: Path, *rows: str, head: str = "language,entry,text") -> Path:
    path = folder / "words.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_rewordings_go_to_their_question_and_the_rest_stays(tmp_path: Path) -> None:
    path = written(
        tmp_path, "en,tea,I want a cup of tea", "zh,cha,想喝茶", "en,tea, hot leaves in water? ", "en,,who are you",
        "en,How is rice cooked?,the rice is hard"
    )  # fmt: skip
    tea, rice = reworded([TEA, RICE], path)
    assert tea.rewordings == ("I want a cup of tea", "hot leaves in water?")
    assert rice.rewordings == ("the rice is hard",)  # named by its question
    assert (tea.question, tea.answer) == (TEA.question, TEA.answer)
    both = reworded([TEA, CHA, RICE], path)
    assert [g.rewordings for g in both[:2]] == [tea.rewordings, ("想喝茶",)]


def test_goals_of_one_file_are_named_by_their_questions_only(tmp_path: Path) -> None:
    talks = [Goal("Hi, who are you?", "A bot.", "en", "bot"), Goal("What is your age?", "None.", "en", "bot")]
    assert reworded(talks, written(tmp_path, "en,What is your age?,how old are you"))[1].rewordings
    with pytest.raises(ConfigError, match="no question 'bot'"):
        reworded(talks, written(tmp_path, "en,bot,how old are you"))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["en,te,hot water"], "line 2: users.source has no question 'te'. Did you mean 'tea'"),
        (["en,tea,hot leaves", "en,tea, "], "line 3: the rewording of 'tea' is empty"),
        (["en,tea,\u200b\u202e"], "line 2: the rewording of 'tea' is empty"),
        (["en,tea,hot leaves", "en,tea,Hot  leaves?"], "line 3: 'Hot  leaves?' says the same as line 2"),
        (["en,tea,warm it", "en,rice,warm it"], "line 3: 'warm it' says the same as line 2"),
        (["en,tea,how is tea made"], "says the same as the source's own question 'How is tea made?'"),
        (["en,tea,how is rice cooked"], "says the same as the source's own question 'How is rice cooked?'"),
        (["en,tea,茶要怎么泡才好喝"], "is Chinese, and 'tea' is asked in English"),
        (["fr,tea,comment faire le thé"], "language 'fr': simulated users speak en and zh"),
        (["zh,cha,想喝茶", "zh,,你是谁"], "who speak en. It holds 1 in zh."),
        (["en,,who are you"], "It holds no row with an entry."),
        ([], "It holds no row with an entry."),
        (["en,tea,one, two"], "line 2: more fields than columns"),
        (['en,tea,"never closed'], "not CSV"),
        (["en,tea,hot leaves", f"en,rice,{'x' * 200_000}"], "begins at line 3 has more than 131,072 characters"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        reworded([TEA, RICE], written(tmp_path, *rows))
    assert says in str(caught.value)


def test_without_a_column_the_text_tells_the_language(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'想喝茶' is Chinese, and 'tea' is asked in English"):
        reworded([TEA], written(tmp_path, "tea,想喝茶", head="entry,text"))


def test_files_that_are_not_there_or_hold_other_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "tea,x", head="entry,words")
    with pytest.raises(ConfigError, match="has no column text"):
        reworded([TEA], path)
    semicolons = written(tmp_path, "tea;hot, very hot leaves", head="entry;text")
    assert reworded([TEA], semicolons)[0].rewordings == ("hot, very hot leaves",)
    with pytest.raises(ConfigError, match="is a folder"):
        reworded([TEA], tmp_path)
    with pytest.raises(ConfigError, match=r"no such file of questions: .*wrods.csv. Did you mean 'words.csv'"):
        reworded([TEA], tmp_path / "wrods.csv")


def test_a_user_asks_in_its_own_order_and_in_the_sources_words_last() -> None:
    goal = Goal("Q?", "A", "en", "q", ("one", "two", "three"))
    people = [User(f"u{i}", goal, patience=9, key=Key(i)) for i in range(30)]
    assert all(sorted(u.wordings[:3]) == ["one", "three", "two"] and u.wordings[3] == "Q?" for u in people)
    assert len({u.wordings for u in people}) > 3  # rejects: the file's order for everybody
    for user in people:
        said = [user.opens(), *(user.responds(Key(1), turn, 0.0).text for turn in range(1, 5))]
        assert all(words in text for words, text in zip([*user.wordings, user.wordings[0]], said, strict=True))
        assert said[0] == user.opens()


def test_one_without_rewordings_asks_as_the_source_does() -> None:
    user = User("u", TEA, patience=3)
    assert TEA.question in user.opens()
    assert TEA.question in user.responds(Key(0), 1, 0.0).text


def test_no_wording_of_a_heldout_question_is_met_in_training() -> None:
    goals = [Goal(f"Q{i}?", f"A{i}", "en", f"q{i}", (f"first {i}", f"second {i}")) for i in range(12)]
    people = crowd(goals, Key(0), 0, 3, 4)
    words = [{w for u in kind for w in u.wordings} for kind in (people.train, people.validation, people.heldout)]
    assert [len(w) for w in words] == [15, 9, 12]
    assert len(set.union(*words)) == 36
    with pytest.raises(ConfigError, match="two goals are asked as 'first 0'"):
        crowd([*goals, Goal("Q?", "A", rewordings=("first 0",))], Key(0), 0, 3, 4)


def test_the_example_has_54_rewordings_a_language() -> None:
    rows = [row for row in read_questions(EXAMPLE) if row.entry]
    for language in ("en", "zh"):
        mine = [row for row in rows if row.language == language]
        goals = [Goal(f"{row.entry} {language}", "A", language, row.entry) for row in mine]
        assert len(reworded(goals, EXAMPLE)) == len(mine) == 54
