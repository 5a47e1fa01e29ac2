"""Labelled texts: from a file of any common encoding or a package's data, each once, parted by seed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study.table import read_table


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


def from_file(path: Path, text: str, label: str) -> Labelled:
    """The labelled texts of a file.

    Raises:
        ConfigError: as read_table; a column that is missing.
    """
    table = read_table(path, "labelled file")
    pairs = zip(table.column(text), table.column(label), strict=True)
    return each_once(((_words(t), _words(y)) for t, y in pairs), path.name, table.remarks())


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
