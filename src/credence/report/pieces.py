"""What every page is made of: the frame, tables, sections, figures, the settings at its end."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any, cast

from credence.report.phrases import interval_text, plain, value_text
from credence.report.replies import words
from credence.report.schema import Estimate

_SCRIPT = (
    "(function(){var r=document.documentElement,b=document.getElementById('theme');b.hidden=false;"
    "b.onclick=function(){var d=r.dataset.theme||(matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light');"
    "r.dataset.theme=d==='dark'?'light':'dark'}})()"
)


def page(title: str, answer: str, body: str) -> str:
    """A whole page: no network, no font of its own, no script but the theme switch; a policy forbids everything else.

    Args:
        title: text, escaped here.
        answer: HTML of the sentence at the top.
        body: HTML of the sections.
    """
    folder = resources.files("credence.report")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(_SCRIPT)}'; base-uri 'none'; "
        "form-action 'none'",
        style=style,
        script=_SCRIPT,
        title=words(title),
        plain_title=words(title, tag=False),
        answer=answer,
        body=body,
    )


def answered(sentence: str) -> str:
    """The sentence at the top as HTML, escaped, with what stands in brackets set as an interval."""
    return re.sub(r"(\[[^\]]*\])", r'<span class="span">\1</span>', words(sentence, tag=False))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def estimate_html(estimate: Estimate | None, percent: bool = False) -> str:
    """The value, its interval below it."""
    span = interval_text(estimate, percent)
    return f"<b>{value_text(estimate, percent)}</b>" + (f"<small>{span}</small>" if span else "")


def table(heads: Mapping[str, str], rows: list[list[str]], flags: list[str] | None = None, name: str = "") -> str:
    """A table that a phone shows as cards; `heads`: label -> its explanation in a tooltip."""
    classes = flags or [""] * len(rows)
    head = "".join(f'<th scope="col"{_tip(tip)}>{words(label)}</th>' for label, tip in heads.items())
    body: list[str] = []
    for cells, flag in zip(rows, classes, strict=True):
        first, *rest = cells
        labelled = zip(list(heads)[1:], rest, strict=True)
        tds = "".join(f'<td data-label="{escape(label)}">{cell}</td>' for label, cell in labelled)
        mark = f' class="{flag}"' if flag else ""
        body.append(f'<tr{mark}><th scope="row">{first}</th>{tds}</tr>')
    return (f'<div class="scroll"><table class="{name}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>")  # fmt: skip


def _tip(text: str) -> str:
    return f' title="{escape(text)}"' if text else ""


def caption(text: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="caption">{text}</p>'


def section(anchor: str, heading: str, *parts: str) -> str:
    """A section with its heading."""
    return f'<section id="{anchor}"><h2>{heading}</h2>\n' + "\n".join(parts) + "\n</section>"


def both(draw: Callable[[bool], str], caption: str) -> str:
    """A figure drawn wide and narrow; nothing where there is nothing to draw."""
    wide = draw(False)
    if not wide:
        return ""
    return (f'<figure><div class="wide">{wide}</div><div class="narrow">{draw(True)}</div>'
            f"<figcaption>{caption}</figcaption></figure>")  # fmt: skip


def _flat(tree: Any, path: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - walks any JSON-like tree
    if isinstance(tree, Mapping):
        branches = cast(Mapping[Any, Any], tree)
        return [leaf for key, value in branches.items() for leaf in _flat(value, f"{path}.{key}" if path else str(key))]
    if isinstance(tree, list | tuple):
        return [(path, ", ".join(str(item) for item in cast(list[Any], tree)))]
    if isinstance(tree, bool) or tree is None:
        return [(path, {True: "yes", False: "no", None: "–"}[tree])]
    return [(path, plain(tree) if isinstance(tree, float) else str(tree))]


def settings(manifest: Mapping[str, Any]) -> str:
    """Everything that is needed to get the run again, folded away."""
    leaves = _flat(manifest)
    if not leaves:
        return ""
    rows = "".join(f'<tr><th scope="row">{words(key)}</th><td>{words(value)}</td></tr>' for key, value in leaves)
    return section("manifest", "How to get this run again", (
        "<details><summary>Settings, versions and machine</summary>"
        f'<div class="scroll"><table class="manifest"><tbody>{rows}</tbody></table></div></details>'
    ))  # fmt: skip
