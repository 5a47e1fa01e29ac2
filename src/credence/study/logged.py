"""A log of choices from a file: arm, reward, propensity, and what the choice could see. Broken lines are told."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, nearest
from credence.dialogue.reading import decode, separator_of
from credence.study.examples import read_text

READERS = (".csv", ".tsv", ".jsonl")
NEEDED = ("arm", "reward", "propensity")
MOST_BROKEN = 0.01
"""Share of lines above which a file is refused: it is another kind of file, or was written wrongly."""
_NAMED = 5
"""Broken lines that are named one by one."""


@dataclass(frozen=True)
class Line:
    """One choice as it stood in the file: where, what, and every other field."""

    number: int
    arm: str
    reward: float
    propensity: float
    fields: dict[str, Any]


@dataclass(frozen=True)
class LogFile:
    """What was read.

    Attributes:
        source: the file.
        encoding: what it was in.
        lines: the choices, in the file's order.
        columns: names of the fields beside arm, reward and propensity.
        broken: number and reason of each line that was left out.
    """

    source: str
    encoding: str
    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    broken: tuple[tuple[int, str], ...]

    def broken_words(self) -> str:
        """`2 of 400 lines left out: line 7 (reward 'n/a' is no number), …`; empty where none is."""
        return _broken_words(self.broken, len(self.lines))


def read_log(path: Path) -> LogFile:
    """Read a log in .csv, .tsv or .jsonl, in UTF-8, UTF-16 with its mark, or GB18030.

    A line that cannot be read (fields missing or too many, no JSON object, a reward or propensity that is no finite
    number, no arm) is left out, counted and named. A propensity that is a number outside (0, 1] is refused: such a
    choice cannot have been made, so the column holds something else.

    Raises:
        ConfigError: no such file, another kind, another encoding, a column missing (with the nearest name), nothing in
            it, more than 1 % broken lines, or a propensity outside (0, 1].
    """
    kind = path.suffix.lower()
    if kind not in READERS:
        raise ConfigError(f"log {str(path)!r}: logs of choices end in {', '.join(READERS)}.")
    if not path.is_file():
        read_text(path, "log")  # says why not
    text, encoding = decode(path.read_bytes(), path)
    found, columns, broken = _objects(text, path) if kind == ".jsonl" else _table(text, path)
    if not found and not broken:
        raise ConfigError(f"{path} holds no choice: at least two lines, of different arms, are needed.")
    for name in NEEDED:
        if name not in columns:
            raise ConfigError(
                f"{path} has no column {name!r}.{nearest(name, columns)} Its columns: {', '.join(columns) or 'none'}; "
                f"{', '.join(NEEDED)} are needed."
            )
    lines: list[Line] = []
    for number, fields in found:
        line = _line(number, fields)
        if isinstance(line, str):
            broken.append((number, line))
        else:
            lines.append(line)
    broken.sort()
    if len(broken) > MOST_BROKEN * (len(lines) + len(broken)):
        raise ConfigError(
            f"{path}: {_broken_words(broken, len(lines))}. More than {MOST_BROKEN:.0%} of the lines are broken; mend "
            "them, or remove them if that is right."
        )
    for line in lines:
        if not 0 < line.propensity <= 1:
            raise ConfigError(
                f"{path}, line {line.number}: propensity {line.propensity:g}; a choice that was made had a probability "
                "in (0, 1]. Log the probability that the chosen arm had when it was chosen."
            )
    rest = tuple(name for name in columns if name not in NEEDED)
    return LogFile(str(path), encoding, tuple(lines), rest, tuple(broken))


def _broken_words(broken: Sequence[tuple[int, str]], good: int) -> str:
    if not broken:
        return ""
    named = ", ".join(f"line {number} ({why})" for number, why in broken[:_NAMED])
    more = f", and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    return f"{len(broken)} of {good + len(broken)} lines left out: {named}{more}"


Found = tuple[list[tuple[int, dict[str, Any]]], list[str], list[tuple[int, str]]]
"""Rows with their line numbers, the columns, and broken lines."""


def _table(text: str, path: Path) -> Found:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text), strict=True)
    columns = [name.strip() for name in next(reader, [])]
    twice = [name for i, name in enumerate(columns) if name in columns[:i]]
    if twice:
        raise ConfigError(f"{path}: the column {twice[0]!r} stands twice in the first line. Rename one.")
    found: list[tuple[int, dict[str, Any]]] = []
    broken: list[tuple[int, str]] = []
    while True:
        began = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:  # a quote never closed swallows lines: each of them counts
            broken += [(number, str(error)) for number in range(began, max(began, reader.line_num) + 1)]
            continue
        if cells is None:
            return found, columns, broken
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            why = f"{len(cells)} fields for {len(columns)} columns"
            broken += [(number, why) for number in range(began, reader.line_num + 1)]
            continue
        found.append((began, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}))


def _objects(text: str, path: Path) -> Found:
    found: list[tuple[int, dict[str, Any]]] = []
    broken: list[tuple[int, str]] = []
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
        flat = _flat(row)
        columns.update(dict.fromkeys(flat))
        found.append((number, flat))
    return found, list(columns), broken


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The fields, with those of an object or list named "context" among them: context.hour, context.0."""
    inner = row.get("context")
    if isinstance(inner, list):
        inner = {str(i): value for i, value in enumerate(inner)}
    if not isinstance(inner, dict):
        return row
    return {**{k: v for k, v in row.items() if k != "context"}, **{f"context.{k}": v for k, v in inner.items()}}


def _line(number: int, fields: dict[str, Any]) -> Line | str:
    """The choice, or why it cannot be read."""
    arm = fields.get("arm")
    name = "" if arm is None or isinstance(arm, dict | list) else str(arm).strip()
    if not name:
        return "no arm"
    numbers: list[float] = []
    for column in ("reward", "propensity"):
        value = number_of(fields.get(column))
        if value is None:
            return f"{column} {str(fields.get(column, ''))[:20]!r} is no finite number"
        numbers.append(value)
    rest = {key: value for key, value in fields.items() if key not in NEEDED}
    return Line(number, name, numbers[0], numbers[1], rest)


def number_of(value: Any) -> float | None:  # noqa: ANN401 - whatever the file held
    """A finite number, true and false as 1 and 0; None where it is none."""
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float | str):
        return None
    words = {"true": 1.0, "false": 0.0}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
