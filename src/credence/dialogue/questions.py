"""A file of questions as people ask them, each with the entry that answers it: to fit a helpdesk, or to be asked."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from credence.core.errors import ConfigError, nearest
from credence.dialogue.reading import decode, separator_of, too_large


@dataclass(frozen=True)
class Asked:
    """One row.

    Attributes:
        text: the question, perhaps empty.
        entry: what answers it; empty where nothing does.
        language: as written; empty where the file has no such column.
        line: where the row ends in the file.
    """

    text: str
    entry: str
    language: str
    line: int


def read_questions(path: Path) -> list[Asked]:
    """The rows of a CSV file with columns text and entry, and optionally language. Spaces at the ends go.

    Columns are parted by comma, semicolon or tab. Tested in tests/unit/test_rewordings.py and test_fitting.py.

    Raises:
        ConfigError: no such file, one that cannot be read or is not CSV, or a column that is missing.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a .csv file of questions.")
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"no such file of questions: {path}.{nearest(path.name, beside)}")
    try:
        text, _ = decode(path.read_bytes(), path)
    except OSError as error:
        raise ConfigError(f"the file of questions {path} cannot be read: {error.strerror}.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator_of(text), strict=True)
    rows: list[Asked] = []
    try:
        names = list(reader.fieldnames or [])
        for needed in ("text", "entry"):
            if needed not in names:
                raise ConfigError(
                    f"{path} has no column {needed}.{nearest(needed, names)} Its columns: {', '.join(names) or 'none'}."
                )
        for row in reader:
            rows.append(_asked(row, reader.line_num, path))  # noqa: PERF401 - an error says after which row it came
    except csv.Error as error:
        if "field larger than" in str(error):
            raise too_large(path, (rows[-1].line if rows else 1) + 1) from None
        raise ConfigError(f"{path}, line {reader.line_num}: not CSV: {error}.") from None
    return rows


def _asked(row: dict[str | None, str | list[str] | None], line: int, path: Path) -> Asked:
    if None in row:
        raise ConfigError(f"{path}, line {line}: more fields than columns. Quote a text that holds what parts them.")
    text, entry, language = (str(row.get(name) or "").strip() for name in ("text", "entry", "language"))
    return Asked(text, entry, language, line)
