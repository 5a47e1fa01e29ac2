"""A gold measure apart from the reward: recorded beside the proxy, choosing on request, and drawn over √KL."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.learn.loop import Validation, fit
from credence.learn.reinforce import Reinforce
from credence.prior.tabular import tabular_policy
from credence.report import plots
from credence.study.run import run_study
from credence.study.toml import load_config
from tests.toys import toy_a, toy_prior, toy_prompts

TEXT = """
name = "gold"
[prior]
model = "{model}"
system = ""
style = "plain"
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
gold = "mine.py:short"
[train]
rank = 2
validate_every = 1
validation_draws = 4
dpg.epochs = 0
reinforce = {{prompts = 2, group = 4, steps = 3}}
"""


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> Path:
    (tmp_path / "asked.jsonl").write_text("\n".join(json.dumps({"prompt": f"Ask {i}"}) for i in range(6)))
    (tmp_path / "mine.py").write_text(
        "def letters(prompts, completions):\n    return [sum(c.isalpha() for c in x) / 5 for x in completions]\n\n"
        "def short(prompts, completions):\n    return [-float(len(x)) for x in completions]\n"
    )
    (tmp_path / "gold.toml").write_text(TEXT.format(model=tiny))
    return tmp_path / "gold.toml"


def looks(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if "val_measure" in line]


def test_a_run_measures_gold_and_its_page_draws_it(config: Path, tmp_path: Path) -> None:
    run_study(load_config(config), tmp_path / "out", console=Console(file=io.StringIO()))
    seen = looks(tmp_path / "out")
    assert [line["step"] for line in seen] == [1, 2, 3]
    for line in seen:  # the evidence is letters/5/0.2 nats and an ended cut of 3: the proxy less its KL is the ELBO
        assert line["val_elbo"] == pytest.approx(line["val_log_lik"] - line["val_kl"], abs=1e-9)
        assert line["val_measure"] <= 0
    assert "over-optimised" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("chooses", [True, False])
def test_gold_chooses_on_request_only(chooses: bool) -> None:
    """A gold that is the ELBO's opposite in time: the first look is the best by it, not by the ELBO."""
    count = iter(range(100))
    given = Validation(
        toy_prompts(), 64, 2, measure=lambda prompts, rows: [-float(next(count))] * len(rows), chooses=chooses
    )
    policy = tabular_policy(toy_prior(), toy_prompts())
    done = fit(toy_a(), policy, toy_prompts(), Reinforce(1, 32, 0.2), Key(3), 20, validation=given)
    assert (done.best == 0) == chooses
    assert done.best_elbo == (0.0 if chooses else max(r["val_elbo"] for r in done.history if "val_elbo" in r))


def test_the_picture_holds_what_there_is() -> None:
    assert plots.gold_svg(({"step": 1, "elbo": 1.0, "val_elbo": 1.0},)) == ""
    line = {"step": 1, "val_measure": 0.5, "val_log_lik": 2.0, "val_kl": 0.25, "best": True}
    for narrow in (False, True):
        drawn = plots.gold_svg((line, {**line, "step": 2, "val_kl": -1e-3, "best": False}), narrow)
        assert drawn.startswith("<svg")
        assert "gold" in drawn
        assert "kept" in drawn


def test_a_gold_that_cannot_be_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match="no such reward file"):
        load_config(config, ["measure.gold=nothing.py:x"])
    from credence.study import build

    with pytest.raises(ConfigError, match="names nothing that could choose"):
        build.gold(load_config(config, ["measure.gold=''", "measure.gold_chooses=true"]))
