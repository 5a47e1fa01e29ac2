"""`credence dialogue train` as a user types it, on a file of questions: choosing answers, and a tiny model."""

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from credence.cli.main import app
from credence.prior.policy import full_policy
from tests.dialogues import tiny_chat
from tests.embedders import HashedGrams

ROOT = Path(__file__).parents[2]
COMMON = """
name = "desk"
[users]
source = "faq.csv"
validation = 2
heldout = 4
[talk]
knowledge = "faq.csv"
max_turns = 2
{talk}
[[evidence.reward]]
fn = "overlap"
beta = 0.2
[[evidence.reward]]
fn = "{reward}"
beta = 0.2
[learn]
users = 2
rollouts = 3
steps = 2
validate_every = 2
validation_rollouts = 2
lr = {lr}
[measure]
rollouts = 2
transcripts = 2
"""
CANDIDATES = "[candidates]\ncount = 3\nchars = [20, 80]\nscore = false\n"
LOSES = "def fragile(prompts, completions):\n    raise RuntimeError('no network')\n"
HARD = "def hard(prompts, completions):\n    return [float('-inf')] * len(completions)\n"


def write(folder: Path, tail: str = "", reward: str = "turn", lr: float = 0.1, talk: str = "") -> Path:
    with (folder / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "answer"])
        for i, word in enumerate(
            ["apple", "pear", "plum", "cherry", "melon", "fig", "grape", "peach", "lemon", "berry"]
        ):
            rows.writerow([f"How do I peel a {word}?", f"Take a knife number {i}. Then peel the {word} slowly."])
    config = folder / "desk.toml"
    config.write_text(COMMON.format(reward=reward, lr=lr, talk=talk) + tail, encoding="utf-8")
    return config


def train(config: Path, *more: str) -> Result:
    into = str(config.parent / "runs")
    return CliRunner().invoke(app, ["dialogue", "train", str(config), "--into", into, *more], env={"COLUMNS": "120"})


def saved(folder: Path) -> None:
    """A tiny chat model in the folder model/."""
    prior = tiny_chat()
    prior.model.save_pretrained(folder / "model")
    prior.codec.tokenizer.save_pretrained(folder / "model")


