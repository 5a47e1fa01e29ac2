"""`[evidence.preference]`: comparisons as the evidence of a run, of draws and of β; and what is refused or said."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from credence.cli.main import app
from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.dialogue.room import encoded
from credence.dialogue.stream import as_row
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback
from credence.study import build
from credence.study.run import run_study
from credence.study.toml import load_config
from tests.e2e.conftest import saved

LETTERS, MARKS = ("ab", "cd", "ef", "gh", "kl"), ("!?", "..", "-;", "?!", "!!")
PAIRS: list[dict[str, Any]] = [
    {"prompt": f"Say {i}", "chosen": a, "rejected": b} for i, a in enumerate(LETTERS) for b in MARKS
]
NOISE: list[dict[str, Any]] = [
    {"prompt": "Say 0", "chosen": "ab", "rejected": "!?"},
    {"prompt": "Say 0", "chosen": "!?", "rejected": "ab"},
    {"prompt": "Say 1", "chosen": "xy", "rejected": "xy"},
    {"prompt": "Say 2", "chosen": "uv", "rejected": "#", "votes": [1, 1]},
    {"prompt": "Say 3", "chosen": "a" * 300, "rejected": "x"},
]
TEXT = """
name = "taught"
[prior]
model = "{model}"
system = ""
style = "plain"
horizon = 5
[prompts]
source = "asked.jsonl"
validation = 2
heldout = 2
[evidence.preference]
data = "pairs.jsonl"
beta = 0.5
[evidence.ended]
cut = -1.0
[measure]
draws = 16
policy_draws = 8
best_of_n = 4
smc = {{particles = 4, islands = 2}}
[train]
rank = 2
validate_every = 2
validation_draws = 4
dpg = {{prompts = 2, draws = 8, batch = 2}}
reinforce = {{prompts = 2, group = 4, steps = 2}}
"""


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> Path:
    write(tmp_path / "asked.jsonl", [{"prompt": f"Ask {i}"} for i in range(6)])
    write(tmp_path / "pairs.jsonl", PAIRS)
    (tmp_path / "taught.toml").write_text(TEXT.format(model=tiny))
    return tmp_path / "taught.toml"


def made(config: Path, *overrides: str) -> tuple[Any, Any, list[str]]:
    """The learnt evidence, the prior, and what was said."""
    checked, said = load_config(config, overrides), list[str]()
    prior = build.prior(checked)
    return build.evidence(checked, prior=prior, say=said.append), prior, said


def replies(prior: Any, *texts: str) -> tuple[Prompts, Completions]:
    rows = [as_row(encoded(prior, text), True) for text in texts]
    width = max(row.ids.shape[1] for row in rows)
    out = [torch.nn.functional.pad(x, (0, width - x.shape[1])) for row in rows for x in (row.ids, row.mask)]
    true = torch.ones(len(rows), dtype=torch.bool)
    return prior.codec.prompts(["Ask 0"]), Completions(torch.cat(out[::2]), torch.cat(out[1::2]), true, 0 * true.long())


def test_the_reward_prefers_what_was_preferred_and_halving_beta_doubles_its_nats(config: Path) -> None:
    evidence, prior, said = made(config)
    taught = evidence.factors[0]
    assert isinstance(taught, Feedback)
    assert any("25 comparisons; learnt without 5 of them" in line and "a coin" in line for line in said)
    nats = taught.log_lik(*replies(prior, "ab", "kl", "!?", "--"))
    assert float(nats[:2].min()) > float(nats[2:].max())
    twice = made(config, "evidence.preference.beta=0.25")[0].factors[0].log_lik(*replies(prior, "ab", "!?"))
    assert torch.allclose(twice, 2 * taught.log_lik(*replies(prior, "ab", "!?")), atol=1e-9)
    again = made(config, "seed=9")[0].factors[0].log_lik(*replies(prior, "ab", "!?"))
    assert torch.equal(again, taught.log_lik(*replies(prior, "ab", "!?")))  # the target does not move with the seed


def test_each_belief_is_the_library_s(config: Path) -> None:
    plain, prior, _ = made(config)
    mean, sd = (plain.factors[0].readings(*replies(prior, "ab", "!?"))[name] for name in ("approval", "approval_sd"))
    low = made(config, "evidence.preference.belief=pessimistic", "evidence.preference.k=2.0")[0].factors[0]
    assert torch.allclose(low.log_lik(*replies(prior, "ab", "!?")), (mean - 2 * sd) / 0.5, atol=1e-9)
    for belief in ("mean", "min", "pessimistic"):
        given = [f"evidence.preference.belief={belief}", "evidence.preference.members=3"]
        found = made(config, *given)[0].factors[0]
        assert isinstance(found, Ensemble)
        assert (found.rule, len(found.members)) == (belief, 3)


def test_ties_repeats_contradictions_and_what_cannot_be_read_are_said(config: Path) -> None:
    write(config.parent / "pairs.jsonl", PAIRS + NOISE)
    _, _, said = made(config)
    for words in (
        "exceed the model's context",
        "repeat a judgement",
        "contradict an earlier",
        "with itself",
        "are ties",
    ):
        assert any(words in line for line in said), words


def test_what_cannot_teach_a_reward_is_refused(config: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pairs = config.parent / "pairs.jsonl"
    cases = (
        (PAIRS[:9], "decides 9 comparisons"),
        ([{**row, "votes": [1, 1]} for row in PAIRS], "is a tie"),
        ([{**row, "rejected": row["chosen"]} for row in PAIRS], "compares a reply with itself"),
        ([{**row, "chosen": "a" * 300} for row in PAIRS], "no comparison of pairs.jsonl fits"),
    )
    for rows, says in cases:
        write(pairs, rows)
        with pytest.raises(ConfigError, match=says):
            made(config)
    write(pairs, PAIRS)
    from transformers import PreTrainedTokenizerFast

    foreign = tmp_path_factory.mktemp("foreign")
    saved(foreign, 3)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(foreign)
    tokenizer.add_tokens(["other"])
    tokenizer.save_pretrained(foreign)
    with pytest.raises(ConfigError, match="reads other tokens than the prior"):
        made(config, f"evidence.preference.model={foreign}")
    with pytest.raises(ConfigError, match=r"credence run.*beta"):
        build.evidence(load_config(config))
    for given, says in (
        ("belief=min", "mean and min are over"), ("members=2", "plug_in and predictive are of one head"),
        ("features=hiden", "Did you mean"), ("wrong=0.5", "less than 0.5"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            load_config(config, [f"evidence.preference.{given}"])


def test_another_model_s_states_can_be_read(config: Path, other: str) -> None:
    evidence, prior, _ = made(config, f"evidence.preference.model={other}")
    own = made(config)[0]
    rows = replies(prior, "ab", "!?")
    assert not torch.allclose(evidence.log_lik(*rows), own.log_lik(*rows))


def test_a_run_trains_towards_it_and_is_resumed_with_the_same_comparisons_only(config: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    report = run_study(load_config(config), tmp_path / "out", console=console)
    assert (report.reward_name, report.beta) == ("approval", 0.5)
    assert "agrees with" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    manifest = tmp_path / "out" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "status": "running"}))
    (tmp_path / "out" / "report.json").unlink()
    write(config.parent / "pairs.jsonl", PAIRS[:-1])
    with pytest.raises(ConfigError, match="holds other comparisons than when the run was begun"):
        run_study(load_config(config), tmp_path / "out", resume=True, console=console)


def test_draws_and_beta_read_it_too(config: Path) -> None:
    runner = CliRunner()
    drawn = runner.invoke(app, ["sample", str(config), "--prompt", "Ask 1", "--json", "-n", "2"])
    assert drawn.exit_code == 0, drawn.output
    assert '"approval"' in drawn.stdout
    for more in ((), ("evidence.preference.belief=min", "evidence.preference.members=3")):  # a β; a power of all nats
        given = [word for setting in more for word in ("--set", setting)]
        asked = ["beta", str(config), "--kl", "0.05", "--draws", "32", *given]
        solved = runner.invoke(app, [*asked, "--json"])
        assert solved.exit_code == 0, solved.output
        told = json.loads(solved.stdout)
        scale = 1 / told["tau"]["value"] if more else told["beta"]["value"] / 0.5
        assert told["settings"]["evidence.preference.beta"] == pytest.approx(0.5 * scale)
        assert runner.invoke(app, asked).exit_code == 0
