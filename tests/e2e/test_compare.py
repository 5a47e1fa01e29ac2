"""`credence compare` on a tiny random model: the table, the budget, what is kept, what refuses, and every mistake."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from credence.core.errors import ConfigError
from credence.core.types import Prompts
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.report.comparison import CompareRow, Comparison
from credence.sample.best_of_n import best_of_n_law
from credence.study import compare, contest_train
from credence.study.allowance import budget as parsed
from credence.study.contest import Contest, entrants
from credence.study.found import Found
from credence.study.toml import load_config
from tests.e2e import test_run
from tests.e2e.test_cli import call
from tests.e2e.test_run import SRC, lines, status
from tests.tiny import codec, llama

config = test_run.config
"""The fixture."""
SMALL = ("sample.smc.particles=4", "sample.smc.islands=2", "sample.best_of_n.of=3", "sample.rejection.most=64")
ENGINES = "smc,best_of_n,dpg,dpg+reinforce"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.report.comparison_plots.svg", lambda report, narrow: "<svg></svg>")


def study(
    config: Path, engines: str, budget: str = "tokens=3000", seeds: int = 2, *more: str, **how: Any
) -> tuple[Comparison, Path, str]:
    told = Console(file=io.StringIO(), width=200)
    given = Contest(load_config(config, [*SMALL, *more]), entrants(engines), parsed(budget), seeds)
    folder = config.parent / "runs" / given.name
    made = compare.run_compare(given, folder, console=told, **how)
    return made, folder, told.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] - a StringIO


def by_name(made: Comparison) -> dict[str, CompareRow]:
    return {row.name: row for row in made.rows}


CLOCKS = {"seconds", "memory", "manifest", "recommendation"}


def still(tree: Any) -> Any:
    """A record without what the clock or the machine says."""
    if isinstance(tree, dict):
        return {k: still(v) for k, v in tree.items() if k not in CLOCKS}
    return [still(v) for v in tree] if isinstance(tree, list) else tree


def test_the_command_leaves_a_table_a_page_and_what_each_engine_did(config: Path) -> None:
    into = config.parent / "out"
    settings = [part for setting in SMALL for part in ("--set", setting)]
    done = call(
        "compare", str(config), "--engines", ENGINES, "--budget", "tokens=3_000", "--seeds", "2", "--into", str(into),
        *settings,
    )  # fmt: skip
    for says in ("dpg+reinforce", "gap closed", "log Z ≥", "a nat of the gap", "a  ", "small-compare/compare.html"):
        assert says in done.stdout
    folder = into / "small-compare"
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["rows"]] == ["prior", *ENGINES.split(","), "posterior"]
    assert found["schema"] == 1
    for row in found["rows"][1:-1]:
        assert 0 < row["spent"]["tokens"] <= 3000, row["name"]
        assert row["each"]["tokens"] > 0
        assert row["seeds"] == 2
        for field in ("kl_forward", "log_z_high", "pareto_k", "per_nat", "gap_closed"):
            assert (row[field] is None) == (field in row["why"]), f"{row['name']}: {field} unknown without a reason"
        records = lines(folder / "engines" / row["name"] / "seed-1/history.jsonl")
        assert records
        if row["kind"] == "draw":
            assert sum(r["tokens"] for r in records) <= 3000
    assert status(folder) == "done"
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["kind"] == "compare"
    assert told["compare"] == {"engines": ENGINES.split(","), "budget": {"tokens": 3000.0}, "seeds": 2}
    assert "<h2>Every engine on one ruler</h2>" in (folder / "compare.html").read_text(encoding="utf-8")
    assert not [p for p in folder.rglob("*") if p.name == "scratch" or p.name.endswith(".aside")]
    assert {p["engine"] for p in found["curves"]} == {"dpg", "dpg+reinforce"}
    again = call("compare", str(config), "--engines", "smc", "--budget", "tokens=9", "--into", str(into), code=2)
    assert "--resume to go on" in again.stderr


def test_seconds_are_kept_within_a_step(config: Path) -> None:
    made, folder, _ = study(config, "smc,reinforce", "seconds=1.5", 1)
    for row in by_name(made).values():
        if row.spent is not None:
            assert row.spent.seconds < 1.6, row.name
    clocks = lines(folder / "engines/reinforce/seed-0/timing.jsonl")
    assert clocks, "something was trained"
    assert "One seed" in " ".join(made.facts)


def test_a_comparison_that_goes_on_gives_the_same_numbers(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = study(config, ENGINES, overwrite=True)[0]
    calls = 0
    plain = compare.train

    def dies(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return plain(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(compare, "train", dies)
        with pytest.raises(KeyboardInterrupt):
            study(config, ENGINES, overwrite=True)
    folder = config.parent / "runs/small-compare"
    assert status(folder) == "interrupted"
    patched: list[Any] = []
    monkeypatch.setattr(compare, "draw", lambda *given, **named: patched.append(given))
    made, _, said = study(config, ENGINES, resume=True)
    assert patched == [], "what had been drawn is not drawn again"
    assert said.count("taken from the disk") == 2 + 2 * 2 + 1, "the ruler's two, four that drew, one that trained"
    assert still(made.to_json()) == still(whole.to_json())
    assert made.recommendation.sentence == whole.recommendation.sentence


def test_engines_and_seeds_may_be_added(config: Path) -> None:
    study(config, "best_of_n", seeds=1)
    made, folder, said = study(config, "best_of_n,prior", seeds=2, resume=True)
    assert said.count("taken from the disk") == 3
    assert (by_name(made)["best_of_n"].seeds, by_name(made)["prior"].seeds) == (2, 2)
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["compare"]["engines"] == ["best_of_n", "prior"]
    whole = study(config, "best_of_n,prior", seeds=2, overwrite=True)[0]
    assert still(made.to_json()) == still(whole.to_json())


def test_a_distilled_engine_is_named_by_its_own_law(config: Path) -> None:
    """Rejects the target of another engine than the one that was distilled."""
    made, _, said = study(config, "distil", "tokens=3000", 1, "train.distil.sampler='best_of_n'")
    assert by_name(made)["distil"].target == "the law of BestOfN: not p*"
    assert "distil converges to the law of BestOfN: not p*." in [*made.facts, said]


def test_what_changed_is_not_gone_on_with(config: Path) -> None:
    study(config, "best_of_n", seeds=1)
    with pytest.raises(ConfigError, match="begun with a budget of tokens=3000"):
        study(config, "best_of_n", "tokens=5000", 1, resume=True)
    with pytest.raises(ConfigError, match=r"sample\.best_of_n changed"):
        study(config, "best_of_n", "tokens=3000", 1, "sample.best_of_n.of=2", resume=True)
    with pytest.raises(ConfigError, match=r"beta was 0\.2 and is 0\.3"):
        study(config, "best_of_n", "tokens=3000", 1, "evidence.reward.beta=0.3", resume=True)
    with pytest.raises(ConfigError, match="choose one"):
        study(config, "best_of_n", resume=True, overwrite=True)


def test_on_a_hard_constraint_who_cannot_train_refuses_and_the_others_go_on(config: Path) -> None:
    text = config.read_text(encoding="utf-8") + '\n[[evidence.constraint]]\nmatches = "^[^A-M]*$"\n'
    config.write_text(text, encoding="utf-8")
    made, folder, said = study(config, "reinforce,smc,dpg,rejection", seeds=1)
    rows = by_name(made)
    assert rows["reinforce"].kind == "refused"
    assert "forbids replies" in rows["reinforce"].refused
    assert "refuses: evidence.constraint.0.otherwise = -inf" in said
    assert rows["prior"].kl_reverse is not None
    assert rows["prior"].kl_reverse.value == math.inf
    assert rows["smc"].gap_closed is None
    assert "no finite gap" in rows["smc"].why["gap_closed"]
    assert rows["dpg"].kl_reverse is not None, "the forward KL allows -inf"
    page = (folder / "compare.html").read_text(encoding="utf-8")
    assert "refuses: evidence.constraint.0.otherwise" in page
    assert not any(isinstance(v, float) and math.isnan(v) for v in made.to_json()["rows"][0].values())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--engines", "smc,reinforc", "--budget", "tokens=5"), "Did you mean 'reinforce'"),
        (("--engines", "smc", "--budget", "5000"), "does not say of what"),
        (("--engines", "smc", "--budget", "tokens=x"), "where a number is needed"),
        (("--engines", "smc", "--budget", "tokens=5", "--seeds", "0"), "--seeds 0"),
        (("--engines", "smc", "--budget", "tokens=5", "--fast", "--long"), "choose one"),
        (("--engines", "smc", "--budget", "tokens=5", "--set", "sample.smc.particle=3"), "particles"),
        (("--engines", "smc"), "--budget"),
        (("--budget", "tokens=5"), "--engines"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(config: Path, given: tuple[str, ...], says: str) -> None:
    assert says in call("compare", str(config), "--into", str(config.parent / "runs"), *given, code=2).stderr
    assert not (config.parent / "runs").exists()


# ---- against enumeration --------------------------------------------------------------------------------------------

ASKED = ((1, 2), (3, 4, 5))
OF = 3


def favour(prompts: list[tuple[int, ...]], completions: list[tuple[int, ...]]) -> list[float]:
    return [sum(t % 3 for t in said) / 6 for said in completions]


def prompts(*ids: tuple[int, ...]) -> Prompts:
    return Prompts(ids, ids, codec())


def world() -> Found:
    posterior = Posterior(reshape(llama(), 0.9), Reward(favour, 0.25, name="favour", bound=1.0) * Ended(-0.5))
    asked = prompts(*ASKED)  # learnt on what is measured: how far it generalises is not the question here
    return Found(posterior, asked, asked, asked)


def truth(trees: list[Exact], laws: list[torch.Tensor]) -> dict[str, float]:
    """What the table should hold of a law that is known on every leaf."""
    out = dict.fromkeys(("reward", "ended", "kl_prior", "kl_reverse", "kl_forward"), 0.0)
    for tree, log_p in zip(trees, laws, strict=True):
        p, star = log_p.exp(), tree.log_p.exp()
        reward = torch.tensor(favour([], [tuple(s) for s in tree.completions.tokens()]), dtype=torch.float64)
        each = {
            "reward": float(p @ reward),
            "ended": float(p @ tree.completions.ended.double()),
            "kl_prior": float((p * (log_p - tree.log_prior)).sum()),
            "kl_reverse": float((p * (log_p - tree.log_p)).sum()),
            "kl_forward": float((star * (tree.log_p - log_p)).sum()),
        }
        out = {name: value + each[name] / len(trees) for name, value in out.items()}
    return out


def test_every_number_of_the_table_against_the_enumerated_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values within 0.1 nats or reward units of the exact ones, and these within twice the intervals shown."""
    found = world()
    trees = [enumerate_posterior(found.posterior, prompts(ids)) for ids in ASKED]
    laws: dict[str, list[torch.Tensor]] = {
        "prior": [t.log_prior for t in trees],
        "posterior": [t.log_p for t in trees],
        "rejection": [t.log_p for t in trees],
        "best_of_n": [best_of_n_law(t, OF) for t in trees],
    }
    plain = contest_train.look

    def looks(policy: Any, *given: Any) -> Any:
        laws["dpg"] = [policy.score(prompts(i), t.completions).sum(-1) for i, t in zip(ASKED, trees, strict=True)]
        return plain(policy, *given)

    monkeypatch.setattr(contest_train, "look", looks)
    monkeypatch.setattr(compare, "load", lambda contest, say: world())
    more = ("measure.draws=1500", "measure.policy_draws=1000", 'train.method="full"', "train.dpg.lr=0.003",
            "prior.horizon=3", "train.dpg.prompts=2", "train.dpg.draws=128",
            "sample.draws=32", "sample.rejection.most=4096")  # fmt: skip
    made, _, _ = study(config, "rejection,best_of_n,dpg,smc,prior", "tokens=30_000", 1, *more)
    rows = by_name(made)
    log_z = sum(t.log_z for t in trees) / 2
    assert made.log_z.value == pytest.approx(log_z, abs=0.06)
    gap = truth(trees, laws["prior"])["kl_reverse"]
    for name, law in laws.items():
        for field, exact in truth(trees, law).items():
            shown = getattr(rows[name], field)
            if shown is None:
                assert (name, field) == ("best_of_n", "kl_forward")
                continue
            assert shown.value == pytest.approx(exact, abs=0.1), f"{name} {field}"
            slack = 0.02  # log Z and best-of-n's ranks are of 1500 draws, biased by less
            assert 2 * shown.low - shown.value - slack <= exact <= 2 * shown.high - shown.value + slack, (
                f"{name} {field}"
            )
        share = rows[name].gap_closed
        if name in ("rejection", "best_of_n", "dpg"):
            assert share is not None
            assert share.value == pytest.approx(1 - truth(trees, law)["kl_reverse"] / gap, abs=0.25), name
    smc = rows["smc"]
    assert smc.kl_reverse is not None
    assert smc.kl_reverse.bound == "upper"
    for row in (smc, rows["dpg"], rows["best_of_n"], rows["rejection"], rows["prior"]):
        assert row.log_z_low is not None
        assert row.log_z_low < log_z + 0.05, row.name
        if row.log_z_high is not None:
            assert row.log_z_high > log_z - 0.05, row.name
    assert rows["dpg"].log_z_high is not None
    dpg = truth(trees, laws["dpg"])
    assert dpg["kl_reverse"] < 0.7 * gap, "it learnt, or this test says little"
    assert rows["dpg"].unique is not None
    assert rows["dpg"].ess is not None
    pairs = zip(laws["dpg"], trees, strict=True)
    star = sum(float((log_p.exp() * ((t.log_p - log_p) * 2).exp()).sum()) for log_p, t in pairs) / 2
    assert rows["dpg"].ess / 1000 == pytest.approx(1 / star, abs=0.1), "1/(1 + χ²)"


