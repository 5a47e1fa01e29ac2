"""Labelled texts: from a file of any common encoding or a package's data, each once, parted by seed."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, MissingExtraError, nearest
from credence.core.keys import Key

KINDS = (".csv", ".jsonl")
BROKEN = 0.01
"""Share of broken lines above which a file is not what it is taken for."""
NAMED = 5
"""Broken lines that a message names."""


@dataclass(frozen=True)
class Line:
    """One row of a file: its line number, and its fields."""

    number: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        lines: the rows that could be read.
        columns: in the file's order; for JSON lines, in the order of their first appearance.
        broken: numbers of lines that could not.
        encoding: as detected.
    """

    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    broken: tuple[int, ...]
    encoding: str

    def remarks(self, name: str) -> list[str]:
        """What a user should know of the reading; nothing of a clean UTF-8 file."""
        out = [] if self.encoding == "utf-8" else [f"{name} was read as {self.encoding}, which was detected."]
        if self.broken:
            out.append(f"{name}: {_lines(self.broken)} left out, broken.")
        return out


@dataclass(frozen=True)
class Labelled:
    """Texts whose labels are known, each text once.

    Attributes:
        texts: N.
        labels: N.
        names: the K labels, sorted.
        remarks: what was left out, and how the file was read; a sentence each.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: Sequence[int]) -> "Labelled":
        """These, with all names known."""
        return Labelled(tuple(self.texts[i] for i in index), tuple(self.labels[i] for i in index), self.names)

    @property
    def truth(self) -> list[int]:
        """Index of each label."""
        place = {name: i for i, name in enumerate(self.names)}
        return [place[label] for label in self.labels]


@dataclass(frozen=True)
class Parts:
    """Who is learnt from, who sets the few numbers that are tuned, who is only measured."""

    train: Labelled
    validation: Labelled
    test: Labelled
    left: int = 0


def read_table(path: Path, what: str) -> Table:
    """The rows of a .csv or .jsonl file in whatever encoding; lines that cannot be read are counted.

    Raises:
        ConfigError: no such file, another kind, nothing in it, or more than 1 % of its lines broken, the first named.
        MissingExtraError: the file is not UTF-8, and what tells encodings apart is not installed.
    """
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"{what} {str(path)!r}: files of texts end in {' or '.join(KINDS)}.")
    text, encoding = decode(_bytes(path, what), path)
    rows, columns, broken = (_csv if path.suffix.lower() == ".csv" else _jsonl)(text)
    count = len(rows) + len(broken)
    if not count:
        raise ConfigError(f"the {what} {path} holds no row.")
    if len(broken) > BROKEN * count:
        raise ConfigError(
            f"{path}: {_lines(broken)} of {count} broken, over {BROKEN:.0%}: it is not the {path.suffix} it is taken "
            "for. Mend those lines (CSV: as many fields as columns, quotes closed; JSON lines: one object each)."
        )
    return Table(tuple(rows), tuple(columns), tuple(broken), encoding)


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"no such {what}: {path}.{nearest(path.name, beside)}") from None
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}.") from None


def decode(raw: bytes, path: Path) -> tuple[str, str]:
    """The text and its encoding: UTF-8 where it is that, else the likeliest; a short Chinese file is GB18030.

    Raises:
        ConfigError: no encoding fits.
        MissingExtraError: charset-normalizer is not installed.
    """
    try:
        return raw.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
    if _is_gb(raw):
        return raw.decode("gb18030"), "gb18030"
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise MissingExtraError(
            f"{path} is not UTF-8 (line {line}). To have its encoding detected: pip install 'credence-lm[believe]'. "
            f"Or convert it: iconv -f GB18030 -t UTF-8 {path.name} > new{path.suffix}"
        ) from None
    best = from_bytes(raw).best()
    if best is None:
        raise ConfigError(f"{path} is in no encoding that is known here. Save it as UTF-8.")
    return str(best).removeprefix("\ufeff"), best.encoding.replace("_", "-")


def _is_gb(raw: bytes) -> bool:
    """Whether the bytes are Chinese in GB18030: they decode, and its common characters make up nearly all of it.

    Those are the lead bytes B0 to D7. A few lines are too little for a detector of all languages, which then takes
    them for Korean: Korean syllables have B0 to C8, so some byte beyond must stand there.
    """
    try:
        raw.decode("gb18030")
    except UnicodeDecodeError:
        return False
    pairs = re.findall(rb"[\x00-\x7f]|[\x81-\xfe].", raw, re.DOTALL)
    letters = [pair for pair in pairs if len(pair) == 2 and pair[0] not in (0xA1, 0xA2, 0xA3)]  # those are punctuation
    common = [pair for pair in letters if 0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1]
    return len(common) > 0.9 * len(letters) and any(pair[0] > 0xC8 for pair in common)


def _csv(text: str) -> tuple[list[Line], list[str], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Line] = []
    broken: list[int] = []
    columns: list[str] | None = None
    while True:
        before = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return rows, columns or [], broken
        except csv.Error:  # an open quote swallows lines: each of them counts
            broken.extend(range(before + 1, reader.line_num + 1))
            continue
        if not cells:
            continue
        if columns is None:
            columns = [cell.strip() for cell in cells]
        elif len(cells) != len(columns):
            broken.extend(range(before + 1, reader.line_num + 1))
        else:
            rows.append(Line(reader.line_num, dict(zip(columns, cells, strict=True))))


def _jsonl(text: str) -> tuple[list[Line], list[str], list[int]]:
    rows: list[Line] = []
    broken: list[int] = []
    columns = dict[str, None]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            rows.append(Line(number, row))
        else:
            broken.append(number)
    return rows, list(columns), broken


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:NAMED])) + (", …" if len(numbers) > NAMED else "")
    return f"{len(numbers)} line{'s' if len(numbers) != 1 else ''} ({shown})"


def column(table: Table, name: str, path: Path) -> list[Any]:
    """The values of a column.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in table.columns:
        raise ConfigError(
            f"{path} has no column {name!r}.{nearest(name, table.columns)} It has: "
            f"{', '.join(table.columns) or 'none'}."
        )
    return [line.fields.get(name) for line in table.lines]


