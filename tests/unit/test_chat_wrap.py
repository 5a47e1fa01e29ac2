"""Streamed text breaks between words, at the cells that a terminal counts."""

import pytest
from rich.cells import cell_len

from credence.cli.chat_wrap import Wrapped


def shown(capsys: pytest.CaptureFixture[str], pieces: list[str], width: int, column: int = 0) -> str:
    page = Wrapped(width, column)
    for piece in pieces:
        page.write(piece)
    page.finish()
    return capsys.readouterr().out


@pytest.mark.parametrize("size", [1, 3, 100])
def test_words_and_chinese_break_at_the_edge(capsys: pytest.CaptureFixture[str], size: int) -> None:
    text = "A word, another word; 今天是一个美好的日子，明天会更好。\n\nEnd of it"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    lines = [line.rstrip() for line in shown(capsys, pieces, 10, column=4).splitlines()]
    assert lines == [
        "A", "word,", "another", "word; 今天", "是一个美好", "的日子，明", "天会更好。", "", "End of it",
    ]  # fmt: skip
    assert all(cell_len(line) <= 10 for line in lines)
    assert shown(capsys, pieces, 0) == text + "\n"


def test_a_word_longer_than_a_line_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ["x" * 25, " y"], 10).replace("\n", "") == "x" * 25 + " y"
