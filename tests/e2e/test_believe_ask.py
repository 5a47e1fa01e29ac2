"""`credence believe ask`: a table or a FAQ asked about, by a person at a pipe and by simulated ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from credence.cli.main import app

ANIMALS = str(Path(__file__).parents[2] / "examples/animals.csv")


def call(*arguments: str, code: int = 0, said: str = "") -> Result:
    done = CliRunner().invoke(app, ["believe", "ask", *arguments], input=said, env={"COLUMNS": "100"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


@pytest.fixture
def faq(tmp_path: Path) -> str:
    path = tmp_path / "faq.md"
    path.write_text(
        "# Help\n\n## How do I install a package?\nUse `apt install name` on the command line.\n\n"
        "## How do I remove a package?\nUse `apt remove name` on the command line.\n\n"
        "## How do I build a kernel?\nRun `make deb-pkg` in the source tree.\n\n"
        "## Where is the source tree of the kernel?\nIn the git repository.\n"
    )
    return str(path)


def test_it_asks_what_halves_the_doubt_and_finds_the_animal() -> None:
    found: Any = json.loads(call(ANIMALS, "--wrong", "0", "--json", said="8\n").stdout)
    assert found["turns"][0]["question"] == "Legs"
    assert found["belief"][0]["hypothesis"] == "spider"
    assert found["belief"][0]["p"] == pytest.approx(1.0)
    assert found["turns"][0]["entropy"] == pytest.approx(0.0, abs=1e-9)


def test_answers_may_be_words_beginnings_numbers_or_skipped() -> None:
    shown = call(ANIMALS, said="2\n?\nnonsense\ny\nq\n").output
    assert "“nonsense” is none of" in shown
    assert "doubt left" in shown
    assert "4 / 0 / 2 / 6 / 8" in shown  # numbers that are answers themselves are not numbered


def test_nothing_said_leaves_the_belief_alone() -> None:
    found: Any = json.loads(call(ANIMALS, "--json").stdout)
    assert found["turns"] == []
    assert found["belief"][0]["p"] == pytest.approx(1 / 16)


def test_asking_by_gain_takes_fewer_questions_than_at_random(tmp_path: Path) -> None:
    """Paired on the same 60 people: 95 % intervals of the mean number of questions lie apart."""
    given = (ANIMALS, "--simulate", "--runs", "60", "--wrong", "0", "--into", str(tmp_path), "--json")
    found: Any = json.loads(call(*given).stdout)
    gain, random = found["curves"]
    assert gain["turns"]["high"] < random["turns"]["low"]
    assert all(curve["found"]["value"] > 0.9 for curve in found["curves"])
    assert all(Path(path).stat().st_size > 10_000 for path in found["pictures"])
    assert all(a["value"] <= b["value"] + 1e-9 for a, b in zip(gain["entropy"], random["entropy"], strict=True))


def test_a_faq_is_asked_about_by_its_words(faq: str) -> None:
    found: Any = json.loads(call(faq, "--wrong", "0.01", "--json", said="yes\nno\nno\nno\nno\n").stdout)
    assert all("Is it about “" in turn["question"] for turn in found["turns"])
    assert found["turns"][0]["expected"] > 0.5  # of four entries, a word that two of them hold
    assert found["turns"][-1]["entropy"] < 0.75
    assert found["belief"][0]["shown"].endswith("?")


def test_an_answer_that_nothing_gives_is_told_with_a_way_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = ("a,1,red", "b,1,blue", "c,2,green", "d,2,green", "e,3,green", "f,3,green", "g,4,green")
    path.write_text("thing,A,B\n" + "\n".join(rows) + "\n")
    told = call(str(path), "--wrong", "0", said="1\ngreen\n", code=1).output
    assert "answers 'B' with 'green'. Allow for mistakes: --wrong 0.05" in told


def test_it_stops_where_nothing_tells_what_is_left_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("thing,Big?,Round?\na,yes,no\nb,yes,no\nc,no,yes\n")
    found: Any = json.loads(call(str(path), "--wrong", "0", "--json", said="yes\nyes\nyes\n").stdout)
    assert len(found["turns"]) == 1
    assert [h["p"] for h in found["belief"]] == pytest.approx([0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("animal,Flies?\ncat,no\n", "1 hypothesis: there is nothing in doubt"),
        ("animal,Flies?\ncat,no\ndog,no\n", "no column tells the hypotheses apart"),
        ("animal\ncat\ndog\n", "there is only one column"),
        ("animal,Flies?\n,no\ndog,yes\n", "line 2: the first column, 'animal', is empty"),
        ("animal,Flies?,Flies?\ncat,no,no\n", "stands twice"),
        ("animal,Flies?\ncat,no\ncat,yes\n", "hypothesis 'cat' stands twice"),
        ("animal,Flies?\ncat,no\ndog,yes,no\n", "3 fields for 2 columns"),
    ],
)
def test_a_table_that_cannot_be_asked_about_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert says in call(str(path), code=2).output
