"""Aligned pairs of texts: from a table of two columns, two files line by line, or a package; parted by seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from credence.belief.units import units
from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study import debian_reference
from credence.study.examples import read_text
from credence.study.table import Line, Table, check_broken, decoded, read_table

RATIO = 9
"""Units of one side for each of the other, and once more, above which a pair is taken for misaligned (as in Moses)."""
PLAIN = ".txt"

Numbered = tuple[int, str, str]
"""Line, source, translation."""


@dataclass(frozen=True)
class Pairs:
    """Sources with their translations, each source once.

    Attributes:
        sources: N.
        targets: N.
        remarks: what was left out, and how the file was read; a sentence each.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, index: Sequence[int]) -> "Pairs":
        """These."""
        return Pairs(tuple(self.sources[i] for i in index), tuple(self.targets[i] for i in index))

    def both(self) -> list[tuple[str, str]]:
        """(source, translation)."""
        return list(zip(self.sources, self.targets, strict=True))


@dataclass(frozen=True)
class PairParts:
    """Who is learnt from, who sets the weights, who is only measured."""

    train: Pairs
    validation: Pairs
    test: Pairs


def read_pairs(given: str, beside: Path, source: str, target: str, other: str, longest: int) -> Pairs:
    """The pairs that a config names.

    Args:
        given: "debian-reference", a table, or a .txt of sources.
        beside: where a relative path begins.
        source: column of the sources.
        target: column of the translations.
        other: a .txt of the translations, where `given` is a .txt.
        longest: units of either side above which a pair is left out.

    Raises:
        ConfigError: no such file, unlike numbers of lines, over 1 % of the lines broken or misaligned, nothing left.
        BackendError: the package is not here.
    """
    if other and Path(given).suffix.lower() != PLAIN:
        raise ConfigError(f"data.translations = {other!r} belongs to a {PLAIN} of sources; data.source is {given!r}.")
    if given == debian_reference.SOURCE:
        found, remarks = debian_reference.read_reference()
        return each_source_once([(0, x, y) for x, y in found], given, longest, remarks)
    path = beside / given
    if path.suffix.lower() == PLAIN:
        return _from_lines(path, other, beside, longest)
    table = read_table(path, "file of pairs")
    table.need(source, target)
    rows = [(line.number, _cell(line, source), _cell(line, target)) for line in table.lines]
    return _checked(table, rows, longest)


def _cell(line: Line, column: str) -> str:
    value = line.fields.get(column)
    return "" if value is None else " ".join(str(value).split())


def _from_lines(path: Path, other: str, beside: Path, longest: int) -> Pairs:
    """Two files, line n of one the translation of line n of the other."""
    if not other:
        raise ConfigError(
            f"data.source = {path.name!r} holds one language: name the file with its translations, line by line, as "
            "data.translations."
        )
    told, sides = list[str](), list[list[str]]()
    for place in (path, beside / other):
        if not place.is_file():
            read_text(place, "file of pairs")  # says why not
        text, encoding = decoded(place.read_bytes(), place)
        sides.append([" ".join(line.split()) for line in text.removesuffix("\n").split("\n")])
        told += [] if encoding == "utf-8" else [f"{place.name} was read as {encoding}, as detected."]
    first, second = sides
    if len(first) != len(second):
        raise ConfigError(
            f"{path.name} has {len(first):,} lines and {other} has {len(second):,}: line by line they are no "
            "translations of each other. Align them, or give one table of pairs."
        )
    rows = [(n, x, y) for n, (x, y) in enumerate(zip(first, second, strict=True), 1) if x or y]
    lines = tuple(Line(n, {}) for n, _, _ in rows)
    return _checked(Table(path, lines, (), (), "utf-8"), rows, longest, told)


def _checked(table: Table, rows: Sequence[Numbered], longest: int, told: Sequence[str] = ()) -> Pairs:
    """Rows with one side empty, or of sides that cannot be translations, are broken lines: over 1 % is an error."""
    broken = [(number, why) for number, x, y in rows if (why := misaligned(x, y))]
    check_broken(table, broken)
    bad = {number for number, _ in broken}
    return each_source_once(
        [row for row in rows if row[0] not in bad], table.path.name, longest, [*told, *table.remarks(broken)]
    )


def misaligned(source: str, target: str) -> str:
    """Why a pair cannot be one, or nothing."""
    m, n = len(units(source)), len(units(target))
    if not m or not n:
        return "no source" if not m else "no translation"
    if max(m, n) > RATIO * (min(m, n) + 1):
        return f"misaligned: {m} units against {n}"
    return ""


def each_source_once(rows: Sequence[Numbered], name: str, longest: int, remarks: Sequence[str] = ()) -> Pairs:
    """Each source once, with its first translation; what cannot be used is left out and counted.

    Raises:
        ConfigError: nothing is left.
    """
    kept, count = dict[str, tuple[str, str]](), Counter[str]()
    for _, x, y in rows:
        key = " ".join(units(x))
        if key in kept:
            count["repeated"] += 1
        elif why := misaligned(x, y):
            count[why.partition(":")[0]] += 1
        elif max(len(units(x)), len(units(y))) > longest:
            count[f"of more than {longest} units"] += 1
        else:
            kept[key] = (x, y)
    if not kept:
        raise ConfigError(f"{name} holds no pair of a source and its translation.")
    left = [f"{name}: left out " + ", ".join(f"{n:,} {why}" for why, n in count.items()) + "."] if count else []
    return Pairs(tuple(x for x, _ in kept.values()), tuple(y for _, y in kept.values()), (*remarks, *left))


def part_pairs(found: Pairs, train: int, validation: int, test: int, key: Key) -> PairParts:
    """Test and validation pairs by the key, then as many to train on; 0: all that are left.

    Raises:
        ConfigError: too few pairs.
    """
    needed = test + validation + max(train, 2)
    if len(found) < needed:
        raise ConfigError(
            f"{len(found)} different pairs, and data asks for {train} + {validation} + {test} (train, validation, "
            "test): ask for fewer."
        )
    order = [int(i) for i in key.generator().permutation(len(found))]
    last = test + validation + train if train else len(found)
    return PairParts(
        found.take(order[test + validation : last]),
        found.take(order[test : test + validation]),
        found.take(order[:test]),
    )