def from_file(path: Path, text: str, label: str) -> Labelled:
    """The labelled texts of a file.

    Raises:
        ConfigError: as read_table; a column that is missing.
    """
    table = read_table(path, "labelled file")
    pairs = zip(column(table, text, path), column(table, label, path), strict=True)
    return each_once(((_words(t), _words(y)) for t, y in pairs), path.name, table.remarks(path.name))


def _words(value: Any) -> str:  # noqa: ANN401 - a cell of JSON
    """A label may be a number, and a missing cell is empty."""
    return "" if value is None else str(value).strip()


def each_once(pairs: Iterable[tuple[str, str]], name: str, remarks: Sequence[str] = ()) -> Labelled:
    """Each text once, in the order of its first appearance; what cannot be used is left out and counted.

    A text that stands there under two labels is left out altogether: whichever were kept, the other was as right.

    Raises:
        ConfigError: nothing is left, or only one label.
    """
    known = dict[str, set[str]]()
    count: Counter[str] = Counter()
    for text, label in pairs:
        if not text or not label:
            count["empty text" if not text else "no label"] += 1
            continue
        if text in known:
            count["repeated"] += 1
        known.setdefault(text, set()).add(label)
    kept = [(text, next(iter(labels))) for text, labels in known.items() if len(labels) == 1]
    if len(kept) < len(known):
        count["under two labels"] = len(known) - len(kept)
    if not kept:
        raise ConfigError(f"{name} holds no text with a label.")
    names = tuple(sorted({label for _, label in kept}))
    if len(names) < 2:
        raise ConfigError(f"every text of {name} has the label {kept[0][1]!r}: there is nothing to tell apart.")
    left = [f"{name}: left out " + ", ".join(f"{n:,} {why}" for why, n in count.items()) + "."] if count else []
    return Labelled(tuple(t for t, _ in kept), tuple(y for _, y in kept), names, (*remarks, *left))


def part(found: Labelled, train: int, validation: int, test: int, key: Key) -> Parts:
    """Test and validation texts by the key, then as many to train on; 0: all that are left.

    Raises:
        ConfigError: too few texts, or a label of validation or test that training has never seen.
    """
    needed = test + validation + max(train, 2)
    if len(found) < needed:
        raise ConfigError(
            f"{len(found)} different texts, and data asks for {train} + {validation} + {test} (train, validation, "
            "test): ask for fewer."
        )
    order = [int(i) for i in key.generator().permutation(len(found))]
    last = test + validation + train if train else len(found)
    tested, tuned = found.take(order[:test]), found.take(order[test : test + validation])
    learnt = found.take(order[test + validation : last])
    for what, here in (("validation", tuned), ("test", tested)):
        if unseen := sorted(set(here.labels) - set(learnt.labels)):
            count = found.labels.count(unseen[0])
            raise ConfigError(
                f"label {unseen[0]!r} stands in {what} and never in training ({count} of {len(found)} texts have it): "
                "nothing can be learnt of it. Train on more texts, add examples of it, or join it with another label."
            )
    return Parts(learnt, tuned, tested, len(found) - last)