# ---- real kills -----------------------------------------------------------------------------------------------------


def began(config: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "from credence.cli.main import app; app()", "compare", str(config)]
    command += ["--engines", "best_of_n,dpg", "--budget", "tokens=4000", "--seeds", "2"]
    command += ["--into", str(config.parent / "runs"), *more]
    command += [part for setting in SMALL for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def wait_for(moment: Callable[[], bool], going: "subprocess.Popen[bytes]") -> None:
    while not moment():
        assert going.poll() is None, going.communicate()[1].decode()[-2000:]
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_and_interrupted_it_keeps_what_is_done(config: Path) -> None:
    """SIGKILL within the second engine, then Ctrl-C within its second seed, then to the end: as if nothing happened."""
    found = config.parent / "runs/small-compare/found"
    going = began(config)
    wait_for(lambda: (config.parent / "runs/small-compare/engines/dpg/seed-0/history.jsonl").exists(), going)
    going.send_signal(signal.SIGKILL)
    going.communicate()
    assert status(found.parent) == "running"
    kept = sorted(p.name for p in found.iterdir())
    assert {"best_of_n-0", "best_of_n-1", "prior", "validation"} <= set(kept)
    going = began(config, "--resume")
    wait_for(lambda: (config.parent / "runs/small-compare/engines/dpg/seed-1/history.jsonl").exists(), going)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate()
    assert going.returncode == 130, said.decode()[-2000:]
    assert b"3 of 4 engines and seeds" in said
    assert status(found.parent) == "interrupted"
    going = began(config, "--resume", "--json")
    out, said = going.communicate()
    assert going.returncode == 0, said.decode()[-2000:]
    made = json.loads(out)
    del made["folder"]
    whole = study(config, "best_of_n,dpg", "tokens=4000", overwrite=True)[0]
    assert still(made) == still(whole.to_json())
