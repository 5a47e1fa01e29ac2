"""A table that a user brings: .csv, .tsv or .jsonl in any common encoding. Broken lines are counted and told."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, nearest
from credence.dialogue.reading import decode, separator_of, utf8_line
from credence.study.examples import read_text

KINDS = (".csv", ".tsv", ".jsonl")
MOST_BROKEN = 0.01
"""Share of lines above which a file is refused: it is another kind of file, or was written wrongly."""
NAMED = 5
"""Broken lines that are named one by one."""

Broken = tuple[int, str]
"""A line's number, and why it was left out."""


@dataclass(frozen=True)
class Line:
    """One row: the number of its first line, and its fields."""

    number: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        path: where it is.
        lines: the rows that could be read, in the file's order.
        columns: in the file's order; of JSON lines in the order of their first appearance.
        broken: lines that could not be read.
        encoding: of the file.
    """

    path: Path
    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    broken: tuple[Broken, ...]
    encoding: str

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row has none.

        Raises:
            ConfigError: no such column, with the nearest name.
        """
        self.need(name)
        return [line.fields.get(name) for line in self.lines]

    def need(self, *names: str) -> None:
        """Refuse a file that lacks one of these columns.

        Raises:
            ConfigError: names it, the nearest one, and those that there are.
        """
        for name in names:
            if name not in self.columns:
                raise ConfigError(
                    f"{self.path} has no column {name!r}.{nearest(name, self.columns)} Its columns: "
                    f"{', '.join(self.columns) or 'none'}."
                )

    def remarks(self, more: Sequence[Broken] = ()) -> list[str]:
        """What a user should know of the reading, a sentence each; nothing of a clean UTF-8 file."""
        out = [] if self.encoding == "utf-8" else [f"{self.path.name} was read as {self.encoding}, as detected."]
        broken = [*self.broken, *more]
        return [*out, f"{self.path.name}: {told(broken, len(self.lines) - len(more))}."] if broken else out


def read_table(path: Path, what: str) -> Table:
    """Read a file's rows. Lines that cannot be read are left out, counted and named.

    Args:
        path: ends in one of KINDS.
        what: what messages call the file, such as "file of texts".

    Raises:
        ConfigError: no such file, another kind, an encoding that cannot be told, a column named twice, no row, or more
            than 1 % of its lines broken.
    """
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"{what} {str(path)!r}: tables end in {', '.join(KINDS)}.")
    if not path.is_file():
        read_text(path, what)  # says why not
    text, encoding = decoded(path.read_bytes(), path)
    lines, columns, broken = _objects(text) if path.suffix.lower() == ".jsonl" else _cells(text, path)
    if not lines and not broken:
        raise ConfigError(f"the {what} {path} holds no row.")
    table = Table(path, tuple(lines), tuple(columns), tuple(broken), encoding)
    check_broken(table)
    return table


def decoded(raw: bytes, path: Path) -> tuple[str, str]:
    """The text and its encoding: one that cannot be mistaken (dialogue.reading), else the likeliest, where told apart.

    Raises:
        ConfigError: lines in different encodings, or none that fits.
    """
    try:
        return decode(raw, path)
    except ConfigError:
        if utf8_line(raw) is not None:  # a mixture would be garbled by whatever is likeliest
            raise
        try:
            from charset_normalizer import from_bytes
        except ImportError:
            best = None
        else:
            best = from_bytes(raw).best()
        if best is None:
            raise
        return str(best).removeprefix("\ufeff"), best.encoding.replace("_", "-")


def check_broken(table: Table, more: Sequence[Broken] = ()) -> None:
    """Refuse a table of which over 1 % is broken.

    Args:
        table: as read.
        more: rows that were read, but hold what cannot be.

    Raises:
        ConfigError: the first broken lines, with reasons.
    """
    broken = sorted([*table.broken, *more])
    whole = len(table.lines) + len(table.broken)
    if len(broken) > MOST_BROKEN * whole:
        raise ConfigError(
            f"{table.path}: {told(broken, whole - len(broken))}. More than {MOST_BROKEN:.0%} of the lines are broken; "
            "mend them, or remove them if that is right."
        )


def told(broken: Sequence[Broken], good: int) -> str:
    """`2 of 400 lines left out: line 7 (3 fields for 4 columns), …`."""
    named = ", ".join(f"line {number} ({why})" for number, why in broken[:NAMED])
    more = f", and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return f"{len(broken)} of {good + len(broken)} lines left out: {named}{more}"


Found = tuple[list[Line], list[str], list[Broken]]


def _cells(text: str, path: Path) -> Found:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text), strict=True)
    columns = [name.strip() for name in next(reader, [])]
    twice = [name for i, name in enumerate(columns) if name in columns[:i]]
    if twice:
        raise ConfigError(f"{path}: the column {twice[0]!r} stands twice in the first line. Rename one.")
    lines: list[Line] = []
    broken: list[Broken] = []
    while True:
        began = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:  # a quote never closed swallows lines: each of them counts
            broken += [(number, str(error)) for number in range(began, max(began, reader.line_num) + 1)]
            continue
        if cells is None:
            return lines, columns, broken
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            why = f"{len(cells)} fields for {len(columns)} columns"
            broken += [(number, why) for number in range(began, reader.line_num + 1)]
            continue
        lines.append(Line(began, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}))


def _objects(text: str) -> Found:
    lines: list[Line] = []
    broken: list[Broken] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            broken.append((number, "not JSON"))
            continue
        if not isinstance(row, dict):
            broken.append((number, "no JSON object"))
            continue
        columns.update(dict.fromkeys(row))
        lines.append(Line(number, row))
    return lines, list(columns), broken
