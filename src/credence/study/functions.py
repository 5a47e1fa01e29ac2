"""Rewards by name: built in, or a function in a user's file."""

import ast
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import cast

from credence.core.errors import ConfigError, nearest
from credence.study.examples import read_text

VADER = "vader"
BUILTIN = (VADER, "overlap", "polite", "brief", "turn", "solved")
ANSWER = "answer"
"""AnswerCorrect, calibrated on reference answers: it exists only where there are some, in a dialogue run."""


def check_function(spec: str, folder: Path, setting: str, answers: bool = False) -> None:
    """Check "vader" or "file.py:function" without running the file; "answer" where there are reference answers.

    Raises:
        ConfigError: an unknown name, no such file, no such function, or a file that is not Python.
    """
    if spec in BUILTIN or (answers and spec == ANSWER):
        return
    if spec == ANSWER:
        raise ConfigError(
            f"{setting} = {spec!r} is measured against reference answers, which only `credence dialogue train` has. "
            "Elsewhere put AnswerCorrect into a file of your own (docs/knowledge.md), or use 'overlap'."
        )
    known = (*BUILTIN, ANSWER) if answers else BUILTIN
    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise ConfigError(
            f"{setting} = {spec!r}: {', '.join(known)} or file.py:function is needed.{nearest(spec, known)}"
        )
    text = read_text(folder / file, "reward file")
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise ConfigError(f"{folder / file}, line {error.lineno}: not Python: {error.msg}.") from None
    names = _bound(module)
    if name not in names and "*" not in names:
        functions = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        mine = sorted(functions & names)
        offered = f"It defines: {', '.join(mine)}" if mine else "It defines no function"
        raise ConfigError(f"{folder / file} defines no {name!r}.{nearest(name, mine)} {offered}.")


def _bound(module: ast.Module) -> set[str]:
    """Names that the file's top level binds, "*" where only running it would tell."""
    out: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            out.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.If | ast.Try | ast.With):
            out |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            out |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            out |= {(a.asname or a.name).split(".")[0] for a in node.names}
    return out


def load_function(spec: str, folder: Path, answers: Sequence[str] = ()) -> Callable[..., Sequence[float]]:
    """The function that "vader" or "file.py:function" names. The file may import its neighbours.

    Args:
        spec: of the function.
        folder: where a file is looked for.
        answers: reference answers, for "answer".

    Raises:
        ConfigError: as check_function; the file raised; the name is not callable; or too few answers.
        MissingExtraError: "answer" without the package that embeds.
    """
    check_function(spec, folder, "fn", bool(answers))
    if spec == ANSWER:
        from credence.evidence.answer import AnswerCorrect
        from credence.evidence.embedding import load_embedder

        return AnswerCorrect.calibrated(load_embedder(), answers)
    if spec == VADER:
        from credence.evidence.sentiment import vader

        return vader
    if spec in BUILTIN:
        from credence.evidence import telling

        return getattr(telling, spec)
    file, _, name = spec.rpartition(":")
    path = (folder / file).resolve()
    try:
        module = _module(path, path.stat().st_mtime_ns)
    except Exception as error:
        raise ConfigError(f"{folder / file} raised {type(error).__name__} when it was loaded: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{spec}: {name} is {type(function).__name__}, a function is needed.")
    return cast(Callable[..., Sequence[float]], function)


@cache
def _module(path: Path, changed: int) -> ModuleType:
    """A user's file, run once for each version of it (`changed`), however many rewards it holds."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = ModuleType(f"credence_user_{path.stem}")
    module.__file__ = str(path)
    loader = SourceFileLoader(module.__name__, str(path))
    loader.exec_module(module)
    return module
