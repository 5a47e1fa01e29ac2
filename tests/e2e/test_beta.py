"""`credence beta` on a tiny random model of one token, which can be enumerated; and on the embedded one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from credence.cli.main import app
from credence.diagnose.budget import budget
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.study import build
from credence.study.toml import load_config


def call(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["beta", *arguments], env={"COLUMNS": "120"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def data(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(
        "def letter(prompts, completions):\n"
        "    return [ord(c[0]) % 7 / 7 if c.isascii() and c else 0.0 for c in completions]\n"
    )
    path = tmp_path / "c.toml"
    path.write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 1\ntemperature = 1.0\n'
        '[evidence.reward]\nfn = "mine.py:letter"\nbeta = 1.0\n'
    )
    return str(path)


def test_it_finds_the_oracle_s_beta(config: str) -> None:
    """257 replies, so that every β is known: both goals' intervals hold it, and what it prints can be set."""
    checked = load_config(Path(config))
    posterior = Posterior(build.prior(checked), build.evidence(checked))
    rewards, other, measure = [], [], []
    for b in range(2):
        prompts = posterior.prior.codec.prompts(["hi", "你好"]).take([b])
        exact = enumerate_posterior(posterior, prompts)
        r = posterior.evidence.readings(prompts, exact.completions)["letter"]
        rewards.append(r)
        other.append(exact.log_lik - r)
        measure.append(exact.log_prior)
    asked = ("--prompt", "hi", "--prompt", "你好", "--draws", "400")
    for kind, goal in (("kl", 0.6), ("reward", 0.5)):
        truth = budget("kl" if kind == "kl" else "reward", goal, rewards, other, measure, exact=True)
        found = data(config, f"--{kind}", str(goal), *asked)
        assert found["beta"]["low"] < truth.beta[0] < found["beta"]["high"]
        assert found[kind]["value"] == pytest.approx(goal)
        assert found["settings"] == {"evidence.reward.beta": pytest.approx(found["beta"]["value"])}
        assert found["trusted"]
        assert found["reach"]["kl"] > 0.6
        assert [p["prompt"] for p in found["prompts"]] == ["hi", "你好"]
    shown = call(config, "--kl", "0.6", *asked).stdout
    assert "gives KL(p*‖π0) = 0.6 [" in shown
    assert "--set evidence.reward.beta=" in shown
    assert "E[r]  ESS of 400" in shown
    assert "every prompt's draws can be trusted here" in shown


def test_what_cannot_be_solved_is_refused_with_what_can(config: str) -> None:
    one = ("--prompt", "hi", "--draws", "40")
    assert "one of --kl NATS and --reward VALUE" in call(config, code=2).stderr
    assert "one of --kl NATS and --reward VALUE" in call(config, "--kl", "1", "--reward", "1", code=2).stderr
    assert "cannot be had from these draws: they reach from" in call(config, "--kl", "9", *one, code=2).stderr
    assert "the mean without this reward" in call(config, "--reward", "-1", *one, code=2).stderr
    assert "must be finite and above 0" in call(config, "--kl", "0", *one, code=2).stderr
    assert "--prompt is empty" in call(config, "--kl", "1", "--prompt", " ", code=2).stderr


def test_an_answer_that_cannot_be_trusted_says_so(config: str) -> None:
    shown = call(config, "--kl", "0.5", "--prompt", "hi", "--draws", "16").stdout
    assert "cannot be trusted here" in shown
    assert "Take more draws (--draws)" in shown


@pytest.mark.slow
def test_the_embedded_model_s_beta_for_two_nats() -> None:
    config = str(Path(__file__).parents[2] / "examples/cheerful.toml")
    found = data(config, "--kl", "1.0", "--prompt", "How are you?", "--draws", "128", "--set", "prior.horizon=12")
    assert 0.05 < found["beta"]["low"] < found["beta"]["value"] < found["beta"]["high"] < 3
    assert torch.tensor(found["kl"]["value"]) == pytest.approx(1.0)
