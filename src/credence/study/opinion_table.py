"""What people said of texts, from a table: comparisons, labels or scores. What cannot be used is counted and told."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key
from credence.evidence.reward_head import Kind
from credence.study.examples import Given, given_of, messages_of
from credence.study.logged import number_of
from credence.study.recorded import shared_beginning
from credence.study.table import Broken, Line, Table, check_broken, read_table

TEXTS = ("completion", "text", "reply")
"""Columns that may hold the text of a label or a score, the first of them that there is."""
UP, DOWN = ("true", "1", "1.0", "good", "up", "好", "好评"), ("false", "0", "0.0", "bad", "down", "差", "差评")
FORMS = "chosen and rejected (comparisons), text and label (thumbs), or text and score"
FEW_PROMPTS = 10
"""Different prompts below which opinions are kept apart by their texts, not by their prompts."""


@dataclass(frozen=True)
class Opinion:
    """One line: its number, the prompt if it has one, one text or the two that were compared, and what was said.

    `value` is a label as 1 or 0, a score, or the share of judges who prefer the first text.
    """

    number: int
    given: Given | None
    texts: tuple[str, ...]
    value: float


@dataclass(frozen=True)
class OpinionTable:
    """A file's opinions, in its order.

    Attributes:
        source: the file.
        encoding: of it.
        kind: of all of them.
        opinions: at least one.
        remarks: what was left out, and how the file was read; a sentence each.
    """

    source: str
    encoding: str
    kind: Kind
    opinions: tuple[Opinion, ...]
    remarks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.opinions)


def read_opinions(path: Path) -> OpinionTable:
    """Read a .csv, .tsv or .jsonl file in any encoding that can be told.

    The columns say what it holds. A line that repeats another counts once. Empty texts, lines without an opinion and
    comparisons of a text with itself are left out and counted; lines that hold something else are broken.

    Raises:
        ConfigError: as read_table; columns of no kind or of two; more than 1 % of the lines broken; nothing left; or
            opinions that are all the same, from which nothing is learnt. Test: tests/unit/test_opinion_table.py.
    """
    table = read_table(path, "file of opinions")
    kind = _kind(table)
    read = {"comparisons": _comparison, "labels": _labelled(table, "label"), "scores": _labelled(table, "score")}[kind]
    left: Counter[str] = Counter()
    broken: list[Broken] = []
    found: dict[str, Opinion] = {}
    for line in table.lines:
        try:
            said = read(line)
        except ConfigError as error:
            broken.append((line.number, str(error)))
            continue
        if isinstance(said, str):
            left[said] += 1
            continue
        same = json.dumps([said.given, said.texts, said.value], ensure_ascii=False)
        left["repeated"] += same in found
        found.setdefault(same, said)
    check_broken(table, broken)
    opinions = tuple(found.values())
    _differing(kind, opinions, path)
    told = ", ".join(f"{n:,} {why}" for why, n in left.items() if n)
    remarks = [*table.remarks(broken), *([f"{path.name}: left out {told}."] if told else [])]
    return OpinionTable(str(path), table.encoding, kind, opinions, tuple(remarks))


def _kind(table: Table) -> Kind:
    columns = set(table.columns)
    there: list[Kind] = []
    if {"chosen", "rejected"} <= columns:
        there.append("comparisons")
    for name, kind in _VALUED.items():
        if name in columns and columns & set(TEXTS):
            there.append(kind)
    if len(there) == 1:
        return there[0]
    has = f"Its columns: {', '.join(table.columns) or 'none'}."
    if there:
        raise ConfigError(f"{table.path} holds {' and '.join(there)} at once, and one head learns from one kind. {has} "
                          "Take the columns of the others out.")  # fmt: skip
    wanted = ("chosen", "rejected", "label", "score", *TEXTS)
    meant = next((hint for name in table.columns if name not in wanted and (hint := nearest(name, wanted))), "")
    raise ConfigError(f"{table.path} holds no opinions that are known: {FORMS} are needed as columns.{meant} {has}")


_VALUED: dict[str, Kind] = {"label": "labels", "score": "scores"}


def _comparison(line: Line) -> Opinion | str:
    fields = line.fields
    first, second, votes = fields.get("chosen"), fields.get("rejected"), fields.get("votes")
    if _empty(first) or _empty(second):
        return "with an empty text"
    given = _prompt(fields.get("prompt"))
    if given is None and (isinstance(first, list) or _turns(first)):
        given, *sides = shared_beginning(first, second, "it")
    else:
        sides = [_text(side) for side in (first, second)]
    if sides[0].strip() == sides[1].strip():
        return "that compare a text with itself"
    return Opinion(line.number, given, tuple(sides), _share(votes))


def _labelled(table: Table, name: str) -> Callable[[Line], Opinion | str]:
    column = next((text for text in TEXTS if text in table.columns), TEXTS[0])
    value_of = _label if name == "label" else _score

    def read(line: Line) -> Opinion | str:
        text, value = line.fields.get(column), line.fields.get(name)
        if _empty(text):
            return "with an empty text"
        if _empty(value):
            return f"without a {name}"
        return Opinion(line.number, _prompt(line.fields.get("prompt")), (_text(text),), value_of(value))

    return read


def _empty(value: Any) -> bool:  # noqa: ANN401 - a cell of JSON
    return value is None or (isinstance(value, str) and not value.strip())


def _turns(text: Any) -> bool:  # noqa: ANN401 - a cell of JSON
    return isinstance(text, str) and text.startswith("\n\nHuman:")


def _prompt(value: Any) -> Given | None:  # noqa: ANN401 - a cell of JSON
    return None if _empty(value) else given_of(value, "prompt")


def _text(value: Any) -> str:  # noqa: ANN401 - a cell of JSON
    if isinstance(value, str):
        return value
    talk = messages_of(value, "a text")
    if len(talk) != 1 or talk[0]["role"] != "assistant":
        raise ConfigError("a reply is a text or one assistant message")
    return talk[0]["content"]


def _label(value: Any) -> float:  # noqa: ANN401 - a cell of JSON
    word = str(value).strip().lower()
    if word not in UP + DOWN:
        raise ConfigError(f"label {str(value)[:20]!r} is none of true/false, 1/0, good/bad, up/down, 好/差")
    return float(word in UP)


def _score(value: Any) -> float:  # noqa: ANN401 - a cell of JSON
    found = None if isinstance(value, bool) else number_of(value)
    if found is None:
        raise ConfigError(f"score {str(value)[:20]!r} is no finite number")
    return found


def _share(votes: Any) -> float:  # noqa: ANN401 - a cell of JSON
    """The share of judges for chosen: [3, 1] is 0.75, [1, 1] a tie; 1 where there is one judge."""
    if _empty(votes):
        return 1.0
    parts = votes.strip(" []").split(",") if isinstance(votes, str) else votes
    counts = [number_of(part) for part in parts] if isinstance(parts, list) else []
    known = [count for count in counts if count is not None and count >= 0]
    if len(counts) != 2 or len(known) != 2 or not sum(known) > 0:
        raise ConfigError(f"votes {str(votes)[:20]!r} are no judges for chosen and for rejected, such as [3, 1]")
    return known[0] / sum(known)


def _differing(kind: Kind, opinions: Sequence[Opinion], path: Path) -> None:
    """Refuse opinions from which nothing can be learnt."""
    if not opinions:
        raise ConfigError(f"{path} holds no opinion that can be used: {FORMS} are needed in a line.")
    values = {opinion.value for opinion in opinions}
    if kind == "labels" and len(values) == 1:
        word = "good" if values == {1.0} else "bad"
        raise ConfigError(f"every label of {path} says {word}: nothing tells which texts are better. Add the others.")
    if kind == "scores" and len(values) == 1:
        raise ConfigError(f"every score of {path} is {values.pop():g}: nothing tells which texts are better.")
    if kind == "comparisons" and values == {0.5}:
        raise ConfigError(f"every comparison of {path} is a tie: nothing tells which texts are better.")


def kept_apart(table: OpinionTable, share: float, key: Key) -> tuple[list[int], list[int]]:
    """Positions to learn from and to be judged on, about this share of them; what belongs together stays together.

    Opinions on one prompt go the same way, or opinions on one text where there are few prompts or none: else what is
    judged would have been seen. Where nearly all hang together, single opinions are drawn.

    Raises:
        ConfigError: too few opinions for two parts.
    """
    groups = _groups(table)
    n, wanted = len(table), max(1, round(share * len(table)))
    if max(map(len, groups)) > n - wanted:
        groups = [[i] for i in range(n)]
    apart: list[int] = []
    for g in key.fold("apart").generator().permutation(len(groups)).tolist():
        if len(apart) + len(groups[g]) <= max(wanted, 1) or not apart:
            apart += groups[g]
    learnt = sorted(set(range(n)) - set(apart))
    if len(learnt) < 3:
        raise ConfigError(f"{n} opinions in {table.source}: too few to keep some apart. At least 10 are needed.")
    return learnt, sorted(apart)


def _groups(table: OpinionTable) -> list[list[int]]:
    """Opinions by what they have in common, largest classes of "shares a prompt" or "shares a text"."""
    prompts = [None if o.given is None else json.dumps(o.given, ensure_ascii=False) for o in table.opinions]
    by_prompt = len(set(prompts)) >= FEW_PROMPTS and None not in prompts
    parent = list(range(len(table)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, opinion in enumerate(table.opinions):
        names = [str(prompts[i])] if by_prompt else [*opinion.texts]
        for name in names:
            parent[root(i)] = root(first.setdefault(name, i))
    out: dict[int, list[int]] = {}
    for i in range(len(table)):
        out.setdefault(root(i), []).append(i)
    return list(out.values())
