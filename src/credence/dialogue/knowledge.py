"""What a helpdesk knows: questions with their answers, read from a file or from Debian's FAQ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from credence.core.errors import ConfigError, nearest
from credence.dialogue import debian_faq
from credence.dialogue.html_faq import declared_encoding, read_html
from credence.dialogue.language import LANGUAGES, UNKNOWN, check_language, detect
from credence.dialogue.reading import Found, bare, decode, read_csv, read_markdown, tidy

READERS = (".csv", ".md", ".html")
_ALIASES = {".tsv": ".csv", ".markdown": ".md", ".htm": ".html", ".xhtml": ".html"}


@dataclass(frozen=True)
class Entry:
    """One question and its answer.

    Attributes:
        name: unique in its knowledge: the anchor of an HTML heading, the name column of a CSV file, else q1, q2, ….
        question: as it would be asked.
        answer: as it should be answered.
    """

    name: str
    question: str
    answer: str


@dataclass(frozen=True)
class Knowledge:
    """Answered questions in one language.

    Attributes:
        entries: in the source's order, no question twice, no answer empty.
        language: "en", "zh", or "und" where neither was recognised; what the helpdesk itself says is English then.
        source: where they came from.
        dropped: how many were left out, by reason.
        notes: what a reader should know: an encoding that was guessed, a language that was not recognised.
    """

    entries: tuple[Entry, ...]
    language: str
    source: str
    dropped: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def entry(self, name: str) -> Entry:
        """The entry of this name.

        Raises:
            ConfigError: no such entry.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise ConfigError(f"no entry {name!r} in {self.source}.{nearest(name, [e.name for e in self.entries])}")


def read_knowledge(source: str, folder: Path = Path(), language: str | None = None) -> Knowledge:
    """Answered questions from "debian-faq:en", "debian-faq:zh", a file (.csv, .md, .html) or a folder of HTML pages.

    Dropped and counted: an entry whose answer or question is empty, and one that says again what stood earlier. An
    error: the same question with another answer, since only one of the two can be right. Formats: docs/knowledge.md.

    Args:
        source: a relative path begins at `folder`.
        folder: where the config file is.
        language: "en" or "zh"; by default found from the text.

    Raises:
        ConfigError: no such file, another kind of file, an encoding that is mixed or unknown, a language that the
            helpdesk does not speak, contradicting answers, or nothing answered in it.
        BackendError: Debian's FAQ is not installed; the message holds the command.
    """
    if language is not None:
        check_language(language)
    if source.partition(":")[0] == debian_faq.SCHEME and ":" in source:
        code = debian_faq.language_of(source)
        found, notes = _pages(debian_faq.pages(code)), ()
        return _checked(found, source, language or code, notes)
    place = folder / source
    if place.is_dir():
        pages = sorted(p for p in place.iterdir() if _kind(p) == ".html")
        if not pages:
            raise ConfigError(
                f"the folder {place} holds no HTML page. Name a file, or a folder of .html files.",
                "knowledge folder",
                place=place,
            )
        return _checked(_pages(pages), source, language, ())
    if _kind(place) not in READERS:
        raise ConfigError(
            f"knowledge {source!r}: files of answered questions end in {', '.join(READERS)}; or write debian-faq:en or "
            "debian-faq:zh, or name a folder of HTML pages.",
            "knowledge kind",
            source=source,
        )
    found, encoding = _file(place)
    notes = (f"read as {encoding}",) if encoding != "utf-8" else ()
    return _checked(found, source, language, notes)


def paired(one: Knowledge, other: Knowledge) -> list[tuple[Entry, Entry]]:
    """Entries of the same name in two languages, in the first one's order: each is a translation of the other."""
    by_name = {entry.name: entry for entry in other.entries}
    return [(entry, by_name[entry.name]) for entry in one.entries if entry.name in by_name]


def _kind(place: Path) -> str:
    suffix = place.suffix.lower()
    return _ALIASES.get(suffix, suffix)


