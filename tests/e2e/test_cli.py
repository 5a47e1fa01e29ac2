"""The command line as a user meets it: fast parts on a tiny random model, the embedded model where marked slow."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from credence.cli.main import app
from credence.evidence.experts import Experts
from credence.prior.embedded import unpacked_folder
from credence.study.engines import NAMES
from credence.study.served import open_settings
from tests.example_report import example_report
from tests.small_engines import SMALL

SRC = Path(__file__).parents[2] / "src"
TALK = ["How are you?", "你好"]


def call(*arguments: str, code: int = 0, **options: Any) -> Result:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, **options)
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def data(*arguments: str, **options: Any) -> Any:
    """stdout, which must be one JSON document and nothing else."""
    return json.loads(call(*arguments, "--json", **options).stdout)


def test_score_counts_every_token_and_says_how_it_read(tiny: str) -> None:
    found = data("score", "a你", "--model", tiny)
    assert [t["text"] for t in found["tokens"]] == ["a", "", "", "你"]
    assert found["nats"] == pytest.approx(sum(t["log_p"] for t in found["tokens"]))
    assert (found["style"], found["end_scored"], found["bytes"]) == ("raw", False, 4)
    assert found["start_token"] == "<|end|>"
    assert found["bits_per_byte"] == pytest.approx(-found["nats"] / math.log(2) / 4)
    ended = data("score", "a你", "--model", tiny, "--end")
    assert ended["bits_per_byte"] == pytest.approx(found["bits_per_byte"])
    assert ended["nats"] < found["nats"]
    shown = call("score", "a你", "--model", tiny).stdout
    assert "raw text, no chat template, after the start token <|end|>;" in shown
    assert shown.count("…") == 2


def test_a_prompt_needs_no_start_token_and_a_model_without_template_says_how_it_read(tiny: str) -> None:
    asked = ("score", "a", "--prompt", "b", "--model", tiny)
    raw, roles = data(*asked, "--raw"), data(*asked)
    assert (raw["start_token"], raw["style"]) == (None, "raw")
    assert (roles["start_token"], roles["style"]) == (None, "plain")
    assert "no chat template, no start token;" in call(*asked, "--raw").stdout
    assert "role names, as the model has no chat template, no start token;" in call(*asked).stdout


def test_raw_text_is_never_read_as_a_chat_turn() -> None:
    """SmolLM2-Instruct names its turn marker as bos; 42.5 nats after it, 20.9 after the separator of documents."""
    found = data("score", "The cat sat on the mat.")
    assert found["start_token"] == "<|endoftext|>"
    assert found["nats"] == pytest.approx(-20.9165, abs=2e-3)  # transformers' own eager forward pass, float32


def test_score_reads_files_and_stdin(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a你", encoding="utf-8-sig")
    text = data("score", "a你", "--model", tiny)
    assert data("score", "--file", str(tmp_path / "t.txt"), "--model", tiny) == text
    assert data("score", "-", "--model", tiny, input="a你") == text
    assert "one of them" in call("score", "a", "--file", "t.txt", code=2).stderr
    assert "no token to score" in call("score", "", "--model", tiny, code=2).stderr


def test_texts_that_cannot_be_scored_say_what_to_do(tiny: str) -> None:
    assert "score the text in parts" in call("score", "a" * 3000, "--model", tiny, code=2).stderr
    assert "--target is empty" in call("kl", "--prompt", "a", "--target", " ", "--model", tiny, code=2).stderr


def test_a_finite_divergence_has_no_reason_to_be_infinite(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says nothing but the sentence: log p = 0, so KL(p‖δ) = 0."""
    from credence.study import probe

    right = probe.score_text

    def certain(*given: Any) -> Any:
        found = right(*given)
        return replace(found, log_p=(0.0,) * len(found.log_p))

    monkeypatch.setattr(probe, "score_text", certain)
    found = data("kl", "--prompt", "今", "--target", "天", "--model", tiny)
    assert found["kl_model_target"] == 0
    assert found["why_infinite"] is None


