"""From a file's bytes to its questions and answers: encodings, CSV, Markdown. HTML stands in html_faq.py."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from credence.core.errors import ConfigError, nearest

QUESTION = ("question", "questions", "q", "问题", "提问", "問題")
ANSWER = ("answer", "answers", "a", "答案", "回答", "解答", "答复")
NAME = ("name", "id", "编号", "名称")
_NUMBERING = re.compile(
    r"^\s*(?:(?:chapter|section)\s+[\d.]+\s+|第\s*[\d一二三四五六七八九十]+\s*[章节]\s*|\d+(?:\.\d+)*[.)、．]\s*|\d+(?:\.\d+)+\s+)(?=\S)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"^\s*(?:q(?:uestion)?|问题?)\s*\d*\s*[:：.、]\s*", re.IGNORECASE)
_ANSWERED = re.compile(r"^\s*(?:a(?:nswer)?|答案?)\s*\d*\s*[:：]\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One question with its answer as it stood in a file, possibly empty, at a line, under a larger heading."""

    name: str
    question: str
    answer: str
    where: str
    under: str = ""


def tidy(found: Found) -> Found:
    """Without the numbering of headings, "Q:" and "A:", and spaces at the ends."""
    question = _ASKED.sub("", _NUMBERING.sub("", found.question)).strip()
    under = _NUMBERING.sub("", found.under).strip()
    return Found(found.name.strip(), question, _ANSWERED.sub("", found.answer).strip(), found.where, under)


def bare(text: str) -> str:
    """What two texts have in common that say the same: letters, digits and symbols, in one letter case."""
    return re.sub(r"\s+", "", text).casefold().rstrip("?？.。!！")


def title(levels: Sequence[int]) -> int | None:
    """The position of a page's title: its one heading of the highest rank, where smaller ones stand on the page."""
    top = min(levels, default=0)
    return list(levels).index(top) if list(levels).count(top) == 1 and len(levels) > 1 else None


def parents(heads: Sequence[tuple[int, str]]) -> list[str]:
    """For headings (level, text) in a page's order: the nearest earlier one of a higher rank, or nothing."""
    open_heads: list[tuple[int, str]] = []
    found: list[str] = []
    for level, text in heads:
        while open_heads and open_heads[-1][0] >= level:
            open_heads.pop()
        found.append(open_heads[-1][1] if open_heads else "")
        open_heads.append((level, text))
    return found


def decode(raw: bytes, place: Path, declared: str = "") -> tuple[str, str]:
    """The text, and the encoding it was in: a byte-order mark's, UTF-8, the declared one, or GB18030.

    A guess is made only where it cannot garble: GB18030 where nearly all of its characters are everyday Chinese.

    Raises:
        ConfigError: none of them, or lines in different encodings; the line and the command that converts are named.
    """
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return _strict(raw, name, place), name.removesuffix("-sig")
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        byte = raw[error.start]
    unicode_line = utf8_line(raw)
    if unicode_line is not None:
        raise ConfigError(
            f"{place} mixes encodings: line {unicode_line} is UTF-8, line {line} is not (byte 0x{byte:02x}). Save the "
            f"whole file as UTF-8; the lines after a paste from another program are the likely ones."
        )
    if declared and declared.lower() not in ("utf-8", "utf8"):
        return _strict(raw, declared, place), declared.lower()
    text = _everyday_chinese(raw)
    if text is not None:
        return text, "gb18030"
    raise ConfigError(
        f"{place} is neither UTF-8 nor GB18030: byte 0x{byte:02x} in line {line}. Convert it, for example: "
        f"iconv -f WINDOWS-1252 -t UTF-8 {place.name} > new{place.suffix}"
    )


def _strict(raw: bytes, name: str, place: Path) -> str:
    try:
        return raw.decode(name)
    except LookupError:
        raise ConfigError(
            f"{place} says that it is in {name!r}, which is no known encoding. Save it as UTF-8."
        ) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{place} says that it is in {name}, but line {line} is not. Save it as UTF-8.") from None


def utf8_line(raw: bytes) -> int | None:
    """The first line that holds characters beyond ASCII and is UTF-8: two such characters are no accident."""
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.isascii():
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if sum(not char.isascii() for char in text) >= 2:
            return number
    return None


