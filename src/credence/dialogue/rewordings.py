"""Questions in other words than the source's: simulated users who ask as people do, not as the FAQ was written."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from credence.core.errors import ConfigError, nearest
from credence.dialogue.goals import Goal
from credence.dialogue.language import LANGUAGES, UNKNOWN, detect
from credence.dialogue.questions import Asked, read_questions
from credence.dialogue.reading import bare
from credence.dialogue.talk import blank, clean


def reworded(goals: Sequence[Goal], path: Path) -> tuple[Goal, ...]:
    """The goals, each with the rewordings that a file has for it; those that it does not name stay as they are.

    The file is the one that `credence knowledge fit` reads: columns text, entry and optionally language. `entry` is the
    entry's name, or the source's own question. Rows without an entry (nothing answers them) and rows in a language that
    no goal has are passed over. Tested in tests/unit/test_rewordings.py.

    Args:
        goals: with distinct questions.
        path: the CSV file.

    Raises:
        ConfigError: what `read_questions` raises; a question that the source does not hold, an empty rewording, one in
            another language than the row or the goal says, one that stands twice or is a question of the source
            already, or a file that has none for these goals.
    """
    known = _named(goals)
    speak = {goal.language for goal in goals}
    found: dict[str, list[str]] = {}
    said = {bare(goal.question): f"the source's own question {goal.question!r}" for goal in goals}
    rows = [row for row in read_questions(path) if row.entry]
    for row in rows:
        where = f"{path}, line {row.line}"
        if row.language and row.language not in LANGUAGES:
            raise ConfigError(f"{where}: language {row.language!r}: simulated users speak {' and '.join(LANGUAGES)}.")
        if row.language and row.language not in speak:
            continue
        goal = _wanted(row, known, where)
        text = _worded(row, goal, where)
        earlier = said.setdefault(bare(text), f"line {row.line}")
        if earlier != f"line {row.line}":
            raise ConfigError(
                f"{where}: {text!r} says the same as {earlier}. Every rewording stands once, in words of its own: else "
                "a held-out user may ask what was trained on."
            )
        found.setdefault(goal.question, []).append(text)
    if not found:
        raise ConfigError(f"{path} holds no rewording for these users, who speak {_list(speak)}.{_held(rows)}")
    return tuple(replace(goal, rewordings=tuple(found.get(goal.question, ()))) for goal in goals)


def _named(goals: Sequence[Goal]) -> dict[str, Goal]:
    """Goals by question, and by the entry's name where one goal alone has it: conversations share their file's."""
    count = Counter(goal.entry for goal in goals)
    by_name = {goal.entry: goal for goal in goals if goal.entry and count[goal.entry] == 1}
    return {goal.question: goal for goal in goals} | by_name


def _wanted(row: Asked, known: dict[str, Goal], where: str) -> Goal:
    if row.entry not in known:
        raise ConfigError(
            f"{where}: users.source has no question {row.entry!r}.{nearest(row.entry, known)} The column entry holds "
            "an entry's name or its own question."
        )
    return known[row.entry]


def _worded(row: Asked, goal: Goal, where: str) -> str:
    text = clean(row.text).strip()
    if blank(text):
        raise ConfigError(f"{where}: the rewording of {row.entry!r} is empty. Write one, or drop the row.")
    spoken = detect([text])
    if (row.language or goal.language) != goal.language or {spoken, goal.language} == {"en", "zh"}:
        raise ConfigError(
            f"{where}: {text!r} is {LANGUAGES.get(spoken, row.language)}, and {row.entry!r} is asked in "
            f"{LANGUAGES[goal.language]}. Name the row's language in a column language, or drop it."
        )
    return text


def _held(rows: Sequence[Asked]) -> str:
    """What the file holds instead, by language."""
    count = Counter(row.language or detect([row.text]) for row in rows)
    other = _list(f"{n} in {code}" for code, n in count.items() if code != UNKNOWN)
    return f" It holds {other}." if other else " It holds no row with an entry."


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
