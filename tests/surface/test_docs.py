"""Documents name what exists, READMEs agree, their examples run; every decision has its four parts."""

import re
from pathlib import Path

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import Learner, Sampler
from credence.study.toml import load_config
from tests.toys import toy_a, toy_prompts

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.+?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{page} has no {language} block"
    return found


def test_every_test_that_a_page_names_exists() -> None:
    pages = sorted((ROOT / "docs").rglob("*.md"))
    named = {name for page in pages for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]


def test_every_test_that_the_code_names_exists() -> None:
    """A docstring that says where it is tested: whoever reads it must find that file."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "decisions").glob("*.md")]
    named = {name for file in files for name in re.findall(r"\b(tests/[\w/]+\.py)\b", file.read_text(encoding="utf-8"))}
    assert len(named) > 40
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]


def test_both_readmes_have_the_same_parts() -> None:
    """Headings by level, what is shown, and links (but each names the other)."""
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    for part in (r"^(#+) ", r"\]\((?!README)([^)]+)\)", r"^ {4}((?:make|credence|pip) [^#]*?) *(?:#.*)?$"):
        assert re.findall(part, chinese, re.MULTILINE) == re.findall(part, english, re.MULTILINE), part


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_first_example_prints_what_its_last_line_says(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    example = blocks(page, "python")[0]
    exec(compile(example, page, "exec"), {"__name__": "readme"})
    assert f"# {capsys.readouterr().out}" == example.splitlines(keepends=True)[-1]


def test_the_config_for_those_who_come_from_trl_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(blocks("docs/coming-from-trl.md", "py")[0])
    (tmp_path / "question.toml").write_text(blocks("docs/coming-from-trl.md", "toml")[0])
    config = load_config(tmp_path / "question.toml")
    assert [reward.beta for reward in config.evidence.reward] == [0.2]


def test_the_skeletons_in_contributing_keep_the_protocols() -> None:
    scope: dict[str, object] = {"__name__": "contributing"}
    for block in blocks("CONTRIBUTING.md", "python"):
        exec(compile(block, "CONTRIBUTING.md", "exec"), scope)
    for name, protocol in (("MySampler", Sampler), ("MyLearner", Learner)):
        engine = scope[name]
        assert isinstance(engine, type)
        assert isinstance(engine(), protocol)
    sampler = scope["MySampler"]
    assert isinstance(sampler, type)
    draws = sampler().draw(Key(0), toy_a(), toy_prompts(), 32)
    assert len(draws.completions) == 32
    assert bool(torch.isfinite(draws.log_z).all())


def test_decisions_are_numbered_and_complete() -> None:
    pages = sorted((ROOT / "decisions").glob("*.md"))
    assert [int(p.name[:4]) for p in pages] == list(range(1, len(pages) + 1))
    parts = ["Context", "Choice", "What was rejected", "How we would know we were wrong"]
    for page in pages:
        assert re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) == parts, page.name