def _file(place: Path) -> tuple[list[Found], str]:
    try:
        raw = place.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        raise ConfigError(
            f"no such knowledge file: {place}.{nearest(place.name, beside)}", "knowledge file", place=place
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the knowledge file {place} cannot be read: {error.strerror}.",
            "knowledge unreadable",
            place=place,
            why=error.strerror,
        ) from None
    kind = _kind(place)
    text, encoding = decode(raw, place, declared_encoding(raw) if kind == ".html" else "")
    read = {".csv": read_csv, ".md": read_markdown, ".html": read_html}[kind]
    return read(text, place), encoding


def _pages(places: Sequence[Path]) -> list[Found]:
    return [replace(f, where=f"{place.name} {f.where}") for place in places for f in _file(place)[0]]


def _checked(found: list[Found], source: str, language: str | None, notes: tuple[str, ...]) -> Knowledge:
    rows, dropped = _answered([tidy(row) for row in found])
    kept = _once(_apart(rows), source, dropped)
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise ConfigError(
            f"{source} holds no answered question{f' ({reasons})' if reasons else ''}.",
            "knowledge empty",
            source=source,
        )
    entries = _named(kept, source)
    spoken = language or detect(text for entry in entries for text in (entry.question, entry.answer))
    if spoken == UNKNOWN:
        known = " nor ".join(LANGUAGES.values())
        notes = (*notes, f"language not recognised (neither {known}): the helpdesk's own phrases will be English")
    return Knowledge(entries, spoken, source, tuple(dropped.items()), notes)


def _answered(found: list[Found]) -> tuple[list[Found], Counter[str]]:
    """Rows with a question and an answer; how many lacked which."""
    rows = [row for row in found if row.question and row.answer]
    lacking = (row for row in found if not (row.question and row.answer))
    return rows, Counter("without an answer" if row.question else "without a question" for row in lacking)


def _apart(rows: list[Found]) -> list[Found]:
    """Headings that stand under different larger ones are told apart by them, where their answers differ."""
    groups: dict[str, list[Found]] = {}
    for row in rows:
        groups.setdefault(bare(row.question), []).append(row)
    out: list[Found] = []
    for row in rows:
        group = groups[bare(row.question)]
        differ = len({bare(r.answer) for r in group}) > 1 and len({r.under for r in group}) == len(group)
        out.append(
            replace(row, question=f"{row.under}: {row.question}" if row.under else row.question) if differ else row
        )
    return out


def _once(rows: list[Found], source: str, dropped: Counter[str]) -> list[Found]:
    """The first of rows that say the same; those left out are counted in `dropped`."""
    kept: dict[str, Found] = {}
    conflicts: list[str] = []
    for row in rows:
        earlier = kept.setdefault(bare(row.question), row)
        if earlier is not row and bare(earlier.answer) == bare(row.answer):
            dropped["said twice"] += 1
        elif earlier is not row:
            conflicts.append(f"{earlier.where} and {row.where} ({row.question[:40]!r})")
    if conflicts:
        more = f", and {len(conflicts) - 3} more" if len(conflicts) > 3 else ""
        raise ConfigError(
            f"{source}: one question with two different answers: {'; '.join(conflicts[:3])}{more}. Join the answers, "
            "or say in the question what sets them apart.",
            "knowledge conflict",
            source=source,
            first=conflicts[0],
            count=len(conflicts),
        )
    return list(kept.values())


def _named(rows: list[Found], source: str) -> tuple[Entry, ...]:
    given = Counter(row.name for row in rows if row.name)
    twice = [name for name, count in given.items() if count > 1]
    if twice and source.lower().endswith((".csv", ".tsv")):
        raise ConfigError(
            f"{source}: the name {twice[0]!r} stands {given[twice[0]]} times: one each, or leave it empty."
        )
    taken = set(given)
    entries: list[Entry] = []
    for number, row in enumerate(rows, 1):
        name = row.name if row.name and row.name not in twice else ""
        while not name or (name != row.name and name in taken):
            name = f"q{number}" if not name else name + "a"
        entries.append(Entry(name, row.question, row.answer))
    return tuple(entries)
