"""Questions and answers of an HTML page: headings with the text under them, else dt and dd, else details."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from credence.dialogue.language import HAN
from credence.dialogue.reading import Found, parents, title

_QUESTIONS = (frozenset({"h1", "h2", "h3", "h4", "h5", "h6"}), frozenset({"dt"}), frozenset({"summary"}))
"""What marks a question, tried in this order: the first that gives an answered question is the page's way."""

_SILENT = frozenset({"head", "script", "style", "nav", "template", "noscript", "svg", "footer"})
_SILENT_CLASSES = frozenset(
    {"toc", "navheader", "navfooter", "footnotes", "footnote", "legalnotice", "authorgroup", "abstract", "headerlink"}
)
"""Parts of a page that answer nothing: DocBook's and Sphinx' tables of contents, navigation, colophon."""

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr", "col", "area", "base", "source"})
_BLOCKS = frozenset(
    {
        "p",
        "div",
        "li",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "tr",
        "table",
        "pre",
        "blockquote",
        "section",
        "article",
        "details",
    }
)
_CODE = frozenset({"code", "tt", "kbd", "samp"})


def read_html(text: str, place: Path) -> list[Found]:
    """Questions with their answers as plain text; code stands in backticks, items after a dash, `pre` as it is."""
    for tags in _QUESTIONS:
        page = _Page(tags)
        page.feed(text)
        page.close()
        found = page.found()
        if any(f.question.strip() and f.answer.strip() for f in found):
            return found
    return []


def declared_encoding(raw: bytes) -> str:
    """The charset that a page's first 2 kB declare, or nothing."""
    match = re.search(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_-]+)""", raw[:2048])
    return match.group(1).decode("ascii") if match else ""


@dataclass
class _Part:
    name: str
    line: int
    level: int
    question: list[str] = field(default_factory=lambda: list[str]())
    answer: list[str] = field(default_factory=lambda: list[str]())


class _Page(HTMLParser):
    def __init__(self, question_tags: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._tags = question_tags
        self._parts: list[_Part] = []
        self._asking: str | None = None
        self._silent: tuple[str, int] | None = None  # the tag that began a silent part, how many of it are open
        self._pre = 0
        self._code = 0
        self._anchor = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a question, a block, or a silent part."""
        given = {name: value or "" for name, value in attrs}
        if self._silent is not None:
            if tag == self._silent[0]:
                self._silent = (tag, self._silent[1] + 1)
            return
        if tag not in _VOID and (tag in _SILENT or _SILENT_CLASSES & set(given.get("class", "").split())):
            self._silent = (tag, 1)
            return
        anchor = given.get("id") or (given.get("name", "") if tag == "a" else "")
        if tag in self._tags:
            self._asking = tag
            level = int(tag[1]) if tag[1:].isdigit() else 1
            self._parts.append(_Part(anchor or self._anchor, self.getpos()[0], level))
            self._anchor = ""
        elif anchor and self._asking is not None:
            self._parts[-1].name = self._parts[-1].name or anchor
        elif anchor and tag in {"div", "section", "a"}:
            self._anchor = anchor
        if tag == "pre":
            self._pre += 1
        self._mark(tag, opens=True)

    def handle_endtag(self, tag: str) -> None:
        """Close what stands open."""
        if self._silent is not None:
            if tag == self._silent[0]:
                self._silent = (tag, self._silent[1] - 1) if self._silent[1] > 1 else None
            return
        if tag == self._asking:
            self._asking = None
            return
        if tag == "pre":
            self._pre = max(0, self._pre - 1)
        self._mark(tag, opens=False)

    def handle_data(self, data: str) -> None:
        """Text of the open question, or of the answer to the last one."""
        if self._silent is None:
            self._say(data if self._pre else re.sub(r"\s+", " ", data))
            if data.strip() and self._asking is None:
                self._anchor = ""

    def _mark(self, tag: str, opens: bool) -> None:
        if self._asking is not None:
            return
        if tag == "br":
            self._say("\n")
        elif tag in _BLOCKS:
            self._say("\n- " if tag == "li" and opens else "\n")
        elif tag in _CODE:
            outermost = self._code == 0 if opens else self._code == 1
            self._code = max(0, self._code + (1 if opens else -1))
            if outermost and not self._pre:
                self._say("`")
        elif tag in {"td", "th"}:
            self._say(" ")

    def _say(self, text: str) -> None:
        if self._parts:
            part = self._parts[-1]
            (part.answer if self._asking is None else part.question).append(text)

    def found(self) -> list[Found]:
        """What the page holds, in its order, its title left out."""
        asked = [_flat("".join(part.question)) for part in self._parts]
        above = parents([(part.level, text) for part, text in zip(self._parts, asked, strict=True)])
        found = [
            Found(part.name, question, _flat("".join(part.answer)), f"line {part.line}", under)
            for part, question, under in zip(self._parts, asked, above, strict=True)
        ]
        return [row for number, row in enumerate(found) if number != title([part.level for part in self._parts])]


def _flat(text: str) -> str:
    """One space at most, one empty line at most, none between two Chinese characters."""
    text = re.sub(r"[ \t\xa0]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    text = re.sub(rf"(?<=[{HAN}，。；：、！？）”]) (?=[{HAN}（“])", "", text)
    text = re.sub(r"(?:^|\n)- ?\n+", "\n- ", text)
    return re.sub(r"\n{2,}", "\n", text).strip()