def _everyday_chinese(raw: bytes) -> str | None:
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [char for char in text if not char.isascii()]
    # GB2312 holds the characters of everyday Chinese. Latin-1 read as GB18030 falls outside: é before a letter does.
    pairs = [pair for char in beyond if (pair := char.encode("gb2312", "ignore"))]
    if len(pairs) < 0.95 * len(beyond):
        return None
    # Korean and Japanese decode too. The frequent half of GB2312 has the lead bytes B0 to D7, kana read so do not, and
    # Korean syllables end at C8: some byte beyond must stand there.
    leads = [pair[0] for pair in pairs if pair[0] > 0xA3]  # those below are punctuation and wide Latin
    frequent = [lead for lead in leads if 0xB0 <= lead <= 0xD7]
    return text if len(frequent) > 0.9 * len(leads) and any(lead > 0xC8 for lead in frequent) else None


def read_csv(text: str, place: Path) -> list[Found]:
    """Rows with columns question and answer (or 问题, 答案), an optional name; separated by comma, semicolon or tab."""
    separator = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[Found] = []
    last = 1
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        question, answer = _column(names, QUESTION, place), _column(names, ANSWER, place)
        name = next((names.index(n) for n in NAME if n in names), None)
        for cells in reader:
            last = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names):
                raise ConfigError(
                    f"{place}, line {reader.line_num}: {len(cells)} fields for {len(names)} columns. Quote a text that "
                    f"holds {separator!r}."
                )
            cells += [""] * (len(names) - len(cells))
            label = cells[name] if name is not None else ""
            rows.append(Found(label, cells[question], cells[answer], f"line {reader.line_num}"))
    except csv.Error as error:
        if "field larger than" in str(error):
            raise too_large(place, last + 1) from None
        raise ConfigError(
            f"{place}, line {reader.line_num}: not CSV: {error}.",
            "not csv",
            place=place,
            line=reader.line_num,
            why=error,
        ) from None
    return rows


def separator_of(text: str) -> str:
    """What parts the columns that a CSV file's first line names: comma, semicolon or tab."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    return max(",;\t", key=first.count)


def too_large(place: Path, line: int) -> ConfigError:
    """More than anybody answers, and more than the csv module reads: nearly always a quote that was never closed."""
    most = csv.field_size_limit()
    return ConfigError(
        f"{place}: a field of the row that begins at line {line} has more than {most:,} characters. Most likely a "
        'quote (") was opened there and never closed; else shorten that text, or split it into several questions.',
        "csv field",
        place=place,
        line=line,
        most=most,
    )


def _column(names: Sequence[str], wanted: Sequence[str], place: Path) -> int:
    for name in wanted:
        if name in names:
            return list(names).index(name)
    raise ConfigError(
        f"{place} has no column {wanted[0]} ({wanted[3]}).{nearest(wanted[0], names)} Its columns: "
        f"{', '.join(n for n in names if n) or 'none'}. The first line names them."
    )


def read_markdown(text: str, place: Path) -> list[Found]:
    """Each heading but the page's title is a question; what is written under it, to the next heading, its answer."""
    from markdown_it import MarkdownIt  # rich needs it too, so it is always here

    lines = text.splitlines()
    tokens = MarkdownIt("commonmark").parse(text)
    heads: list[tuple[int, int, str]] = []
    levels: list[int] = []
    for token, inner in pairwise(tokens):
        if token.type == "heading_open" and token.map and token.level == 0:
            heads.append((token.map[0], token.map[1], _plain(inner.content)))
            levels.append(int(token.tag[1]))
    ends = [start for start, _, _ in heads[1:]] + [len(lines)]
    above = parents([(level, question) for level, (_, _, question) in zip(levels, heads, strict=True)])
    found = [
        Found("", question, "\n".join(lines[body:end]), f"line {start + 1}", under)
        for (start, body, question), end, under in zip(heads, ends, above, strict=True)
    ]
    return [row for number, row in enumerate(found) if number != title(levels)]


def _plain(markdown: str) -> str:
    """A heading without emphasis, code marks and link targets."""
    linked = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"(\*\*|__|`)", "", linked)
