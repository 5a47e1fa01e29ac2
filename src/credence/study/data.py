"""What users bring to ask: files of prompts. Everything wrong is named by file and line."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, MissingExtraError, nearest
from credence.core.keys import Key
from credence.study.examples import READERS, Given, Row, given_of, read_rows, read_text
from credence.study.recorded import shared_beginning

REPLIED = ("completion", "chosen", "rejected", "label", "votes")
"""Columns of a file of recorded replies, which may be a file of prompts too."""


@dataclass(frozen=True)
class PromptSet:
    """Unique prompts in the file's order.

    Attributes:
        given: N prompts.
        columns: further columns by name, N values each, None where a line has none; rewards take them by name.
        duplicates: prompts that were dropped because they stood earlier already.
        source: where they came from.
        differing: of the dropped, those whose further columns were others.
    """

    given: tuple[Given, ...]
    columns: dict[str, list[Any]]
    duplicates: int
    source: str
    differing: int = 0

    def __len__(self) -> int:
        return len(self.given)

    def take(self, index: Sequence[int]) -> "PromptSet":
        """The prompts at these positions, in this order."""
        columns = {name: [values[i] for i in index] for name, values in self.columns.items()}
        return replace(self, given=tuple(self.given[i] for i in index), columns=columns)

    def words(self) -> str:
        """A sentence where a reward would have read other columns of a prompt than those that are kept; else ""."""
        if not self.differing:
            return ""
        return (
            f"{self.source}: {self.differing} lines repeat a prompt with other columns, and only its first line is "
            "used: one prompt has one target. Put what differs into the prompt."
        )


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
    rows = read_rows(place, "prompt file")
    if not rows:
        raise ConfigError(f"{place} holds no prompt: at least one is needed.")
    return _unique([_asked(row) for row in rows], source)


def _asked(row: Row) -> tuple[Given, dict[str, Any]]:
    """A row's prompt, and its other fields, for rewards."""
    fields = dict(row.fields)
    field = next((name for name in ("prompt", "messages") if name in fields), None)
    if field is not None:
        value = fields.pop(field)
        if not value or (isinstance(value, str) and not value.strip()):
            raise ConfigError(f"{row.where}: the {field} is empty. Fill it or remove the line.")
        return given_of(value, f"{row.where}, {field}"), fields
    if {"chosen", "rejected"} <= fields.keys():
        return shared_beginning(fields["chosen"], fields["rejected"], row.where)[0], fields
    known = f"Its fields: {', '.join(fields) or 'none'}."
    raise ConfigError(f"{row.where}: neither prompt nor messages.{nearest('prompt', fields)} {known}")


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


def _unique(rows: list[tuple[Given, dict[str, Any]]], source: str) -> PromptSet:
    first: dict[str, tuple[Given, dict[str, Any]]] = {}
    differing = 0
    for given, columns in rows:
        _, known = first.setdefault(json.dumps(given, ensure_ascii=False, sort_keys=True), (given, columns))
        differing += _asking(known) != _asking(columns)
    kept = list(first.values())
    names = dict.fromkeys(name for _, columns in kept for name in columns)
    columns = {name: [c.get(name) for _, c in kept] for name in names}
    return PromptSet(tuple(given for given, _ in kept), columns, len(rows) - len(kept), source, differing)


def _asking(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns that say something of the prompt: recorded replies and what was said of them do not."""
    return {name: value for name, value in columns.items() if name not in REPLIED}


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
