"""`credence run` with engines that learn from files: trained, told, resumed, measured alike, and refused early."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credence.core.errors import ConfigError
from credence.report.schema import Report
from credence.study.run import run_study
from credence.study.toml import load_config

PAIRS = [
    {"prompt": "Say 1", "chosen": "ab", "rejected": "!?"},
    {"prompt": "Say 1", "chosen": "!?", "rejected": "ab"},
    {"prompt": "Say 2", "chosen": "cd", "rejected": "..", "votes": [3, 1]},
    {"prompt": "Say 2", "chosen": "cd", "rejected": "cd"},
    {"prompt": "Say 3", "chosen": "far too long a reply", "rejected": "x"},
    {"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ef"}],
     "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "-"}]},
]  # fmt: skip
LABELS = [{"prompt": f"Say {i % 3}", "completion": "ab" if i % 2 else "?!", "label": bool(i % 2)} for i in range(6)]
SAID = [{"prompt": f"Say {i}", "completion": "abc"} for i in range(4)]
TEXT = """
name = "small"
[prior]
model = "{model}"
system = ""
horizon = 5
[prompts]
source = "asked.jsonl"
validation = 2
heldout = 2
[evidence.reward]
fn = "mine.py:letters"
beta = 0.2
bound = 1.0
[measure]
draws = 16
policy_draws = 8
best_of_n = 4
smc = {{particles = 4, islands = 2}}
[train]
engine = "dpo"
rank = 2
validate_every = 2
validation_draws = 4
dpg.epochs = 0
dpo = {{ data = "pairs.jsonl", beta = 0.5, steps = 4, prompts = 2, lr = 0.01 }}
ipo = {{ data = "pairs.jsonl", beta = 0.5, steps = 2, prompts = 2, lr = 0.01 }}
kto = {{ data = "labels.jsonl", steps = 2, prompts = 4, lr = 0.01 }}
sft = {{ data = "said.jsonl", steps = 2, prompts = 2, lr = 0.01 }}
"""


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> Path:
    def write(name: str, rows: list[Any]) -> None:
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")

    write("asked.jsonl", [{"prompt": f"Ask {i}"} for i in range(6)])
    write("pairs.jsonl", PAIRS)
    write("labels.jsonl", LABELS)
    write("said.jsonl", SAID)
    (tmp_path / "mine.py").write_text(
        "def letters(prompts, completions):\n    return [sum(c.isalpha() for c in text) / 5 for text in completions]\n"
    )
    (tmp_path / "c.toml").write_text(TEXT.format(model=tiny), encoding="utf-8")
    return tmp_path / "c.toml"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.study.run.render", lambda report: "<html>")


def study(config: Path, *settings: str, name: str = "small", **options: Any) -> tuple[Report, Path, str]:
    checked = load_config(config, [f"name={name}", *settings])
    folder, said = config.parent / "runs" / name, io.StringIO()
    report = run_study(checked, folder, console=Console(file=said, width=200), **options)
    return report, folder, said.getvalue()


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def test_dpo_is_trained_measured_and_says_what_its_file_holds(config: Path) -> None:
    report, folder, said = study(config)
    records = history(folder)
    assert [r["step"] for r in records] == [1, 2, 3, 4]
    assert {"preference_loss", "agreed", "h_margin", "seen", "grad_norm"} <= records[0].keys()
    assert not {"reward", "elbo", "kl_prior"} & records[0].keys()
    assert "val_elbo" in records[1]
    for words in ("1 of 6 examples are left out", "compare a reply with itself", "contradict an earlier one"):
        assert words in said, said
    assert "policy_dpo" in [row.name for row in report.ruler]
    assert (folder / "policy" / "config.json").is_file()


@pytest.mark.parametrize("engine", ["ipo", "kto", "sft"])
def test_the_others_run_from_their_files(config: Path, engine: str) -> None:
    _, folder, _ = study(config, f"train.engine={engine}")
    key = "nll" if engine == "sft" else "preference_loss"
    assert [record["step"] for record in history(folder) if key in record] == [1, 2]


def test_labels_that_repeat_or_contradict_are_said_and_bounded(config: Path) -> None:
    """Ten copies of a line train the same policy as one. Rejects labels that pull as often as they were copied."""
    runs: list[list[dict[str, Any]]] = []
    for name, rows in (("one", LABELS), ("ten", LABELS + 10 * LABELS[:1])):
        (config.parent / "labels.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        _, folder, said = study(config, "train.engine=kto", name=name)
        runs.append(history(folder))
        assert ("10 labels repeat a judgement" in said) == (name == "ten")
    assert runs[0] == runs[1]


def test_a_resumed_run_refuses_another_file(config: Path) -> None:
    study(config)
    (config.parent / "pairs.jsonl").write_text(json.dumps(PAIRS[0]), encoding="utf-8")
    (config.parent / "runs" / "small" / "manifest.json").write_text(
        (config.parent / "runs" / "small" / "manifest.json").read_text().replace('"done"', '"stopped"')
    )
    with pytest.raises(ConfigError, match=r"train\.dpo\.data holds other recorded replies"):
        study(config, resume=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("train.dpo.data=''",), r"train\.dpo\.data is empty: dpo learns from recorded comparisons"),
        (("train.dpo.data='labels.jsonl'",), "These are labels, which kto reads"),
        (("train.dpo.data='pair.jsonl'",), r"no such file .*'pairs\.jsonl'"),
        (("train.beta.schedule='annealed'",), r"train\.beta\.schedule is for engines that draw"),
        (("train.replay.groups=2",), r"train\.replay\.groups is for engines that draw"),
        (("prior.horizon=2",), "no example of pairs.jsonl is left.*Raise the horizon"),
    ],
)
def test_what_cannot_be_is_said(config: Path, settings: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        study(config, *settings)
