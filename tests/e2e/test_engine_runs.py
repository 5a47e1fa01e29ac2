"""`credence run` with each engine of stage 2 in the registry: trained, logged, measured, exported."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credence.core.errors import ConfigError
from credence.learn.resume import Saver
from credence.report.schema import Report
from credence.study.learners import LEARNERS
from credence.study.recorded_learners import RecordedConfig
from credence.study.run import run_study
from credence.study.toml import load_config

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
rank = 2
validate_every = 2
validation_draws = 4
dpg = {{ epochs = 0, prompts = 4, draws = 8 }}
"""
OWN = {
    "f_dpg": {"divergence"},
    "trajectory_balance": {"imbalance", "log_z"},
    "vargrad": {"imbalance", "log_z"},
    "subtb": {"value_loss", "root"},
    "a_star_po": {"imbalance", "log_z"},
    "distil": {"ess_share"},
    "expert_iteration": {"kept"},
    "reward_weighted": {"clipped"},
    "mpo": {"eta", "tilt"},
    "bond": {"divergence"},
    "ppo": {"clip_share"},
    "grpo": {"group_sd"},
    "rao_blackwell": {"kl_token"},
    "reinforce": {"advantage_sd"},
}
"""What each engine's history holds beside the common keys."""

HANDED = [name for name in LEARNERS if not isinstance(getattr(load_config(None).train, name), RecordedConfig)]


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> Path:
    asked = "\n".join(json.dumps({"prompt": f"Ask {i}"}) for i in range(9))
    (tmp_path / "asked.jsonl").write_text(asked, encoding="utf-8")
    (tmp_path / "mine.py").write_text(
        "def letters(prompts, completions):\n    return [sum(c.isalpha() for c in text) / 5 for text in completions]\n"
    )
    (tmp_path / "c.toml").write_text(TEXT.format(model=tiny), encoding="utf-8")
    return tmp_path / "c.toml"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.study.run.render", lambda report: "<html>")


def study(config: Path, engine: str, *settings: str, **options: Any) -> tuple[Report, Path, str]:
    given = [f"train.engine={engine}", f"train.{engine}.steps=2", f"train.{engine}.prompts=2",
             f"train.{engine}.group=4", f"train.{engine}.lr=0.01", *settings]  # fmt: skip
    folder, said = config.parent / "runs" / engine, io.StringIO()
    report = run_study(load_config(config, given), folder, console=Console(file=said, width=200), **options)
    return report, folder, said.getvalue()


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_engine_that_is_handed_draws_has_a_row_here() -> None:
    assert set(OWN) == set(HANDED)


@pytest.mark.parametrize("engine", HANDED)
def test_an_engine_trains_and_is_measured(config: Path, engine: str) -> None:
    report, folder, _ = study(config, engine)
    records = history(folder)
    assert [record["step"] for record in records] == [1, 2]
    assert OWN[engine] | {"grad_norm", "lr"} <= records[0].keys()
    assert "val_elbo" in records[1]
    assert f"policy_{engine}" in [row.name for row in report.ruler]
    assert (folder / "policy" / "config.json").is_file()


@pytest.mark.parametrize(
    ("engine", "settings", "says"),
    [
        ("f_dpg", ("train.f_dpg.draws='prior'",), ""),
        ("vargrad", ("train.vargrad.draws='prior'",), ""),
        ("trajectory_balance", ("train.trajectory_balance.draws='prior'",), ""),
        ("trajectory_balance", ("train.trajectory_balance.log_z_lr=0",), ""),
        ("expert_iteration", ("train.expert_iteration.draws='policy'",), "converges to the single best reply: not p*"),
        ("expert_iteration", ("train.expert_iteration.of=0",), "converges to the prior given log-likelihood above"),
        ("distil", ("train.distil.sampler='best_of_n'",), "converges to the law of BestOfN: not p*"),
        ("mpo", (), "tilted by 0.5 nats: not p*"),
    ],
)
def test_their_other_forms_run_and_name_another_target(
    config: Path, engine: str, settings: tuple[str, ...], says: str
) -> None:
    _, folder, said = study(config, engine, *settings)
    assert [record["step"] for record in history(folder)] == [1, 2]
    assert says in said if says else "converges to" not in said


@pytest.mark.parametrize(
    ("engine", "settings", "says"),
    [
        ("bond", ("train.bond.of=5",), "of=5, group=4: ranks of 4 draws"),
        (
            "mpo",
            ("train.mpo.group=9",),
            r"train\.mpo\.group = 9 draws a prompt are asked for, and train\.dpg\.draws = 8",
        ),
        ("reward_weighted", ("train.replay.groups=2",), r"train\.replay\.groups = 2 joins past draws of the policy"),
        ("distil", ("train.distil.sampler='smd'",), "Did you mean 'smc'"),
        ("f_dpg", ("train.f_dpg.divergence='kl'",), r"train\.f_dpg\.divergence"),
    ],
)
def test_what_cannot_be_is_said_before_anything_loads(
    config: Path, engine: str, settings: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        study(config, engine, *settings)
    assert not (config.parent / "runs" / engine).exists()


def test_a_balance_goes_on_with_its_log_z_where_it_was_killed(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("train.checkpoint_every=1", "train.trajectory_balance.steps=3")
    whole, folder, _ = study(config, "trajectory_balance", *settings)
    before, save = history(folder), Saver.save

    def killed(saver: Saver, step: int, *args: Any) -> None:
        save(saver, step, *args)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Saver, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            study(config, "trajectory_balance", *settings, overwrite=True)
    assert len(history(folder)) == 2
    again, folder, _ = study(config, "trajectory_balance", *settings, resume=True)
    assert history(folder) == before
    assert [row.kl_reverse for row in again.ruler] == [row.kl_reverse for row in whole.ruler]
