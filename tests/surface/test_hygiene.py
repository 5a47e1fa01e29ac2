"""What must not stand in the tree: unsafe readers, hidden randomness, lazy annotations, paths of somebody's machine."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"pickle", "dill", "joblib", "marshal", "shelve", "__future__", "random"}
CALLS = {"eval", "exec", "torch.load", "yaml.load", "torch.manual_seed", "torch.seed"}
NUMPY_GLOBAL = re.compile(
    r"^(np|numpy)\.random\.[a-z]"
)  # np.random.Generator and Philox are objects; rand and seed are not
MACHINE = re.compile(r"/(?:work|farm|root)/|/home/\w+/|/(?:tmp)/\w|--(?:extra-)?index-url|\"resolved\": *\"http")
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".html", ".css", ".js", ""}
FOLDERS = ("src", "tests", "docs", "examples", "benchmarks", "scripts", "decisions", ".ci")


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def faults(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] in MODULES:
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            allows_pickle = any(k.arg == "allow_pickle" for k in node.keywords)
            if called in CALLS or NUMPY_GLOBAL.match(called) or allows_pickle:
                yield f"line {node.lineno}: calls {called}"


def tree() -> list[Path]:
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    return [
        p
        for p in found
        if p.is_file() and p.suffix in TEXT and not {"__pycache__", "_build"} & set(p.relative_to(ROOT).parts)
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from pickle import loads",
        "from __future__ import annotations",
        "x = torch.load(f)",
        "eval('1')",
        "yaml.load(s)",
        "np.random.seed(0)",
        "np.load(f, allow_pickle=True)",
        "import random",
    ],
)
def test_the_gate_sees_what_it_is_for(bad: str) -> None:
    assert list(faults(bad))


def test_the_gate_lets_good_code_pass() -> None:
    assert not list(faults("model.eval(); np.random.Generator(np.random.Philox(key=1)); json.load(f); re.compile('x')"))


def test_source_reads_nothing_unsafe_and_draws_nothing_in_secret() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    assert len(files) > 25
    found = [f"{p.relative_to(ROOT)} {fault}" for p in files for fault in faults(p.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_no_path_of_a_machine_and_no_index_address() -> None:
    assert MACHINE.search("/ro" + "ot/x")
    found = [
        f"{p.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for p in tree()
        if p != Path(__file__)  # its patterns would find themselves
        for number, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [p for p in (ROOT / "src").rglob("*.py") if p.name in drawers]