def test_kl_to_a_sentence_is_its_surprisal_and_infinite_backwards(tiny: str) -> None:
    asked = ("--prompt", "今", "--target", "，天", "--model", tiny)
    found = data("kl", *asked)
    scored = data("score", "，天", "--prompt", "今", "--raw", "--end", "--model", tiny)
    assert found["kl_target_model"] == pytest.approx(-scored["nats"])
    assert found["kl_model_target"] == "inf"
    assert "no mass on any other reply" in found["why_infinite"]
    assert found["mixture"]["kl_target_model"] < found["kl_target_model"]
    assert {r["name"] for r in found["remedies"]} >= {"forward KL", "bounded reward", "mixture"}
    shown = call("kl", *asked).stdout
    assert f"{found['kl_target_model']:.4f} nats" in shown
    assert "KL(p‖δ) = inf" in shown
    assert "raw text, no chat template, no start token" in shown


def test_kl_to_a_model_both_ways(tiny: str) -> None:
    prompts = [x for p in TALK for x in ("--prompt", p)]
    asked = ("kl", *prompts, "--model", tiny, "--to-model", tiny, "--horizon", "4", "-n", "8", "--both")
    same = data(*asked)
    assert (same["style"], same["start_tokens"]) == ("plain", {tiny: [None, None]})
    begun = data("kl", "--prompt", "", *asked[1:], "--raw")
    assert (begun["style"], begun["start_tokens"]) == ("raw", {tiny: ["<|end|>", None, None]})
    assert "raw, start token <|end|>" in call("kl", "--prompt", "", *asked[1:], "--raw").stdout
    assert [r["value"] for r in same["results"]] == pytest.approx([0, 0], abs=1e-5)
    cold = data(*asked, "--to-temperature", "0.01")["results"]
    assert len(cold[0]["by_prompt"]) == 2
    assert cold[0]["value"] > 1  # the tiny model is nearly uniform; at 0.01 it is not
    assert "not both" in call("kl", "--prompt", "a", "--target", "b", "--to-model", tiny, code=2).stderr


