"""Streamed text breaks between words, at the cells that a terminal counts."""

import pytest
from rich.cells import cell_len
from rich.text import Text

from credence.cli.chat_show import packed
from credence.cli.chat_wrap import Wrapped, folded


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
    assert shown(capsys, pieces, 0) == shown(capsys, pieces, 0, column=4) == text + "\n"


def test_a_word_longer_than_a_line_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ["x" * 25, " y"], 10).replace("\n", "") == "x" * 25 + " y"


@pytest.mark.parametrize("size", [1, 100])
def test_no_line_begins_with_what_closes_or_ends_with_what_opens(capsys: pytest.CaptureFixture[str], size: int) -> None:
    text = "今天天气很好，我们（三人）去“公园”散步。"
    lines = shown(capsys, [text[i : i + size] for i in range(0, len(text), size)], 12).splitlines()
    assert lines == ["今天天气很", "好，我们（三", "人）去“公园”", "散步。"]
    assert [line.plain for line in folded(Text(text), 12)] == lines


@pytest.mark.parametrize("width", [*range(7, 24), 40])
def test_styled_text_is_folded_without_losing_a_character(width: int) -> None:
    text = Text("A word, another word; 今天是一个美好的日子，明天会更好。End of " + "x" * 60 + " 123.456")
    text.stylize("bold", 3, 9)
    lines = folded(text, width)
    assert all(line.cell_len <= width for line in lines)
    assert "".join(line.plain for line in lines).replace(" ", "") == text.plain.replace(" ", "")
    assert not any(line.plain.startswith(" ") for line in lines)
    assert sum(len(line.spans) for line in lines) >= 1


def test_items_are_packed_and_none_is_torn() -> None:
    items = ["moved most:", "‹ happy› +1.31", "‹高兴› +0.92", "‹ a very long piece›"]
    assert packed(items, 28).splitlines() == ["moved most:  ‹ happy› +1.31", "‹高兴› +0.92", "‹ a very long piece›"]
    assert packed(items, 5).splitlines() == items
