"""A log of choices from a file: arm, reward, propensity, and what the choice could see. Broken lines are told."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError
from credence.study import table
from credence.study.table import Broken, check_broken, read_table

NEEDED = ("arm", "reward", "propensity")


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
        """`2 of 400 lines left out: line 7 (reward 'n/a' is no finite number), …`; empty where none is."""
        return table.told(self.broken, len(self.lines)) if self.broken else ""


def read_log(path: Path) -> LogFile:
    """Read a log in .csv, .tsv or .jsonl, in UTF-8, UTF-16 with its mark, or GB18030.

    A line that cannot be read (fields missing or too many, no JSON object, a reward or propensity that is no finite
    number, no arm) is left out, counted and named. A propensity that is a number outside (0, 1] is refused: such a
    choice cannot have been made, so the column holds something else.

    Raises:
        ConfigError: as study.table.read_table; more than 1 % of the lines hold no choice; a propensity outside (0, 1].
    """
    found = read_table(path, "log of choices")
    found.need(*NEEDED)
    columns = dict.fromkeys(name for row in found.lines for name in _flat(row.fields))
    lines: list[Line] = []
    more: list[Broken] = []
    for row in found.lines:
        line = _line(row.number, _flat(row.fields))
        if isinstance(line, str):
            more.append((row.number, line))
        else:
            lines.append(line)
    check_broken(found, more)
    for line in lines:
        if not 0 < line.propensity <= 1:
            raise ConfigError(
                f"{path}, line {line.number}: propensity {line.propensity:g}; a choice that was made had a probability "
                "in (0, 1]. Log the probability that the chosen arm had when it was chosen."
            )
    rest = tuple(name for name in columns if name not in NEEDED)
    return LogFile(str(path), found.encoding, tuple(lines), rest, tuple(sorted([*found.broken, *more])))


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
