"""Files of examples as rows: .jsonl, .csv, .parquet and .txt. Everything wrong is named by file and line."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, MissingExtraError, nearest

Given = str | list[dict[str, str]]
"""A prompt as a user writes it: one user message, or a conversation."""

READERS = (".jsonl", ".csv", ".parquet", ".txt")


@dataclass(frozen=True)
class Row:
    """One example: where it stands, for messages, and its fields by name."""

    where: str
    fields: dict[str, Any]


def read_rows(path: Path, what: str) -> list[Row]:
    """The examples of a file; a text file's lines are prompts.

    Args:
        path: of a kind in READERS.
        what: what messages call the file, such as "prompt file".

    Raises:
        ConfigError: no such file, another kind, or a line that is no example.
        MissingExtraError: a .parquet file without pyarrow.
    """
    kind = path.suffix.lower()
    if kind not in READERS:
        raise ConfigError(f"{what} {str(path)!r}: files of examples end in {', '.join(READERS)}.")
    if kind == ".parquet":
        return _parquet(path, what)
    text = read_text(path, what)
    return {".jsonl": _jsonl, ".csv": _csv, ".txt": _txt}[kind](text, path)


def read_text(path: Path, what: str) -> str:
    """A UTF-8 file's text, a byte-order mark dropped.

    Raises:
        ConfigError: no such file (with the nearest names beside it), a folder, or another encoding.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        missing = "" if path.parent.is_dir() else f" The folder {path.parent} does not exist."
        raise ConfigError(
            f"no such {what}: {path}.{missing}{nearest(path.name, beside)}", "no file", path=path
        ) from None
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"the {what} {path} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line}. "
            f"Convert it, for example: iconv -f GB18030 -t UTF-8 {path.name} > new{path.suffix}"
        ) from None


def _txt(text: str, path: Path) -> list[Row]:
    lines = enumerate(text.splitlines(), 1)
    return [Row(f"{path}, line {n}", {"prompt": line.strip()}) for n, line in lines if line.strip()]


def _csv(text: str, path: Path) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = list(reader.fieldnames or [])
    rows: list[Row] = []
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise ConfigError(f"{where}: more fields than the {len(names)} columns. Quote commas.")
            rows.append(Row(where, {name: _cell(name, value) for name, value in row.items()}))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: not CSV: {error}.") from None
    return rows


def _cell(name: str, value: str | None) -> Any:  # noqa: ANN401 - a conversation may be written as JSON in a cell
    """A cell's text, a prompt without space around it; messages where it holds them as JSON."""
    if value is not None and value.lstrip().startswith("[{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value.strip() if value is not None and name == "prompt" else value


def _jsonl(text: str, path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{where}: not JSON: {error.msg} at column {error.colno}. One object a line.") from None
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: {type(row).__name__} found, an object with named fields is needed.")
        rows.append(Row(where, row))
    return rows


def _parquet(path: Path, what: str) -> list[Row]:
    if not path.is_file():
        read_text(path, what)  # says why not
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            f"the {what} {path} is in Parquet, which needs pyarrow. Run: pip install 'credence-lm[parquet]'  "
            "(or save it as .jsonl: datasets' to_json writes that)."
        ) from error
    try:
        found = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"the {what} {path} cannot be read as Parquet: {error}.") from None
    return [Row(f"{path}, row {number}", row) for number, row in enumerate(found, 1)]


def given_of(value: Any, where: str) -> Given:  # noqa: ANN401 - whatever the file held
    """A prompt from a field: text, or messages, of which a recorded reply at the end is left out.

    Raises:
        ConfigError: neither of them, or nothing to reply to.
    """
    if isinstance(value, str) and value.strip():
        return value
    messages = messages_of(value, where)
    while messages and messages[-1]["role"] == "assistant":  # a recorded reply is not part of the question
        messages.pop()
    if not messages:
        raise ConfigError(f"{where}: only assistant messages, so nothing to reply to.")
    return messages


def messages_of(value: Any, where: str) -> list[dict[str, str]]:  # noqa: ANN401 - whatever the file held
    """A list of messages, each with its role and content alone.

    Raises:
        ConfigError: no list, an empty one, or something else in it.
    """
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: {value!r} found; text, or a list of messages is needed, and not an empty one.")
    for message in value:
        good = isinstance(message, dict) and all(isinstance(message.get(k), str) for k in ("role", "content"))
        if not good:
            raise ConfigError(f'{where}: {message!r} is no message: {{"role": ..., "content": ...}} is needed.')
    return [{"role": m["role"], "content": m["content"]} for m in value]
