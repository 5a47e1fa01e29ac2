"""`credence run` with train.method = "value": a head on the frozen model, its stages, its folder, its use."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Prompts
from credence.learn.loop import elbo
from credence.posterior.posterior import Posterior
from credence.posterior.twist import Twisted
from credence.prior.guided_file import load_guide
from credence.sample.smc import SMC
from credence.study import build
from credence.study.run import run_study
from credence.study.toml import load_config
from credence.study.trainable import check_training
from credence.study.values import LEARNERS, VALUES

REWARDS = """
def letters(prompts, completions):
    return [sum(c.isascii() and c.isalpha() for c in text) / 6 for text in completions]
"""
TEXT = """
name = "small"
[prior]
model = "{model}"
system = ""
horizon = 6
[prompts]
source = "asked.jsonl"
validation = 2
heldout = 2
[evidence.reward]
fn = "mine.py:letters"
beta = 0.2
bound = 1.0
[measure]
draws = 24
policy_draws = 8
best_of_n = 4
smc = {{particles = 4, islands = 2}}
[train]
method = "value"
validate_every = 4
validation_draws = 16
[train.value]
learner = "fudge"
epochs = 20
batch = 4
lr = 0.05
[train.dpg]
prompts = 4
draws = 32
epochs = 0
[train.reinforce]
steps = 0
"""


@pytest.fixture
def config(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("credence.study.run.render", lambda report: "<html>")
    asked = [{"prompt": f"Say {i}"} for i in range(8)]
    (tmp_path / "asked.jsonl").write_text("\n".join(json.dumps(a) for a in asked), encoding="utf-8")
    (tmp_path / "mine.py").write_text(REWARDS, encoding="utf-8")
    (tmp_path / "c.toml").write_text(TEXT.format(model=tiny), encoding="utf-8")
    return tmp_path / "c.toml"


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_a_run_learns_values_and_leaves_them(config: Path, tmp_path: Path) -> None:
    """The folder, the report, and the guide read back, which draws and twists. What a head learns: tests/contract."""
    checked = load_config(config)
    report = run_study(checked, tmp_path / "out", console=quiet())
    assert [row.name for row in report.ruler if row.kind == "train"] == ["policy_value"]
    history = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in history} == {"value"}
    assert all("value_loss" in line for line in history)
    assert sorted(p.name for p in (tmp_path / "out" / "values").iterdir()) == [
        "README.md", "guide.json", "head.safetensors",
    ]  # fmt: skip
    assert not (tmp_path / "out" / "policy").exists()
    prior, evidence = build.prior(checked), build.evidence(checked)
    guide = load_guide(tmp_path / "out" / VALUES, prior)
    prompts: Prompts = prior.codec.prompts(["Say 1", "Say 9"])
    before, se = elbo(Posterior(prior, evidence), prior, prompts, Key(1), 64)
    after, _ = elbo(Posterior(prior, evidence), guide, prompts, Key(1), 64)
    assert after > before - 5 * se  # the prior itself was a candidate
    draws = SMC(8, 2, proposal=guide).draw(Key(2), Posterior(prior, Twisted(evidence, guide)), prompts, 4)
    assert bool(torch.isfinite(draws.log_z).all())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_every_learner_runs_and_goes_on_to_the_policy_stages(name: str, config: Path, tmp_path: Path) -> None:
    """Each learner, then forward KL and REINFORCE on the same head; soft_q with a hidden layer."""
    given = [f'train.value.learner="{name}"', "train.value.epochs=2", "train.dpg.epochs=1", "train.reinforce.steps=2"]
    given += ["train.value.width=5"] if name == "soft_q" else []
    report = run_study(load_config(config, given), tmp_path / "out", console=quiet())
    rows = [row.name for row in report.ruler if row.kind == "train"]
    assert rows == ["policy_value", "policy_dpg", "policy_reinforce"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["status"] == "done"


def test_a_run_that_was_broken_off_goes_on(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the stage and resumed: the same history and head as in one go (one thread)."""
    torch.set_num_threads(1)
    given = ["train.value.epochs=6", "train.checkpoint_every=2", 'train.value.learner="soft_q"']
    run_study(load_config(config, given), tmp_path / "whole", console=quiet())
    from credence.study.learning import Learning

    right = Learning.__call__

    def stops(self: Learning, record: dict, clock: dict) -> None:
        right(self, record, clock)
        if record["step"] == 3:
            raise MemoryError("the machine gave up")

    monkeypatch.setattr(Learning, "__call__", stops)
    with pytest.raises(MemoryError):
        run_study(load_config(config, given), tmp_path / "cut", console=quiet())
    monkeypatch.setattr(Learning, "__call__", right)
    run_study(load_config(config, given), tmp_path / "cut", resume=True, console=quiet())
    for name in ("history.jsonl", "values/head.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_learner_of_values_without_values_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.method = 'lora'"):
        check_training(load_config(config, ['train.method="lora"']))
