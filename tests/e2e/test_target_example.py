"""examples/target_sentence_zh.py: exact numbers are the closed forms, estimates lie within their stated errors."""

import json
import math
import shutil
import warnings
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from credence.report.canvas import chinese_fonts

EXAMPLE = Path(__file__).parents[2] / "examples" / "target_sentence_zh.py"


@pytest.fixture
def example() -> ModuleType:
    """The example as a module, so that a test can lighten it."""
    spec = spec_from_file_location("target_sentence_zh", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def light(example: ModuleType) -> ModuleType:
    """The example with a hardly trained softmax model, for what is asked of the language model."""
    example.SMALL = replace(example.SMALL, steps=(2, 2, 2, 2), stored=20, draws=50)
    return example


def run(example: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", [EXAMPLE.name, *words])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing")  # a box where a character should be
        example.main()


def data(example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    run(example, monkeypatch, *words, "--json")
    return json.loads(capsys.readouterr().out)


def sentence_by_hand(theta: Any, sentence: tuple[int, ...]) -> float:
    """log Π e^θx / Σ_y e^θy, without the library."""
    rows = [theta[0], *(theta[k + 1] for k in sentence[:-1])]
    return sum(r[k] - math.log(math.fsum(map(math.exp, r))) for r, k in zip(rows, sentence, strict=True))


def near(measured: Any) -> bool:
    """Within 4.9 standard errors of the exact value: 1e-6 of false alarm each, seed fixed."""
    return abs(measured["value"] - measured["exact"]) <= 4.9 * measured["se"] + 1e-12


def test_on_the_softmax_model_exact_and_estimated_agree(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rejects: the end token left out of the target, R·β for R/β, ε and 1 − ε swapped, the two directions swapped."""
    (case,) = data(example, monkeypatch, capsys, "--into", str(tmp_path))["cases"]
    log_p = sentence_by_hand(example.THETA, tuple(case["tokens"]))
    p, nats, epsilon = math.exp(log_p), case["bounded"]["nats"], case["mixture"]["epsilon"]
    m = 1 - epsilon + epsilon * p
    assert case["kl_target_model"] == pytest.approx(-log_p, abs=1e-10)
    assert case["kl_model_target"] == "inf"
    bounded = p * math.exp(nats) / (1 - p + p * math.exp(nats))
    assert case["bounded"]["optimum"] == pytest.approx(bounded, abs=1e-10)
    assert case["half_mass_nats"] == pytest.approx(math.log((1 - p) / p), abs=1e-10)
    back = p * math.log(p / m) - (1 - p) * math.log(epsilon)
    assert case["mixture"]["kl_model_target"] == pytest.approx(back, abs=1e-10)
    prior, *trained = case["laws"]
    assert prior["kl_mixture"]["exact"] == pytest.approx(back, abs=1e-10)
    assert [law["optimum"] for law in trained] == pytest.approx(
        [-math.log(bounded), trained[1]["optimum"], -math.log(m), 0], abs=1e-10
    )
    for law in case["laws"]:
        assert law["hit"]["exact"] == pytest.approx(math.exp(-law["path"][-1]), abs=1e-10)
        assert all(near(law[name]) for name in ("hit", "edits", "kl_prior", "kl_mixture")), law["name"]
    reached = [law["kl_posterior"] for law in trained]
    assert max(reached[:3]) < 0.06  # nats from each own posterior, where the prior is 1 to 5 away
    assert reached[3] == "inf"  # δ is reached by no softmax
    assert trained[3]["path"][-1] < 0.02
    assert trained[0]["hits"] > 100


def test_it_tells_what_the_numbers_teach_and_draws(
    light: ModuleType, tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model on which the sentence is never drawn: the bounded reward teaches nothing, and that is said."""
    run(light, monkeypatch, "--model", tiny, "--prompt", "今", "--target", "，天", "--into", str(tmp_path))
    text = capsys.readouterr().out
    for part in (
        "KL(p‖δ) = inf",
        "无一命中",
        "nothing is learnt",
        "5.6333",
        "【softmax 小模型】",
        "最优",
        "KL(π‖混合)",
    ):
        assert part in text
    for name in ("target_sentence_zh.png", "target_sentence_zh-dark.png"):
        assert (tmp_path / name).stat().st_size > 20_000
    assert chinese_fonts() or "softmax" in text


def test_a_language_model_has_the_numbers_of_credence_kl(
    light: ModuleType, tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Template tokens inside the target are text, as there: the one end token is the last."""
    from typer.testing import CliRunner

    from credence.cli.main import app

    asked = ("--prompt", "今", "--target", "天<|end|>")
    said = CliRunner().invoke(app, ["kl", *asked, "--model", tiny, "--json"])
    kl = json.loads(said.stdout)
    small, large = data(light, monkeypatch, capsys, "--model", tiny, *asked, "--into", str(tmp_path))["cases"]
    assert small["name"] != large["name"] == tiny
    assert large["tokens"] == [token["token"] for token in kl["score"]["tokens"]]
    assert large["tokens"].index(256) == len(large["tokens"]) - 1
    assert large["kl_target_model"] == pytest.approx(kl["kl_target_model"], abs=1e-4)  # float32
    assert large["kl_model_target"] == kl["kl_model_target"] == "inf"
    prior, bounded, _, _, forward = large["laws"]
    assert bounded["drawn"] > 0 == bounded["hits"]
    assert forward["path"][0] == prior["path"][0] > forward["path"][-1]
    assert all(law["kl_prior"]["exact"] is None for law in large["laws"])


@pytest.mark.parametrize("target", ["", "  \n"])
def test_an_empty_target_is_refused_as_by_credence_kl(
    light: ModuleType, target: str, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(light, monkeypatch, "--model", tiny, "--target", target)
    assert stopped.value.code == 2
    assert "--target is empty" in capsys.readouterr().err


def test_a_model_without_an_end_token_is_refused_as_by_credence_kl(
    light: ModuleType, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = tmp_path / "endless"
    shutil.copytree(tiny, endless)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        settings = json.loads((endless / name).read_text(encoding="utf-8"))
        kept = {k: v for k, v in settings.items() if k not in ("eos_token", "eos_token_id")}
        (endless / name).write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        run(light, monkeypatch, "--model", str(endless))
    assert stopped.value.code == 2
    assert "names no end token" in capsys.readouterr().err
