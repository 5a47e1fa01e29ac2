"""The table of mutants: a wrong version that lives, breaks or was never seen is named, and is the status."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.mutants import __main__ as table
from tests.mutants.runner import Mutant

ANSWER = [42]


def holds(seed: int) -> None:
    assert ANSWER[0] + seed == 42 + seed


def blind_at_odd_seeds(seed: int) -> None:
    if seed % 2:
        raise RuntimeError("this check would see nothing")
    holds(seed)


def never_sees(seed: int) -> None:
    raise RuntimeError("this check would see nothing")


def wrong_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.unit.test_mutant_table.ANSWER", [41])


def nothing_wrong(patch: pytest.MonkeyPatch) -> None:
    pass


def no_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.unit.test_mutant_table.ANSWER", ["forty-two"])


MUTANTS = (
    Mutant("wrong", holds, wrong_answer),
    Mutant("wrong, seen at even seeds", blind_at_odd_seeds, wrong_answer),
    Mutant("right", holds, nothing_wrong),
    Mutant("broken", holds, no_answer),
    Mutant("unseen", never_sees, wrong_answer),
)


def test_each_file_of_mutants_is_found_by_its_name() -> None:
    folder = Path(table.__file__).parent
    files = {p.name for p in folder.glob("test_*.py")}
    assert files == {p.name for p in folder.glob("test_*_mutants.py")}
    assert len(files) > 8
    assert all("MUTANTS" in (folder / name).read_text(encoding="utf-8") for name in files)


def test_the_table_says_who_lives(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = SimpleNamespace(__name__="tests.mutants.test_made_up_mutants", MUTANTS=MUTANTS)
    monkeypatch.setattr(table, "modules", lambda: [module])
    assert table.main(["wrong"]) == 0
    said = capsys.readouterr().out
    assert "| wrong | unit.test_mutant_table.holds | 10 of 10 |" in said
    assert "| 10 of 10 (10 seeds left out) |" in said
    assert "2 of 2 mutants died at every seed" in said
    for word, fault in (
        ("right", "seed 3: lives"),
        ("broken", "seed 1: broken by TypeError"),
        ("unseen", "saw nothing"),
    ):
        assert table.main([word]) == 1
        assert fault in capsys.readouterr().out
    assert table.main(["no such name"]) == 1
