"""`credence chat` as a user meets it: over a pipe, by the keys, and on a real pty with Ctrl-C. Tiny random model."""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from credence.cli.chat_show import sized
from credence.cli.chat_words import COMMANDS, WORDS
from credence.cli.chat_wrap import Wrapped
from credence.cli.main import app
from credence.cli.terminal import progress
from credence.dialogue.feedback import FeedbackStore
from tests import talking

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> str:
    return talking.make(tmp_path_factory.mktemp("talker"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's own history and ratings are touched."""
    monkeypatch.setenv("CREDENCE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(talker: str, lines: str | bytes, *more: str, code: int = 0) -> Result:
    arguments = ["chat", "--model", talker, "--horizon", "8", *more]
    done = CliRunner().invoke(app, arguments, input=lines, env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def records(talker: str, lines: str | bytes, *more: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call(talker, lines, "--json", *more).stdout.splitlines()]


def test_a_pipe_gives_one_object_a_line(talker: str, home: Path) -> None:
    found = records(talker, "你好\n/why\n\n/good\n/better no\n/retract\n/belief\n/again\n/undo\n/quit\nunread\n")
    hello, why, good, better, retract, belief, again, undo = found
    assert (hello["turn"], hello["user"], hello["law"], hello["beta"]) == (1, "你好", "prior", None)
    assert hello == records(talker, "你好\n")[0]
    assert len(why["tokens"]) == len(hello["tokens"])
    assert sum(t["log_prior"] for t in why["tokens"]) == pytest.approx(hello["log_q"], abs=1e-3)
    assert {part["name"] for part in why["evidence"]} == {"vader", "ended"}
    assert [good["command"], good["rating"], better["rating"], retract["rating"]] == ["good", 1, 2, 3]
    assert belief == {"command": "belief", "ratings": 0}
    assert (again["turn"], again["user"]) == (2, "你好")
    assert undo == {"command": "undo", "user": "你好", "rating": None}
    assert len(FeedbackStore(home / "state/feedback.db").ratings()) == 3


def test_ratings_become_a_belief_over_approval(talker: str) -> None:
    before, after = (r for r in records(talker, "hi\n/good\n/belief\nhi there\n/belief\n") if r.get("mean") is not None)
    assert before["ratings"] == 1
    assert before["mean"] > 0  # what was liked is believed to be liked
    assert before["probability"] > 0.5
    assert before["sd"] > 0
    assert after["mean"] != before["mean"]


def test_bad_input_is_named_and_the_talk_goes_on(talker: str, home: Path) -> None:
    lines = [b"/why", b"/goood", b"x" * 2**20, b"\xff\xfe", b"/beta nought", b"/beta -1", b"/save", b"/lang tlh"]
    lines += ["a\u202eb<|im_start|>system".encode(), b"//why do slashes work?", b"/better  ", b"/quit"]
    found = records(talker, b"\n".join(lines))
    errors = [r["error"] for r in found if "error" in r]
    said = [r for r in found if "user" in r]
    for error, expected in zip(
        errors,
        [
            "nothing was said",
            "/good?",
            "1,048,576",
            "UTF-8",
            "number",
            "above 0",
            "/save",
            "en (English)",
            "/better TEXT",
        ],
        strict=True,
    ):
        assert expected in error
    assert [r["user"] for r in said] == ["ab<|im_start|>system", "/why do slashes work?"]
    told = call(talker, "a\u202eb\n").stdout
    assert "1 control or direction character" in told
    assert "\u202e" not in told


@pytest.mark.parametrize("engine", ["best_of_n", "smc", "rejection"])
def test_engines_draw_and_say_what_they_know(talker: str, engine: str) -> None:
    asked = ("--engine", engine, "--of", "4", "--beta", "5")
    (found,) = records(talker, "hi\n", *asked)
    assert found["law"] == engine
    assert found["beta"] == 5
    assert "nats" in found["info"]
    told = call(talker, "hi\n", *asked)
    assert "nats" in told.stdout


def test_another_beta_is_said_honestly(talker: str) -> None:
    beta, reply, off, again = records(talker, "/beta 0.2\nhi\n/beta off\n/again\n", "--of", "4")
    assert (beta["beta"], beta["serving"]) == (0.2, "reweighted")
    assert (reply["law"], reply["beta"]) == ("reweighted", 0.2)
    assert 0 < reply["info"]["weight"] <= 1
    assert off["serving"] == "prior"
    assert (again["law"], again["beta"]) == ("prior", None)
    told = call(talker, "/beta 0.2\nhi\n", "--of", "4").stdout
    assert "one of 4 draws of the prior, picked with weight exp(r/β)" in told
    assert "counts 0.5 times as much" in told
    assert "of 4 candidates, ESS" in told


def test_a_beta_beyond_what_nats_can_hold_is_refused(talker: str) -> None:
    refused, said = records(talker, "/beta 1e-320\nhi\n", "--of", "4")
    assert "at least" in refused["error"]
    assert said["law"] == "prior"
    assert "相差太远" in call(talker, "/lang zh\n/beta 1e-320\n").stdout
    assert "at least" in call(talker, "", "--beta", "1e-320", code=2).stderr


def test_chinese_words_and_an_unknown_language(talker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = call(talker, "你好\n/why\n/help\n", "--lang", "zh").stdout
    for sentence in ("先验 ▸", "惊异度", "上一条回复好", "您 ▸ 你好"):
        assert sentence in told
    assert "vader" not in told  # it reads English only
    assert "en (English), zh (中文)" in call(talker, "", "--lang", "tlh", code=2).stderr
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert "您 ▸ hi" in call(talker, "hi\n").stdout


WRONG = """/why
/good
/undo
/again
/save
/retract
/better
/bad
/beta
/beta nought
/beta -1
/beta 0.2
/belief
/prior
/prior
/lang tlh
/nonsense
/goood
/
"""
TALKED = """你好
/good job!
/bad luck
/why not
/undo all
/help me
/belief x
/again x
/prior x
/retract x
/better
/better   \u202e
/good
/retract
/retract
/belief
/bad
/again
/retract
/save talk
/save talk
/save /proc/none/talk
/why
/why all
/beta off
/help
/lang
/lang zh
/undo
"""


def without_chinese(told: str) -> list[str]:
    """Lines with a word of letters in which no Chinese character stands."""
    letters, han = re.compile(r"[A-Za-z]{2}"), re.compile(r"[\u4e00-\u9fff]")
    return [line for line in told.splitlines() if letters.search(line) and not han.search(line)]


def test_no_line_of_a_chinese_session_is_purely_english(talker: str, home: Path) -> None:
    told = call(talker, WRONG.encode() + b"\xff\xfe\n" + b"x" * 2**20 + b"\n/quit now\n/good", "--lang", "zh")
    assert without_chinese(told.stdout + told.stderr) == []
    assert all(f"您 ▸ {line}\n" in told.stdout for line in [*WRONG.splitlines(), "/quit now"])
    assert "UTF-8" in told.stdout
    assert "1,048,576" in told.stdout
    assert f"您 ▸ {'x' * 200}…\n" in told.stdout
    assert "x" * 201 not in told.stdout
    told = call(talker, TALKED, "--lang", "zh")
    replies = {line for turn in records(talker, "你好\n/again\n") for line in turn["reply"].splitlines()}
    english = [line for line in without_chinese(told.stdout + told.stderr) if line.strip() not in replies]
    assert english == ["English from here on.", "you ▸ /lang zh"]  # /lang alone goes to the other language


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "none"), "没有策略"),
        (("--engine", "smcc"), "没有引擎"),
        (("--engine", "rejection", "--beta", "1"), "没有奖励"),
        (("--of", "1"), "候选"),
        (("--horizon", "0"), "命令行有误"),
        (("--nonsense",), "命令行有误"),
        (("--beta", "0"), "β = 0"),
        (("--feedback", "text.db"), "不是反馈数据库"),
        (("--feedback", "."), "无法读写"),
        (("--knowledge", "none.csv"), "没有知识文件"),
        (("--knowledge", "faq.txt"), "不可用"),
        (("--knowledge", "faq.csv"), "没有带答案的问题"),
        (("--knowledge", "debian-faq:tlh"), "debian-faq:en"),
        (("--config", "none.toml"), "没有文件"),
        (("--config", "text.db"), "设置不可用"),
        (("--device", "abacus"), "没有设备"),
        (("--model", "nobody"), "没有模型"),
    ],
)
def test_what_cannot_be_is_said_in_chinese_before_the_talk(
    talker: str, home: Path, arguments: tuple[str, ...], said: str
) -> None:
    (home / "text.db").write_text("no database, only text that is long enough to be looked at" * 20)
    (home / "faq.csv").write_text("question,answer\nHow?,\n")
    done = CliRunner().invoke(app, ["chat", "--model", talker, "--lang", "zh", *arguments], input="")
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert without_chinese(done.stderr) == []
    done = CliRunner().invoke(app, ["chat", "--model", talker, "--lang", "zh", *arguments, "--json"], input="")
    assert not re.search(r"[\u4e00-\u9fff]", json.loads(done.stdout)["error"])  # machines read one language


def test_words_after_a_command_are_not_dropped(talker: str, home: Path) -> None:
    found = records(talker, "hi\n/good job!\n/why not\n/undo it\n/good\n/undo\n/retract\n/retract\n")
    assert [r["error"].partition(" ")[0] for r in found[1:4]] == ["/good", "/why", "/undo"]
    assert "/better TEXT" in found[1]["error"]
    assert found[5] == {"command": "undo", "user": "hi", "rating": "good"}
    assert found[6]["command"] == "retract"
    assert "nothing to take back" in found[7]["error"]
    assert [r.kind for r in FeedbackStore(home / "state/feedback.db").ratings()] == ["good", "retract"]
    (kept, said) = records(talker, "/quit now\nhi\n")
    assert kept["error"].startswith("/quit takes no words")
    assert said["user"] == "hi"
    told = call(talker, "hi\n/bad\n/undo\n/retract\n").stdout
    assert "Your rating of that reply (bad) stays; /retract takes it back too." in told
    assert re.search(r"Taken back: your rating \(bad\) of “.*” counts no more", told)
    assert "stays" in call(talker, "hi\n/bad\n/again\n").stdout
    assert "stays" not in call(talker, "hi\n/again\n/undo\n").stdout


def run_of(home: Path, name: str, manifest: dict[str, Any]) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_runs_that_cannot_talk_say_what_to_do(talker: str, home: Path, lang: str) -> None:
    run_of(home, "cliff", {"status": "done", "config": {"environment": {}}})
    run_of(home, "killed", {"status": "running", "config": {}})
    run_of(home, "stopped", {"status": "interrupted", "kind": "dialogue", "config": {}})
    (run_of(home, "desk", {"status": "done", "kind": "dialogue", "config": {}}) / "policy").mkdir()
    (home / "runs/desk/policy/weights.json").write_text("{}")
    (home / "empty").mkdir()
    expected = {
        "cliff": ("credence control", "report.html"),
        "runs/killed": ("running", "credence run CONFIG --resume"),
        "stopped": ("interrupted", "credence dialogue train CONFIG --resume"),
        "desk": ("answers.json", "credence dialogue train"),
        "empty": ("policy/config.json", "credence run"),
        "kiled": ("killed", "cliff"),
    }
    for given, words in expected.items():
        done = CliRunner().invoke(app, ["chat", "--policy", given, "--lang", lang], input="")
        assert done.exit_code == 2
        assert all(word in done.stderr for word in words), done.stderr
        assert bool(re.search(r"[\u4e00-\u9fff]", done.stderr)) == (lang == "zh")


def test_a_policy_of_a_dialogue_run_talks_without_its_rewards(talker: str, home: Path) -> None:
    from credence.study.dialogue_config import DialogueConfig

    given = {"prior": {"model": talker, "horizon": 8}, "talk": {"knowledge": "faq.csv"}, "evidence": {}}
    config = DialogueConfig.model_validate({**given, "evidence": {"reward": [{"fn": "vader", "beta": 1.0}]}})
    manifest = {"status": "interrupted", "kind": "dialogue", "config": config.model_dump(mode="json")}
    talking.make(run_of(home, "lm", manifest) / "policy", seed=2)
    asked = ["chat", "--policy", "lm", "--lang", "en"]
    done = CliRunner().invoke(app, asked, input="hi\n/why\n/beta 0.2\n", env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for words in (
        "reference answers",
        "facts from faq.csv",
        "stopped before it was done",
        "policy ▸",
        "log π/π0",
        "no evidence",
    ):
        assert words in done.stdout
    done = CliRunner().invoke(app, ["dialogue", "update", "--policy", "lm"])
    assert (done.exit_code, "reference answers" in done.stderr) == (2, True)
    manifest["config"]["users"]["source"] = 7
    (home / "runs/lm/manifest.json").write_text(json.dumps(manifest))
    assert "runs/lm/policy" in CliRunner().invoke(app, asked, input="hi\n").stderr


def test_the_words_are_complete_in_both_languages() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    fields = re.compile(r"\{[^}]*\}")
    for name, sentence in WORDS["en"].items():
        assert sorted(fields.findall(sentence)) == sorted(fields.findall(WORDS["zh"][name])), name
    assert {f"help {c}" for c in COMMANDS} <= WORDS["en"].keys()


def test_prior_says_where_nothing_else_answers(talker: str) -> None:
    told = call(talker, "/prior\n/beta 0.2\n/prior\n/prior\n", "--of", "4").stdout
    assert told.index("Only the prior answers here") < told.index("The prior answers now") < told.index("Back to: rew")
    assert "这里只有先验" in call(talker, "/prior\n", "--lang", "zh").stdout


def test_nats_beyond_a_million_are_said_by_their_size(talker: str) -> None:
    assert (sized(-12.5, "+"), sized(12.5, "+"), sized(999_999.0)) == ("-12.50", "+12.50", "999999.00")
    assert (sized(4.56789e11, "+"), sized(-2e6)) == ("+4.568e+11", "-2e+06")
    told = call(talker, "/beta 1e-12\nhi\n/why\n", "--of", "4").stdout
    assert not re.search(r"\d{8}", told)


def test_again_where_nothing_was_said_labels_no_reply(talker: str) -> None:
    told = call(talker, "/again\n", "--lang", "en").output
    assert "nothing was said yet" in told
    assert "prior ▸" not in told


def test_a_missing_knowledge_is_said_before_a_model_is_loaded(talker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*given: object) -> None:
        raise AssertionError("a model takes seconds to load")

    monkeypatch.setattr("credence.study.served.open_settings", loads)
    assert "no such knowledge file" in call(talker, "hi\n", "--knowledge", "none.csv", code=2).output


def test_how_far_it_is_is_said_in_the_language_of_the_talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("credence.cli.terminal.EVERY", -1.0)
    for lang in ("en", "zh"):
        with progress("x", 2, False, WORDS[lang]["far"]) as advance:
            advance()
    assert capsys.readouterr().err.splitlines() == ["x: 1 of 2, about 0 s left", "x: 2 中已完成 1，约剩 0 秒"]


def test_settings_that_cannot_be(talker: str, home: Path) -> None:
    assert "unknown engine 'smcc'" in call(talker, "", "--engine", "smcc", code=2).stderr
    assert "no policy 'runs/none'" in call(talker, "", "--policy", "runs/none", code=2).stderr
    (home / "runs/half").mkdir(parents=True)
    assert "no run has trained one" in call(talker, "", "--policy", "half", code=2).stderr
    (home / "bad.db").write_text("no database, only text that is long enough to be looked at" * 20)
    assert "no feedback database" in call(talker, "", "--feedback", str(home / "bad.db"), code=2).stderr
    assert "above 0" in call(talker, "", "--beta", "0", code=2).stderr


def test_the_talk_is_saved_once(talker: str, home: Path) -> None:
    lines = f"你好\n/good\n/save {home}/talk\n/save {home}/talk.md\n"
    lines += f"/save {home}/t\u202ealk\n/save {'x' * 10_000}\n"
    saved, again, hidden, long = records(talker, lines)[2:]
    assert "cannot be written" in long["error"]
    assert len(long["error"]) < 300
    assert "U+202E" in hidden["error"]
    assert not list(home.glob("t\u202e*"))
    assert [Path(f).name for f in saved["files"]] == ["talk.md", "talk.json"]
    assert "not overwritten" in again["error"]
    data = json.loads((home / "talk.json").read_text(encoding="utf-8"))
    assert [t["user"] for t in data["turns"]] == ["你好"]
    assert data["turns"][0]["rating"] == "good"
    assert "> 你好" in (home / "talk.md").read_text(encoding="utf-8")


def test_an_exported_model_is_compared_with_the_prior(talker: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = talking.make(tmp_path_factory.mktemp("other"), seed=2)
    reply, why, prior, alone = records(talker, "hi\n/why\n/prior\n/again\n", "--policy", other)
    assert (reply["law"], prior["serving"], alone["law"]) == ("policy", "prior", "prior")
    assert sum(t["log_policy"] for t in why["tokens"]) == pytest.approx(reply["log_q"], abs=1e-3)
    assert any(abs(t["moved"]) > 0.1 for t in why["tokens"])
    told = call(talker, "hi\n/why\n/why all\n", "--policy", other).stdout
    assert "This folder names no prior of its own" in told
    assert "π/π0" in told


class Typed:
    """prompt_toolkit's own pipe in place of a keyboard, and a screen that nobody looks at."""

    def __init__(self, talker: str, home: Path) -> None:
        from credence.cli.chat_session import Session
        from credence.core.keys import Key
        from credence.dialogue.chat import Conversation
        from credence.evidence.ended import Ended
        from credence.prior.load import load

        store = FeedbackStore(home / "f.db")
        self.talk = Conversation(load(talker, horizon=8), Ended(), key=Key(0), store=store, model="tiny")
        self.session = Session(self.talk, None, "zh")
        self.home = home

    def keys(self, text: str) -> None:
        from prompt_toolkit.input import create_pipe_input
        from prompt_toolkit.output import DummyOutput

        from credence.cli.chat_terminal import terminal

        with create_pipe_input() as keyboard:
            keyboard.send_text(text)
            terminal(self.session, self.home / "state", input=keyboard, output=DummyOutput())


def test_typing_in_a_terminal(talker: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = Typed(talker, home)
    typed.keys("你好\x1b\r第二行\r" + "\x03" + "/good\r" + "hidden\x15shown\r" + "\x04")
    assert [t.said for t in typed.talk.turns] == ["你好\n第二行", "shown"]  # Alt-Enter breaks the line, Ctrl-U erases
    assert typed.talk.turns[0].rating == "good"
    told = capsys.readouterr().out
    assert "Ctrl-D 或输入 /quit 退出" in told  # Ctrl-C at the prompt leaves nothing
    assert "再见" in told
    kept = (home / "state/chat_history").read_text(encoding="utf-8")
    assert "+第二行" in kept
    assert (home / "state/chat_history").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_ctrl_c_while_a_piece_is_shown_keeps_what_was_said(
    lang: str, talker: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may come at any moment, and most of the time on a slow terminal is spent in writing to it."""
    typed = Typed(talker, home)
    typed.session.lang = lang
    shown: list[str] = []

    def write(page: Wrapped, text: str) -> None:
        shown.append(text)
        if len(shown) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Wrapped, "write", write)
    kept: list[bool] = []
    under = typed.session.after
    monkeypatch.setattr(typed.session, "after", lambda turn: (kept.append(turn.stopped), under(turn)))
    typed.session.line("hi")
    assert kept == [True]
    assert len(typed.talk.turns[0].ids) == 3
    assert capsys.readouterr().out.endswith(f"{WORDS[lang]['stopped']}\n")


def test_ctrl_c_pressed_twice_leaves_nothing(
    talker: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = Typed(talker, home)
    before, given = typed.session.line, iter([KeyboardInterrupt])

    def line(text: str) -> None:
        before(text)
        for error in given:
            raise error  # the second one, while the first is being told

    monkeypatch.setattr(typed.session, "line", line)
    typed.keys("hi\r" + "there\r" + "\x04")
    assert [t.said for t in typed.talk.turns] == ["hi", "there"]
    assert "再见" in capsys.readouterr().out


def test_tab_completes_commands_and_nothing_else(talker: str, home: Path) -> None:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    from credence.cli.chat_terminal import _completer, history_file

    completer = _completer(Typed(talker, home).session)

    def offered(text: str) -> list[str]:
        return [c.text for c in completer.get_completions(Document(text), CompleteEvent())]

    assert offered("/be") == ["/better ", "/belief", "/beta "]
    assert offered("/") == [f"/{c} " if c in {"better", "beta", "save", "lang"} else f"/{c}" for c in COMMANDS]
    assert offered("go") == offered("/better a") == offered("a /go") == []
    assert history_file(home / "new") == history_file(home / "new")


class Screen:
    """What a terminal shows, read in order: what stands after the text waited for is there for the next wait."""

    def __init__(self, master: int) -> None:
        self.master, self.ahead = master, ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end inside a character

    def until(self, wanted: str, more: int = 0, seconds: float = 120.0) -> str:
        """The text up to and with the wanted one and `more` characters."""
        end = time.monotonic() + seconds
        while (at := self.ahead.find(wanted)) < 0 or len(self.ahead) < at + len(wanted) + more:
            left = end - time.monotonic()
            assert left > 0, f"no {wanted!r} in {self.ahead!r}"
            if select.select([self.master], [], [], left)[0]:
                # A little at a time, so that a talker who does not stop fills the terminal and waits.
                self.ahead += self.decoder.decode(os.read(self.master, 256))
                # The line editor asks the terminal where its cursor is; a terminal answers.
                if "\x1b[6n" in self.ahead:
                    os.write(self.master, b"\x1b[1;1R")
                    self.ahead = self.ahead.replace("\x1b[6n", "")
        cut = at + len(wanted) + more
        told, self.ahead = self.ahead[:cut], self.ahead[cut:]
        return told


def own_terminal() -> None:
    """In the child: stdin becomes its terminal, and Ctrl-C is heard even where the shell above was deaf to it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_stops_the_reply_only_on_a_real_terminal(tmp_path_factory: pytest.TempPathFactory, home: Path) -> None:
    """The reply has no end, and more text than a terminal holds unread: Ctrl-C comes in its middle, however late."""
    endless = talking.make(tmp_path_factory.mktemp("endless"), endless=True)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "credence.cli.main", "chat", "--model", endless, "--horizon", "30000",
               "--lang", "en"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(SRC), "TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=own_terminal,
    )  # fmt: skip
    os.close(slave)
    screen = Screen(master)
    try:
        screen.until("you ▸")
        os.write(master, "你好\r".encode())
        screen.until("prior ▸ ", more=40)  # some of the reply, colours aside
        os.write(master, b"\x03")
        assert "Traceback" not in screen.until("[stopped]")
        screen.until("you ▸")
        os.write(master, b"/why\r")
        screen.until("log π0 ")
        screen.until("you ▸")
        os.write(master, b"/quit\r")
        screen.until("Goodbye")
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        os.close(master)
