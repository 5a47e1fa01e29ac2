"""The examples of the pages run and print what the page says."""

import doctest
from pathlib import Path

import pytest

PAGES = [
    p for p in sorted((Path(__file__).parents[2] / "docs").rglob("*.md")) if ">>>" in p.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_examples_print_what_the_page_says(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8", optionflags=doctest.FAIL_FAST)
    assert result.attempted > 5
    assert result.failed == 0


def test_some_page_has_examples() -> None:
    assert {"concepts", "smc", "reinforce"} <= {p.stem for p in PAGES}
