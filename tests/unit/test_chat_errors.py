"""Each mistake that names a case has its Chinese sentence, filled with what the mistake gives; none is left over."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest
import typer

from credence.cli.chat_errors import CASES, KINDS, in_words_of, worded
from credence.core import errors
from credence.core.errors import BackendError, ConfigError

SRC = Path(__file__).parents[2] / "src/credence"
ELSEWHERE = {"takes nothing", "good takes nothing", "why takes all", "command", "command near", "no policy", "no runs"}
"""Cases that are chosen while running; tests/e2e/test_chat.py meets them."""


def raised() -> dict[str, set[str]]:
    """Case → names of what is given, from every call of an error class whose second argument is a constant."""
    names = {"CredenceError", *(c.__name__ for c in errors.CredenceError.__subclasses__())}
    found: dict[str, set[str]] = {}
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names and len(node.args) == 2:
                case = node.args[1]
                if isinstance(case, ast.Constant):
                    given = {k.arg or "" for k in node.keywords}
                    assert found.setdefault(str(case.value), given) == given, case.value
    return found


def test_every_case_has_a_sentence_and_every_sentence_a_case() -> None:
    found = raised()
    assert set(found) | ELSEWHERE | {"command line"} == set(CASES)
    for case, given in found.items():
        fields = {name for _, name, _, _ in Formatter().parse(CASES[case]) if name}
        assert fields <= given, case


def test_every_sentence_is_chinese() -> None:
    for sentence in (*CASES.values(), *(words for _, words in KINDS)):
        assert re.search(r"[\u4e00-\u9fff]{2}", sentence), sentence
    assert {kind for kind, _ in KINDS} == {errors.CredenceError, *errors.CredenceError.__subclasses__()}


def test_a_mistake_is_worded_in_the_language_of_the_session() -> None:
    known = ConfigError("β must be above 0.", "beta range", beta=-1.0)
    assert worded(known, "en") == "β must be above 0."
    assert worded(known, "zh").startswith("β = -1 不可用")
    assert worded(BackendError("the disk is full"), "zh") == "读写或运行失败。原文：the disk is full"
    with pytest.raises(ConfigError, match="不可用"), in_words_of("zh", as_json=False):
        raise known
    for lang, as_json in (("en", False), ("zh", True)):
        with pytest.raises(ConfigError, match="above 0"), in_words_of(lang, as_json):
            raise known


def test_ctrl_c_before_the_talk_is_said_in_chinese_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, in_words_of("zh", as_json=False):
        raise KeyboardInterrupt
    assert left.value.exit_code == 130
    assert capsys.readouterr().err == "credence：已停止。\n"
    with pytest.raises(KeyboardInterrupt), in_words_of("en", as_json=False):
        raise KeyboardInterrupt
