"""A conversation as a file: Markdown for people, JSON for machines."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credence.core.errors import BackendError, ConfigError
from credence.dialogue.chat import Conversation
from credence.dialogue.talk import blank, scrub
from credence.dialogue.turn import Turn
from credence.learn.checkpoint import write_whole

NAME = 200
"""Characters of a file's name that a mistake repeats."""
SUFFIXES = (".md", ".json")


def as_data(turn: Turn) -> dict[str, Any]:
    """One exchange as JSON."""
    return {
        "turn": turn.number,
        "user": turn.said,
        "reply": turn.reply,
        "law": turn.law,
        "beta": turn.beta,
        "ended": turn.ended,
        "stopped": turn.stopped,
        "tokens": list(turn.ids),
        "log_q": sum(turn.log_q) if turn.log_q else None,
        "info": dict(turn.info),
        "rating": turn.rating or None,
        **({"kind": turn.kind, "entries": list(turn.entries)} if turn.kind else {}),
    }


def transcript(talk: Conversation) -> dict[str, Any]:
    """The conversation as JSON."""
    return {
        "schema": 1,
        "conversation": talk.id,
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": talk.model,
        "law": talk.law or None,
        "seed": talk.key.seed,
        "turns": [as_data(turn) for turn in talk.turns],
    }


def markdown(talk: Conversation) -> str:
    """The conversation as Markdown; what was said is quoted line by line, so that it cannot pose as a heading."""
    parts = [f"# {talk.model}", "", f"conversation {talk.id}", ""]
    for turn in talk.turns:
        beta = "" if turn.beta is None else f", β = {turn.beta:g}"
        rated = f", {turn.rating}" if turn.rating else ""
        cut = ", stopped" if turn.stopped else "" if turn.ended else ", cut at the horizon"
        parts += [f"## {turn.number}", "", _quoted(turn.said), "", f"**{turn.law}**{beta}{cut}{rated}", ""]
        parts += [_quoted(turn.reply), ""]
    return "\n".join(parts)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in (text.splitlines() or [""]))


def _plain_name(given: str) -> None:
    """A name with characters that hide or reorder others would pose as another file's."""
    hidden = [c for c in given if c in "\n\t" or scrub(c)[1]]
    if hidden:
        points = ", ".join(f"U+{ord(c):04X}" for c in hidden[:4])
        raise ConfigError(
            f"the name of the file holds control or direction characters ({points}). Leave them out.",
            "save characters",
            points=points,
        )


def save(talk: Conversation, given: str) -> list[Path]:
    """Write the conversation: FILE.md, FILE.json, or both where FILE has neither ending.

    Raises:
        ConfigError: no name, one with control or direction characters, nothing said, or a file that exists.
        BackendError: it cannot be written.
    """
    if blank(given):
        raise ConfigError("/save needs a file: /save talk (writes talk.md and talk.json)", "save name")
    if not talk.turns:
        raise ConfigError("nothing was said yet: there is nothing to save.", "nothing said")
    _plain_name(given.strip())
    path = Path(given.strip()).expanduser()
    paths = [path] if path.suffix in SUFFIXES else [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    for file in paths:
        with _told(file):
            taken = file.exists()  # a name that is too long already fails here
        if taken:
            raise ConfigError(f"{file} exists and is not overwritten. Name another file.", "save exists", file=file)
    for file in paths:
        text = markdown(talk) if file.suffix == ".md" else json.dumps(transcript(talk), ensure_ascii=False, indent=1)
        with _told(file):
            write_whole(file, (text.rstrip() + "\n").encode("utf-8", "replace"))
    return paths


@contextmanager
def _told(file: Path) -> Generator[None]:
    """What the system refuses becomes one sentence; of a long name it holds the beginning."""
    try:
        yield
    except OSError as error:
        why, name = error.strerror or str(error), str(file)
        name = name if len(name) <= NAME else f"{name[:NAME]}…"
        raise BackendError(f"{name} cannot be written: {why}.", "save failed", file=name, why=why) from error