def without_clock(prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What two calls with one seed share: all but the seconds."""
    return [{**p, "cost": p["cost"]["tokens"]} for p in prompts]


NO_LOG_Z = ("suffix_mh", "block_mh")


@pytest.mark.parametrize("engine", NAMES)
def test_sample_by_every_engine_repeats_itself(tiny: str, other: str, tmp_path: Path, engine: str) -> None:
    (tmp_path / "mine.py").write_text(
        "def bytes_(prompts, completions):\n    return [0.1 * len(c) for c in completions]\n"
    )
    (tmp_path / "c.toml").write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 4\n[evidence.reward]\nfn = "mine.py:bytes_"\nbeta = 1.0\nbound = 0.5\n'
    )
    own = [f"sample.{engine}.{setting}" for setting in SMALL.get(engine, ())]
    own += [f"evidence.expert.model={other}"] if engine.endswith("_product") else []
    asked = ["sample", str(tmp_path / "c.toml"), *(word for p in TALK for word in ("--prompt", p)), "-n", "3"]
    asked += ["--engine", engine, *(word for setting in own for word in ("--set", setting))]
    found = data(*asked)
    assert [p["prompt"] for p in found["prompts"]] == TALK
    assert without_clock(found["prompts"]) == without_clock(data(*asked)["prompts"])
    for prompt in found["prompts"]:
        assert prompt["status"] == "ok"
        assert len(prompt["draws"]) == 3
        assert sum(d["weight"] for d in prompt["draws"]) == pytest.approx(1)
        assert {"bytes_", "ended"} <= set(prompt["draws"][0]["readings"])
        assert (prompt["log_z"] is None) == (engine in NO_LOG_Z)
        assert isinstance(prompt["warnings"], list)
    said = call(*asked).stdout
    assert ("log Z: not given (where chains stand says nothing of it; " if engine in NO_LOG_Z else "log Z = ") in said
    assert all(f"warning: {warning}" in said for prompt in found["prompts"] for warning in prompt["warnings"])
    assert not [
        name for name in found["prompts"][0]["info"] if "_" in name and f" {name} " in said
    ]  # phrases, not keys


@pytest.fixture
def byte_rewards(tiny: str, tmp_path: Path) -> str:
    """A config whose reward counts characters, bounded too low on purpose."""
    (tmp_path / "mine.py").write_text(
        "def bytes_(prompts, completions):\n    return [0.5 * len(c) for c in completions]\n"
    )
    file = tmp_path / "c.toml"
    file.write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 4\n[evidence.reward]\nfn = "mine.py:bytes_"\nbeta = 1.0\nbound = 0.5\n'
        '[sample]\nengine = "importance"\ndraws = 16\n[sample.stop]\nlog_z_se = 0.2\n'
    )
    return str(file)


def test_sample_stops_by_its_rules(byte_rewards: str) -> None:
    asked = ("sample", byte_rewards, "--prompt", TALK[0], "--prompt", TALK[1])
    found = data(*asked)
    assert [p["stopped_by"] for p in found["prompts"]] == ["log_z_se", "log_z_se"]
    assert found["guarantee"].endswith("no longer unbiased")
    assert all(p["log_z_se"] <= 0.2 and p["info"]["draws"] == len(p["draws"]) for p in found["prompts"])
    spent = [p["cost"]["tokens"] for p in found["prompts"]]  # of all prompts together, with the first
    assert (spent[0] >= sum(d["tokens"] for p in found["prompts"] for d in p["draws"]), spent[1]) == (True, 0)
    assert data(*asked, "--tokens", "1")["prompts"][0]["stopped_by"] == "tokens"
    said = call(*asked, "--se", "0.0001", "--set", "sample.stop.draws=40", "-n", "20").stdout
    assert "stopped by draws after 2 rounds, 40 replies: the standard error of log Z is" in said
    assert "above the 0.0001 asked for" in said
    assert "… and 28 more" in said


def test_sample_from_a_proposal_by_name(byte_rewards: str, tiny: str) -> None:
    asked = (
        "sample",
        byte_rewards,
        "--prompt",
        TALK[0],
        "--tokens",
        "1",
        "--set",
        f"sample.importance.proposal={tiny}",
    )
    (found,) = data(*asked)["prompts"]
    assert (found["status"], found["info"]["missed"]) == ("ok", 0)
    run = Path(byte_rewards).parent / "runs/mine"
    run.mkdir(parents=True)
    (run / "policy").symlink_to(tiny)
    (again,) = data(*asked[:-1], "sample.importance.proposal=runs/mine")["prompts"]  # beside the config file
    assert without_clock([again]) == without_clock([found])
    assert "no policy 'nobody'" in call(*asked[:-1], "sample.importance.proposal=nobody", code=2).stderr


def test_sample_says_how_far_a_bound_was_broken(byte_rewards: str) -> None:
    asked = ("sample", byte_rewards, "--prompt", TALK[0], "--engine", "rejection", "--tokens", "1")
    done = call(*asked, "--set", "evidence.ended.cut=0.0")
    (warning,) = data(*asked, "--set", "evidence.ended.cut=0.0")["warnings"]
    assert warning.startswith("rejection: ")
    assert "credence: rejection: " in done.stderr  # names the reply, without the line of a file
    assert ".py" not in done.stderr
    assert "bound_violated" in done.stdout
    assert "proposals lay above the bound, the highest by" in done.stdout


def test_sample_names_the_nearest_engine(byte_rewards: str) -> None:
    assert "Did you mean 'importance'?" in call("sample", byte_rewards, "--engine", "importence", code=2).stderr
    said = call("sample", byte_rewards, "--engine", "smc", "--of", "4", code=2).stderr
    assert "sample.smc.of: there is no such setting. Did you mean sample.best_of_n.of" in said


def test_sample_from_a_realigned_policy(tiny: str, other: str, tmp_path: Path) -> None:
    """At to = beta the product is the policy itself: log Z is 0, and nothing is lost a token; elsewhere it is."""
    (tmp_path / "c.toml").write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 4\n[evidence.realign]\npolicy = "{other}"\nbeta = 0.1\nto = 0.1\n'
    )
    asked = ("sample", str(tmp_path / "c.toml"), "--prompt", TALK[0], "-n", "4", "--engine")
    (same,) = data(*asked, "token_product")["prompts"]
    assert same["log_z"] == pytest.approx(0, abs=1e-5)
    assert same["info"]["kl"] == pytest.approx(0, abs=1e-5)
    assert list(same["draws"][0]["readings"]) == ["experts"]
    (far,) = data(*asked, "sequence_product", "--particles", "8", "--set", "evidence.realign.to=0.01")["prompts"]
    assert abs(far["log_z"]) > 0.1
    zero = call(*asked, "token_product", "--set", "evidence.realign.to=0.0", code=2).stderr
    assert "evidence.realign.to = 0.0: greater than 0 is needed." in zero
    assert "no policy 'nobody'" in call(*asked, "smc", "--set", "evidence.realign.policy=nobody", code=2).stderr
    config = str(tmp_path / "c.toml")
    assert "nothing is trained towards it" in call("run", config, code=2).stderr
    assert isinstance(open_settings(Path(config), "en", None, None, None, None).evidence, Experts)  # chat draws from it


COLD = "sample.speculative.draft_temperature=0.01"


def test_sample_by_a_value_of_prefixes(tiny: str, byte_rewards: str, tmp_path: Path) -> None:
    """A run's folder with a value in it: as SMC's twist, and as the policy that it guides; on another prior refused."""
    import torch

    from credence.core.keys import Key
    from credence.prior.guided import guided_policy
    from credence.prior.guided_file import save_guide
    from credence.prior.load import load
    from credence.prior.reshape import reshape

    guide = guided_policy(reshape(load(tiny, horizon=4), 0.7), Key(1))
    with torch.no_grad():
        guide.head.outer.bias.fill_(0.5)
    (tmp_path / "runs/valued").mkdir(parents=True)
    save_guide(guide, tmp_path / "runs/valued/values", "# card\n")
    asked = ["sample", byte_rewards, "--prompt", TALK[0], "-n", "4", "--set", "sample.stop={}", "--engine", "smc"]
    asked += ["--set", "sample.smc.threshold=1.0"]
    (plain,) = data(*asked)["prompts"]
    for name in ("twist", "proposal"):
        (found,) = data(*asked, "--set", f"sample.smc.{name}=runs/valued")["prompts"]
        assert found["status"] == "ok"
        assert found["log_z"] != plain["log_z"]
        assert found["log_z"] == pytest.approx(plain["log_z"], abs=1.0)
    drafted = [*asked, "--engine", "speculative", "--set", "sample.speculative.draft=runs/valued"]
    near, far = (data(*drafted, *more)["prompts"][0]["info"]["acceptance"] for more in ((), ("--set", COLD)))
    assert near > far  # a draft at 0.01 says little of what the prior says
    wrong = call(*asked, "--set", "sample.smc.twist=runs/valued", "--set", "prior.temperature=1.0", code=2)
    assert "was learnt on another prior: temperature 0.7 there and 1.0 here" in wrong.stderr
    assert "no value of prefixes 'nobody'" in call(*asked, "--set", "sample.smc.twist=nobody", code=2).stderr


def test_sample_says_in_words_what_chains_have_not_done(byte_rewards: str) -> None:
    asked = ["sample", byte_rewards, "--prompt", TALK[0], "-n", "8", "--set", "sample.stop={}", "--engine", "suffix_mh"]
    short = [
        "--set",
        "sample.suffix_mh.chains=2",
        "--set",
        "sample.suffix_mh.burn_in=0",
        "--set",
        "sample.suffix_mh.thin=2",
    ]
    (found,) = data(*asked, *short, "--set", "evidence.reward.beta=0.02")["prompts"]
    said = call(*asked, *short, "--set", "evidence.reward.beta=0.02").stdout
    assert found["info"]["rhat"] > 1.05
    assert "warning: Too few chains: R̂ compares 2 chains; give at least 4." in said
    assert "The chains have not come together (R̂ = " in said
    assert "limit 1.05" in said
    assert "independent ones (autocorrelation" in said
    assert " of moves taken" in said
    refused = call(*asked[:-4], "--engine", "suffix_mh", "--tokens", "100", code=2).stderr
    assert "raise its own settings instead of giving a stop rule" in refused


def test_smc_in_rounds_says_what_its_particles_hold(byte_rewards: str) -> None:
    """Rounds do not tell distinct texts; the other findings stand."""
    asked = ("sample", byte_rewards, "--prompt", TALK[0], "--engine", "smc", "--tokens", "1", "--particles", "2")
    (found,) = data(*asked, "--islands", "1")["prompts"]
    assert "unique" not in found["info"]
    assert any(warning.startswith("One island has no spread") for warning in found["warnings"])


def test_model_output_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from credence.cli.terminal import out, say, shown

    say(out(), shown("[red]a\x1b[31m\u202eb\nc"))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "[red]a" in printed


def test_init_writes_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert data("init", str(file)) == {"path": str(file)}
    before = file.read_text(encoding="utf-8")
    assert "credence init other.toml\n" in call("init", str(file), code=2).stderr
    for more in (("--dialogue",), ("--dialogue", "--lang", "zh")):
        assert " ".join(("credence init other.toml", *more)) in call("init", str(file), *more, code=2).stderr
    assert file.read_text(encoding="utf-8") == before


def test_init_of_a_dialogue(tmp_path: Path) -> None:
    made = call("init", str(tmp_path / "mine.toml"), "--dialogue").stdout
    assert "credence knowledge import debian-faq:en" in made
    assert "credence dialogue train" in made
    assert "language 'fr'" in call("init", str(tmp_path / "a.toml"), "--dialogue", "--lang", "fr", code=2).stderr
    assert "init --dialogue --lang zh" in call("init", str(tmp_path / "a.toml"), "--lang", "zh", code=2).stderr
    assert not (tmp_path / "a.toml").exists()


def test_models_lists_the_embedded_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved = tmp_path / "runs/first/policy"
    saved.mkdir(parents=True)
    (saved / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    found = data("models")
    assert [c["name"] for c in found] == ["smollm2", str(Path("runs/first/policy"))]
    assert (found[0]["licence"], found[0]["megabytes"]) == ("Apache-2.0", 98)
    shown = CliRunner().invoke(app, ["models"], env={"COLUMNS": "80"}).stdout
    assert found[0]["where"] in shown  # one line, however long the path
    size = f"98 + {found[0]['unpacked_megabytes']}"
    assert (size in shown) == (f"is unpacked in {found[0]['unpacked']}," in shown) == bool(found[0]["unpacked"])


def test_models_counts_what_the_embedded_one_takes_unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert (data("models")[0]["unpacked"], data("models")[0]["unpacked_megabytes"]) == ("", 0)
    folder = unpacked_folder()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0" * 2_600_000)
    assert (data("models")[0]["unpacked"], data("models")[0]["unpacked_megabytes"]) == (str(folder), 3)
    assert f"smollm2 is unpacked in {folder}, 3 MB.\n" in call("models").stdout


def test_diagnose_prints_the_untrustworthy_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "runs/mine"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(example_report().to_json()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert data("diagnose", "mine")["report"] == example_report().to_json()
    shown = call("diagnose", "mine").stdout
    assert 0 <= shown.index("!") < shown.index("KL(law‖p*)")
    assert "'mine'" in call("diagnose", "mime", code=2).stderr


def test_run_checks_everything_before_it_loads_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = str(SRC.parent / "examples/cheerful.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/cheerful").mkdir(parents=True)
    assert "--overwrite" in call("run", config, code=2).stderr
    assert "top_k" in call("run", config, "--set", "prior.top_k=5", code=2).stderr
    assert "choose one" in call("run", config, "--fast", "--long", code=2).stderr
    refused = data("run", config, "--set", "evidence.reward.beta=0", code=2)
    assert refused["kind"] == "ConfigError"
    assert data("run", code=2)["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (ZeroDivisionError("x"), 1, "ZeroDivisionError: x"),
        (OSError("disk"), 1, "disk"),
    ],
)
def test_the_edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, says: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("credence.study.toml.template", fails)
    monkeypatch.delenv("CREDENCE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert says in call("init", "x.toml", code=code).stderr
    assert says in data("init", "x.toml", code=code)["error"]
    if isinstance(error, Exception):
        monkeypatch.setenv("CREDENCE_DEBUG", "1")
        done = CliRunner().invoke(app, ["init", "x.toml"])
        assert done.exception is error
    assert not list(tmp_path.iterdir())  # rejects: a file opened before there is something to write


@pytest.mark.slow
def test_the_issues_sentence_on_the_embedded_model() -> None:
    asked = ("kl", "--prompt", "今天是一个美好的日子", "--target", "，明天会更好。")
    found = data(*asked)
    assert found["kl_target_model"] == pytest.approx(43.9645, abs=2e-3)  # 45.11 after the marker of a chat turn
    assert found["kl_model_target"] == "inf"


@pytest.mark.slow
def test_a_plain_process_answers_in_json_alone() -> None:
    command = [sys.executable, "-m", "credence.cli.main", "sample", "--prompt", "How are you?", "-n", "2", "--json"]
    small = ["--particles", "4", "--islands", "2", "--set", "prior.horizon=8"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=True, cwd=SRC, env=dict(os.environ))
    assert len(json.loads(done.stdout)["prompts"][0]["draws"]) == 2