def test_choosing_answers_leaves_a_whole_folder_and_the_same_one_again(tmp_path: Path) -> None:
    config = write(tmp_path, CANDIDATES)
    done = train(config, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["users"] == {"train": 4, "validation": 2, "heldout": 4}
    assert [row["name"] for row in report["rows"]] == ["before", "after", "change"]
    assert report["rows"][0]["kl"]["value"] == 0
    run = tmp_path / "runs/desk"
    assert json.loads((run / "manifest.json").read_text())["status"] == "done"
    assert set(json.loads((run / "policy/weights.json").read_text())) == set(report["weights"])
    history = (run / "history.jsonl").read_bytes()
    assert len(history.splitlines()) == 2
    stored = [json.loads(line) for line in (run / "transcripts.jsonl").read_text("utf-8").splitlines()]
    assert len(stored) == 16
    assert {t["law"] for t in stored} == {"before", "after"}
    page = (run / "report.html").read_text("utf-8")
    assert "Before and after" in page
    assert "How do I peel" in page
    refused = train(config)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.output
    again = train(config, "--overwrite")
    assert again.exit_code == 0, again.output
    assert "J/β, nats a dialogue" in again.output
    assert (run / "history.jsonl").read_bytes() == history


def test_whether_the_question_was_answered_is_a_reward_with_both_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credence.evidence.embedding.load_embedder", HashedGrams)
    config = write(tmp_path, CANDIDATES, reward="answer")
    done = train(config, "--set", "users.satisfaction=answer", "--set", "learn.steps=1")
    assert done.exit_code == 0, done.output
    names = ("answer", "answer_similarity", "answer_facts")
    assert all(f"\n{name}, a" in done.output for name in names)
    run = tmp_path / "runs/desk"
    assert set(names) <= set(json.loads((run / "history.jsonl").read_text().splitlines()[0]))
    before = json.loads((run / "report.json").read_text())["rows"][0]["readings"]
    score, likeness, facts = (before[name]["value"] for name in names)
    assert 0 < score < 1
    assert score == pytest.approx((likeness + facts) / 2)
    page = (run / "report.html").read_text("utf-8")
    assert all(name in page for name in names)


def test_a_language_model_of_a_folder_is_trained_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    asked: list[str] = []
    monkeypatch.setattr("credence.study.session.training_products", lambda given, device: asked.append(given))
    tail = '[prior]\nmodel = "model"\nsystem = ""\nhorizon = 6\ndtype = "float64"\n'
    config = write(tmp_path, tail, lr=1e-3, talk="prompt_tokens = 400")
    done = train(config, "--json", "--set", "learn.products=bfloat16")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["law"] == "language model"
    assert (tmp_path / "runs/desk/policy/model.safetensors").exists()
    assert {h["step"] for h in report["history"]} == {1.0, 2.0}
    assert asked == ["bfloat16"]
    assert report["manifest"]["numerics"]["training_products"] == "float32"  # no faster here, it was said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_init_writes_is_trained_as_it_is(lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.evidence.embedding.load_embedder", HashedGrams)
    write(tmp_path)  # the questions, which the file's own source would bring from Debian
    saved(tmp_path)
    config = tmp_path / "mine.toml"
    made = CliRunner().invoke(app, ["init", str(config), "--dialogue", "--lang", lang])
    assert made.exit_code == 0, made.output
    assert f"credence knowledge import debian-faq:{lang}" in made.output
    small = ["users.source=faq.csv", "talk.knowledge=faq.csv", "users.validation=2", "users.heldout=2",
             "prior.model=model", "prior.horizon=4", "prior.dtype=float64", "talk.prompt_tokens=400",
             "talk.system={knowledge}", "talk.passage_chars=40", "learn.users=1", "learn.rollouts=2", "learn.steps=1",
             "learn.validation_rollouts=1", "measure.rollouts=2"]  # fmt: skip
    if lang == "zh":
        small.append("candidates.count=3")
    done = train(config, *(word for setting in small for word in ("--set", setting)), "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["law"] == ("candidates" if lang == "zh" else "language model")
    assert len(report["history"]) == 1


def test_users_ask_in_the_words_of_a_file(tmp_path: Path) -> None:
    config = write(tmp_path, CANDIDATES)
    asked = {f"Q{i}": word for i, word in enumerate(["apple", "pear", "plum", "cherry", "melon", "fig"])}
    rows = [f"How do I peel a {word}?,get the skin off my {word}" for word in asked.values()]
    (tmp_path / "words.csv").write_text("\n".join(["entry,text", *rows]), encoding="utf-8")
    plain = json.loads(train(config, "--json", "--set", "name=plain").stdout)
    done = train(config, "--json", "--set", "users.rewordings=words.csv")
    assert done.exit_code == 0, done.output
    stored = (tmp_path / "runs/desk/transcripts.jsonl").read_text("utf-8").splitlines()
    first = {t["messages"][0]["content"] for t in map(json.loads, stored)}
    others = [text for text in first if "get the skin off my" in text]
    assert others
    found = {f["name"]: f.get("value") for f in json.loads(done.stdout)["findings"]}
    assert found.get("wordings", 0) == len(first) - len(others)
    assert {f["name"]: f.get("value") for f in plain["findings"]}["wordings"] == 4
    told = train(config, "--resume", "--set", "users.rewordings=none.csv")
    assert told.exit_code == 2
    assert "users.rewordings was" in told.output
    missing = train(config, "--set", "name=other", "--set", "users.rewordings=word.csv")
    assert missing.exit_code == 2
    assert "no such file of questions" in missing.output
    assert "Did you mean 'words.csv'" in " ".join(missing.output.split())
    assert not (tmp_path / "runs/other").exists()


def test_a_reward_that_always_fails_keeps_the_dialogues_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(LOSES)
    done = train(write(tmp_path, CANDIDATES, reward="bad.py:fragile"))
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "failed in every dialogue with the held-out users. The first reason" in said
    run = tmp_path / "runs/desk"
    told = json.loads((run / "manifest.json").read_text())
    assert told["status"] == "failed"
    assert "no network" in told["error"]
    kept = [json.loads(line) for line in (run / "transcripts.jsonl").read_text().splitlines()]
    assert len(kept) == 8
    assert all("no network" in t["errors"][0] for t in kept)
    assert not (run / "history.jsonl").exists()  # no update is tried on what cannot be read


def test_a_reward_of_minus_infinity_is_refused_by_name_and_the_dialogues_are_kept(tmp_path: Path) -> None:
    """Once the run learnt on, said that J was −inf ± nan, and failed at the report without a word of the reward."""
    (tmp_path / "hard.py").write_text(HARD)
    done = train(write(tmp_path, CANDIDATES, reward="hard.py:hard"))
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "the evidence gave -inf nats to the reply 'Take a knife" in said
    assert "Give finite nats" in said
    run = tmp_path / "runs/desk"
    assert len((run / "transcripts.jsonl").read_text().splitlines()) == 8
    assert not (run / "history.jsonl").exists()
    (tmp_path / "hard.py").write_text(HARD.replace("-inf", "-8"))
    assert train(tmp_path / "desk.toml", "--resume").exit_code == 0  # mended, it is asked again


def test_the_loop_of_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("dialogue_loop", ROOT / "examples/dialogue_loop.py")
    assert spec is not None
    assert spec.loader is not None
    loop: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    prior = tiny_chat()
    assert full_policy(prior) is not None
    info = loop.main(prior, updates=2)
    assert info["grad_norm"] > 0
    assert capsys.readouterr().out.count("J/β") == 2
