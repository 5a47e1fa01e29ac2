"""Text that arrives in pieces, broken between words at the terminal's edge; a Chinese character is two cells wide."""

import sys
import unicodedata
from dataclasses import dataclass, field


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
            if char.isspace() or _breaks(char):
                self._place()
                self._space(char) if char.isspace() else self._wide(char)
            else:
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
        if self.column and self.column + cells > self.width and cells <= self.width:
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

    def _wide(self, char: str) -> None:
        """A character that may begin a line wherever the last one ended."""
        from rich.cells import cell_len

        cells = cell_len(char)
        if self.column + cells > self.width:
            self._newline()
        self._out.append(char)
        self.column += cells

    def _newline(self) -> None:
        self._out.append("\n")
        self.column = 0

    def _show(self, text: str) -> None:
        sys.stdout.write("".join(self._out) + text)
        sys.stdout.flush()
        self._out.clear()


def _breaks(char: str) -> bool:
    """Chinese, Japanese and other full-width characters need no space to break at."""
    return unicodedata.east_asian_width(char) in "WF"
