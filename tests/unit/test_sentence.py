"""Edits between replies, by hand."""

import pytest

from credence.evidence.sentence import edit_distance


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [
        ("", "", 0),
        ("", "天天", 2),
        ("明天", "", 2),
        ("明天会更好", "明天更好。", 2),
        ("天明", "明天", 2),
        ("abcd", "acbd", 2),
    ],
)
def test_fewest_insertions_deletions_and_substitutions(a: str, b: str, edits: int) -> None:
    """Rejects: counting places that differ (3 in the fourth), a transposition as one edit, only one direction."""
    assert edit_distance([ord(c) for c in a], [ord(c) for c in b]) == edits
    assert edit_distance([ord(c) for c in b], [ord(c) for c in a]) == edits
