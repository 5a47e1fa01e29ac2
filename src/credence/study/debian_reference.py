"""Debian's reference manual in English and Chinese, aligned: each page is the other's translation, block by block.

Both editions are made from one DocBook source, so a page's named sections hold the same sequence of headings,
paragraphs and cells of tables. A section that does not is left out and named; nothing is guessed. credence carries
none of the text: it is read from the installed Debian packages, or unpacked from them (`credence believe import`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from credence.core.errors import BackendError
from credence.dialogue.debian_package import SYSTEM, Edition, edition_pages, unpack

SOURCE = "debian-reference"
ENGLISH = Edition("debian-reference-en", "usr/share/debian-reference", ".en.html")
CHINESE = Edition("debian-reference-zh-cn", "usr/share/debian-reference", ".zh-cn.html")
MOST_BROKEN = 0.01
"""Share of the blocks in sections that do not fit, above which the editions are not of one version."""

_BLOCKS = frozenset({"h1", "h2", "h3", "h4", "h5", "p", "td", "th", "dt", "li"})
_VOID = frozenset({"br", "hr", "img", "col", "link", "meta", "input"})
_SILENT = frozenset({"toc", "navheader", "navfooter", "list-of-tables", "list-of-figures", "list-of-examples"})
_MADE_UP = re.compile(r"^(?:ftn\.)?idm?\d+$")
"""Anchors that DocBook numbers by itself: they differ between editions."""
_HAN = re.compile("[\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]{2}")
_NUMBERING = re.compile(
    r"^(?:(?:Table|Figure|Example|Chapter|表|图|例)\s*\d+(?:\.\d+)*\.?\s+|(?:Appendix|附录)\s*[A-Z]\.\s*"
    r"|第\s*\d+\s*章\s*|(?:[A-Z]|\d+)(?:\.\d+)+\.?\s+|\d+\.\s+)(?=\S)"
)
_HEADED = frozenset({"h1", "h2", "h3", "h4", "h5"})


@dataclass(frozen=True)
class Block:
    """One block of text of a page: its tag, the named section it stands in, whether it is a heading or a caption."""

    tag: str
    section: str
    text: str
    heading: bool


def is_here() -> bool:
    """Whether both editions can be read."""
    return bool(edition_pages(ENGLISH, SYSTEM)) and bool(edition_pages(CHINESE, SYSTEM))


def fetch() -> list[Path]:
    """Unpack both editions into the user's cache; where they are.

    Raises:
        BackendError: as debian_package.unpack.

    Cost: 3.6 MB, a few seconds.
    """
    return [unpack(ENGLISH), unpack(CHINESE)]


def read_reference() -> tuple[list[tuple[str, str]], list[str]]:
    """(Chinese, English) of every block that both editions have, in their order, and a sentence on what was left.

    Blocks without a Chinese character (commands, names of packages) are no translations and are not among them.

    Raises:
        BackendError: an edition is not here, or the two are not of one version.
    """
    english, chinese = edition_pages(ENGLISH, SYSTEM), edition_pages(CHINESE, SYSTEM)
    for edition, pages in ((ENGLISH, english), (CHINESE, chinese)):
        if not pages:
            raise BackendError(
                f"Debian's reference manual ({edition.package}) is not here yet. Run: credence believe import {SOURCE} "
                " (on Debian or Ubuntu, no administrator needed; 3.6 MB, once). Elsewhere: give pairs of your own as "
                "data.source."
            )
    others = {page.name.removesuffix(CHINESE.suffix): page for page in chinese}
    pairs, whole, lost = list[tuple[str, str]](), 0, list[str]()
    missed = 0
    for page in english:
        name = page.name.removesuffix(ENGLISH.suffix)
        mine = blocks(page.read_text(encoding="utf-8", errors="replace"))
        other = others.get(name)
        theirs = [] if other is None else blocks(other.read_text(encoding="utf-8", errors="replace"))
        whole += len(mine)
        found, failed = align(mine, theirs)
        pairs += found
        for section, count in failed:
            missed += count
            lost.append(f"{name}#{section} ({count} blocks)")
    if missed > MOST_BROKEN * whole:
        raise BackendError(
            f"{missed} of {whole} blocks stand in sections that the two editions do not share, such as {lost[0]}: they "
            f"are not of one version. Bring both up to date: credence believe import {SOURCE}"
        )
    told = [f"{SOURCE}: {missed} of {whole:,} blocks left out, whose sections do not fit: {', '.join(lost[:5])}."]
    return pairs, told if lost else []


def align(english: Iterable[Block], chinese: Iterable[Block]) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """(Chinese, English) of one page, and the sections that do not fit with how many blocks they hold."""
    theirs = _sections(chinese)
    pairs, failed = list[tuple[str, str]](), list[tuple[str, int]]()
    for section, rows in _sections(english).items():
        other = theirs.get(section, [])
        if [row.tag for row in rows] != [row.tag for row in other]:
            failed.append((section, len(rows)))
            continue
        for one, two in zip(rows, other, strict=True):
            target, source = _unnumbered(one), _unnumbered(two)
            if _HAN.search(source) and _LATIN.search(target) and not _HAN.search(target):
                pairs.append((source, target))
    return pairs, failed


def _sections(found: Iterable[Block]) -> dict[str, list[Block]]:
    out: dict[str, list[Block]] = {}
    for block in found:
        out.setdefault(block.section, []).append(block)
    return out


def _unnumbered(block: Block) -> str:
    """Without the number that a heading or caption begins with: it would give every heading away."""
    return _NUMBERING.sub("", block.text).strip() if block.heading else block.text


def blocks(text: str) -> list[Block]:
    """The blocks of a page that hold text and no further block, in order; navigation and contents left out."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.found


@dataclass
class _Open:
    tag: str
    silent: bool
    caption: bool
    parts: list[str] = field(default_factory=lambda: list[str]())
    holds: bool = False


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Block] = []
        self._stack: list[_Open] = []
        self._section = ""

    @property
    def _silent(self) -> bool:
        return any(one.silent for one in self._stack)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a block, a silent part, a section."""
        given = {name: value or "" for name, value in attrs}
        classes = set(given.get("class", "").split())
        if (name := given.get("id", "")) and not self._silent and not _MADE_UP.match(name):
            self._section = name
        if tag in _VOID:
            return
        silent = tag in ("head", "script", "style", "pre") or bool(classes & _SILENT)
        caption = tag in _HEADED or "title" in classes
        if tag in _BLOCKS:
            for one in self._stack:
                one.holds = True
        self._stack.append(_Open(tag, silent, caption))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<a id="…"/>` names a section and holds nothing."""
        given = dict(attrs)
        if (name := given.get("id") or "") and not self._silent and not _MADE_UP.match(name):
            self._section = name

    def handle_endtag(self, tag: str) -> None:
        """Close what stands open, up to this tag; an end without a beginning closes nothing."""
        if all(one.tag != tag for one in self._stack):
            return
        while self._stack:
            one = self._stack.pop()
            text = re.sub(r"\s+", " ", "".join(one.parts)).strip()
            if text and one.tag in _BLOCKS and not one.holds and not one.silent and not self._silent:
                heading = one.caption or any(outer.caption for outer in self._stack)
                self.found.append(Block(one.tag, self._section, text, heading))
            if one.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        """Text of the innermost block."""
        for one in reversed(self._stack):
            if one.tag in _BLOCKS:
                one.parts.append(data)
                return
