"""What users bring to ask: files of prompts. Everything wrong is named by file and line."""

import csv
import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, MissingExtraError, nearest
from credence.core.keys import Key

Given = str | list[dict[str, str]]
"""A prompt as a user writes it: one user message, or a conversation."""

READERS = (".jsonl", ".csv", ".txt")


@dataclass(frozen=True)
class PromptSet:
    """Unique prompts in the file's order.

    Attributes:
        given: N prompts.
        columns: further columns by name, N values each, None where a line has none; rewards take them by name.
        duplicates: prompts that were dropped because they stood earlier already.
        source: where they came from.
    """

    given: tuple[Given, ...]
    columns: dict[str, list[Any]]
    duplicates: int
    source: str

    def __len__(self) -> int:
        return len(self.given)

    def take(self, index: Sequence[int]) -> "PromptSet":
        """The prompts at these positions, in this order."""
        columns = {name: [values[i] for i in index] for name, values in self.columns.items()}
        return PromptSet(tuple(self.given[i] for i in index), columns, self.duplicates, self.source)


@dataclass(frozen=True)
class Split:
    """Disjoint positions of prompts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    heldout: tuple[int, ...]


def split(n: int, train: int, validation: int, heldout: int, key: Key) -> Split:
    """Split n prompts by seed; the held-out ones are drawn first, so the other counts never change them.

    Args:
        n: prompts there are.
        train: wanted; 0 takes all that the other two leave.
        validation: wanted.
        heldout: wanted.
        key: decides who goes where.

    Raises:
        ConfigError: fewer prompts than wanted.
    """
    wanted = heldout + validation + max(1, train)
    if wanted > n:
        raise ConfigError(
            f"{n} unique prompts, but {heldout} held out + {validation} for validation + at least {max(1, train)} to "
            f"train on are {wanted}. Bring more prompts or lower prompts.heldout, prompts.validation or prompts.train."
        )
    order = tuple(int(i) for i in key.fold("split").generator().permutation(n))
    rest = order[heldout + validation :]
    return Split(rest[: train or None], order[heldout : heldout + validation], order[:heldout])


def load_prompts(source: str, folder: Path = Path()) -> PromptSet:
    """Prompts from "chatterbot:<language>" or from a file (.jsonl, .csv, .txt), duplicates removed and counted.

    Args:
        source: a relative path begins at `folder`.
        folder: where the config file is.

    Raises:
        ConfigError: no such file, an unknown kind, nothing in it, or a line that cannot be a prompt.
        MissingExtraError: chatterbot-corpus is not installed.
    """
    place = find_source(source, folder)
    if place.is_dir():
        return _unique([(p, {}) for p in _openers(place)], source)
    text = read_text(place, "prompt file")
    read = {".jsonl": _jsonl, ".csv": _csv, ".txt": _txt}[place.suffix.lower()]
    rows = read(text, place)
    if not rows:
        raise ConfigError(f"{place} holds no prompt: at least one is needed.")
    return _unique(rows, source)


def find_source(source: str, folder: Path) -> Path:
    """Where the prompts are: a file, or a language's folder of conversations. Reads nothing.

    Raises:
        ConfigError: no such file or language, or an unknown kind of file.
        MissingExtraError: chatterbot-corpus is not installed.
    """
    scheme, colon, language = source.partition(":")
    if colon and scheme == "chatterbot":
        return _language(language)
    path = folder / source
    if path.suffix.lower() not in READERS:
        raise ConfigError(
            f"prompts {source!r}: files of prompts end in {', '.join(READERS)}; "
            "or write chatterbot:<language>, such as chatterbot:english."
        )
    if not path.is_file():
        read_text(path, "prompt file")  # says why not
    return path


Row = tuple[Given, dict[str, Any]]


def _unique(rows: list[Row], source: str) -> PromptSet:
    first: dict[str, Row] = {}
    for given, columns in rows:
        first.setdefault(json.dumps(given, ensure_ascii=False, sort_keys=True), (given, columns))
    kept = list(first.values())
    names = dict.fromkeys(name for _, columns in kept for name in columns)
    columns = {name: [c.get(name) for _, c in kept] for name in names}
    return PromptSet(tuple(given for given, _ in kept), columns, len(rows) - len(kept), source)


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
    return [(line.strip(), {}) for line in text.splitlines() if line.strip()]


def _csv(text: str, path: Path) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = list(reader.fieldnames or [])
    if names and "prompt" not in names:
        raise ConfigError(f"{path} has no column prompt.{nearest('prompt', names)} Its columns: {', '.join(names)}.")
    rows: list[Row] = []
    try:
        for row in reader:
            if None in row:
                raise ConfigError(
                    f"{path}, line {reader.line_num}: more fields than the {len(names)} columns. Quote commas."
                )
            prompt = (row.pop("prompt") or "").strip()
            if not prompt:
                raise ConfigError(f"{path}, line {reader.line_num}: the prompt is empty. Fill it or remove the line.")
            rows.append((prompt, dict(row)))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: not CSV: {error}.") from None
    return rows


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
            raise ConfigError(f"{where}: {type(row).__name__} found, an object with prompt or messages is needed.")
        field = next((name for name in ("prompt", "messages") if name in row), None)
        if field is None:
            known = f"Its fields: {', '.join(row) or 'none'}."
            raise ConfigError(f"{where}: neither prompt nor messages.{nearest('prompt', row)} {known}")
        rows.append((_given(row.pop(field), f"{where}, {field}"), row))
    return rows


def _given(value: Any, where: str) -> Given:  # noqa: ANN401 - whatever JSON held
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: {value!r} found; text, or a list of messages is needed, and not an empty one.")
    for message in value:
        good = isinstance(message, dict) and all(isinstance(message.get(k), str) for k in ("role", "content"))
        if not good:
            raise ConfigError(f'{where}: {message!r} is no message: {{"role": ..., "content": ...}} is needed.')
    messages = [{"role": m["role"], "content": m["content"]} for m in value]
    while messages and messages[-1]["role"] == "assistant":  # a recorded reply is not part of the question
        messages.pop()
    if not messages:
        raise ConfigError(f"{where}: only assistant messages, so nothing to reply to.")
    return messages


def _language(language: str) -> Path:
    found = importlib.util.find_spec("chatterbot_corpus")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "the prompts chatterbot:… need the package chatterbot-corpus. Run: pip install 'credence-lm[examples]'  "
            "(or name a file of prompts)."
        )
    data = Path(found.submodule_search_locations[0]) / "data"
    known = sorted(p.name for p in data.iterdir() if p.is_dir())
    if language not in known:
        raise ConfigError(f"chatterbot has no {language!r}.{nearest(language, known)} It has: {', '.join(known)}.")
    return data / language


def _openers(folder: Path) -> list[str]:
    """The first line of each conversation, file by file in alphabetical order."""
    import yaml

    out: list[str] = []
    for file in sorted(folder.glob("*.yml")):
        try:
            talks = yaml.safe_load(file.read_text("utf-8"))["conversations"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ConfigError(f"{file.name} of chatterbot:{folder.name} cannot be read: {error}.") from None
        out += [str(talk[0]).strip() for talk in talks if talk]
    return out
