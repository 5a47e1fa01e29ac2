"""Text that arrives in pieces, broken between words at the terminal's edge; a Chinese character is two cells wide."""

import sys
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


CLOSING = frozenset("，。；：！？、）》〉」』】〕”’…—～·％,.;:!?)]}%")
OPENING = frozenset("（《〈「『【〔“‘([{")


@dataclass(eq=False)
class Wrapped:
    """Writes pieces to stdout; a word is held back until it is known to fit.

    Args:
        width: cells of a line; 0 breaks nothing (a pipe).
        column: where the first piece begins.
    """

    width: int
    column: int = 0
    _word: str = ""
    _out: list[str] = field(default_factory=lambda: list[str]())

    def write(self, text: str) -> None:
        """Show what is settled of this piece."""
        if not self.width:
            self._show(text)
            return
        for char in text:
            if char.isspace():
                self._place()
                self._space(char)
            else:
                if self._word and breaks(self._word[-1], char):
                    self._place()
                self._word += char
        self._show("")

    def finish(self) -> None:
        """Show what was held back, and end the line."""
        self._place()
        self._show("\n")

    def _place(self) -> None:
        """The word, on the next line where it does not fit on this one."""
        from rich.cells import cell_len

        cells = cell_len(self._word)
        if self.width and self.column and self.column + cells > self.width and cells <= self.width:
            self._newline()
        self._out.append(self._word)
        end = self.column + cells
        self.column = end if end <= self.width else end % max(1, self.width)  # the terminal itself breaks a long word
        self._word = ""

    def _space(self, char: str) -> None:
        if char == "\n":
            self._newline()
        elif self.column < self.width:
            self._out.append(" ")
            self.column += 1

    def _newline(self) -> None:
        self._out.append("\n")
        self.column = 0

    def _show(self, text: str) -> None:
        sys.stdout.write("".join(self._out) + text)
        sys.stdout.flush()
        self._out.clear()


def breaks(before: str, after: str) -> bool:
    """Whether a line may end between two characters that no space parts.

    Chinese, Japanese and other full-width characters need none; but no line begins with what closes or ends with what
    opens.
    """
    if after in CLOSING or before in OPENING:
        return False
    return any(unicodedata.east_asian_width(char) in "WF" for char in (before, after))


def folded(text: "Text", width: int) -> "list[Text]":
    """Styled text in lines of at most `width` cells, broken as the streamed replies are."""
    from rich.cells import cell_len

    plain, cuts, begin, column = text.plain, list[int](), 0, 0
    ends = [
        i + 1 for i in range(len(plain) - 1) if plain[i + 1] != " " and (plain[i] == " " or breaks(*plain[i : i + 2]))
    ]
    for start, end in pairwise([0, *ends, len(plain)]):
        cells = cell_len(plain[start:end].rstrip())
        if start > begin and column + cells > width:
            cuts.append(start)
            begin, column = start, 0
        column += cell_len(plain[start:end])
        while cell_len(plain[begin:end].rstrip()) > width and end - begin > 1:  # a word longer than a line
            fits = next(i for i in range(end, begin, -1) if cell_len(plain[begin:i]) <= width or i == begin + 1)
            if fits == end:
                break
            cuts.append(fits)
            begin, column = fits, cell_len(plain[fits:end])
    lines = list(text.divide(cuts))
    for line in lines:
        line.rstrip()
    return lines
