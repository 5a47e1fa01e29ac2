"""The feedback file: append only, migrated, refused when newer, clear when locked, and safe from kill −9."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from credence.core.errors import BackendError, ConfigError
from credence.dialogue.feedback import MIGRATIONS, FeedbackStore, Rating, Refit

SRC = Path(__file__).parents[2] / "src"
ASKED = ({"role": "user", "content": "你好 'quoted' \x00"},)


def rating(turn: int = 1, kind: str = "good", text: str = "", talk: str = "a") -> Rating:
    return Rating(talk, turn, ASKED, "hello", (5, 6, 2), kind, text, "tiny", "policy:ab", 0.5)


def old_file(path: Path, version: int) -> None:
    """A file as an earlier credence left it."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, at REAL NOT NULL)")
    for number, script in enumerate(MIGRATIONS[:version], 1):
        db.executescript(script)
        db.execute("INSERT INTO schema_version VALUES (?, 0)", (number,))
    columns = "conversation, turn, messages, reply, tokens, kind, text, at"
    row = ("old", 3, '[{"role": "user", "content": "hi"}]', "hello", "[1, 2]", "good", "", 7.0)
    db.execute(f"INSERT INTO rating ({columns}) VALUES (?,?,?,?,?,?,?,?)", row)
    db.commit()
    db.close()


def test_what_is_added_is_read_back_and_the_last_rating_counts(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "new/feedback.db")
    first = store.add(rating(1, "bad"))
    second = store.add(rating(1, "better", "hello there"))
    third = store.add(rating(2))
    assert (first.id, second.id, third.id) == (1, 2, 3)
    assert {f.stat().st_mode & 0o077 for f in (tmp_path / "new").iterdir()} == {0}  # nobody else reads it
    assert store.ratings() == (first, second, third)
    assert second.messages == ASKED
    assert second.at > 0
    assert store.standing() == (second, third)
    store.add(rating(2, "retract"))
    assert store.standing() == (second,)
    again = store.add(rating(2, "bad"))
    assert store.standing() == (second, again)
    store.add(rating(2, "good", talk="b"))
    assert len(store.standing()) == 3
    store.close()
    assert len(FeedbackStore(tmp_path / "new/feedback.db").ratings()) == 6


def test_refits_are_kept(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.db")
    store.refitted(Refit("abc", "runs/x", (1, 3), 5.0))
    assert store.refits() == (Refit("abc", "runs/x", (1, 3), 5.0),)


@pytest.mark.parametrize(("kind", "text"), [("better", " "), ("good", "text"), ("great", "")])
def test_ratings_that_cannot_be(kind: str, text: str) -> None:
    with pytest.raises(ConfigError):
        rating(1, kind, text)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_file_is_migrated_with_a_copy_beside_it(tmp_path: Path, version: int) -> None:
    path = tmp_path / "feedback.db"
    old_file(path, version)
    store = FeedbackStore(path)
    (kept,) = store.ratings()
    assert (kept.conversation, kept.turn, kept.tokens, kept.law, kept.beta) == ("old", 3, (1, 2), "", None)
    store.add(rating())
    assert store.backup == tmp_path / f"feedback.db.v{version}.bak"
    backup = sqlite3.connect(store.backup)
    assert backup.execute("SELECT max(version) FROM schema_version").fetchone() == (version,)
    assert backup.execute("SELECT count(*) FROM rating").fetchone() == (1,)
    backup.close()
    store.close()
    again = FeedbackStore(path)
    assert again.backup is None
    assert len(again.ratings()) == 2


def test_a_copy_takes_no_earlier_copys_place(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    old_file(path, 1)
    (tmp_path / "feedback.db.v1.bak").write_text("what somebody put there")
    store = FeedbackStore(path)
    assert store.backup == tmp_path / "feedback.db.v1.1.bak"
    assert (tmp_path / "feedback.db.v1.bak").read_text() == "what somebody put there"
    store.close()


def test_a_migration_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "feedback.db"
    old_file(path, 1)
    broken = (*MIGRATIONS[:2], "CREATE TABLE refit (id INTEGER); SELECT nonsense FROM nowhere;")
    monkeypatch.setattr("credence.dialogue.feedback.MIGRATIONS", broken)
    with pytest.raises(BackendError):
        FeedbackStore(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM rating").fetchone() == (1,)
    db.close()


def test_a_newer_file_another_database_and_no_database_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    FeedbackStore(path).close()
    db = sqlite3.connect(path)
    db.execute("INSERT INTO schema_version VALUES (99, 0)")
    db.commit()
    db.close()
    with pytest.raises(ConfigError, match="newer credence"):
        FeedbackStore(path)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with pytest.raises(ConfigError, match="theirs"):
        FeedbackStore(tmp_path / "other.db")
    theirs = sqlite3.connect(tmp_path / "versioned.db")
    theirs.execute("CREATE TABLE schema_version (version INTEGER)")
    theirs.commit()
    theirs.close()
    before = (tmp_path / "versioned.db").read_bytes()
    with pytest.raises(ConfigError, match="something else"):
        FeedbackStore(tmp_path / "versioned.db")
    assert (tmp_path / "versioned.db").read_bytes() == before
    (tmp_path / "text.db").write_text("no database at all, only a long enough text. " * 20)
    with pytest.raises(ConfigError, match="no feedback database"):
        FeedbackStore(tmp_path / "text.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="cannot be opened"):
        FeedbackStore(tmp_path / "file/feedback.db")


def test_a_locked_file_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    store = FeedbackStore(path, wait=0.2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(BackendError, match="locked by another process"):
        store.add(rating())
    assert time.monotonic() - began >= 0.2
    other.execute("ROLLBACK")
    other.close()
    assert store.add(rating()).id == 1  # the failed attempt left nothing


WRITER = """
import sys
from pathlib import Path
from credence.dialogue.feedback import FeedbackStore, Rating
store = FeedbackStore(Path(sys.argv[1]))
for turn in range(100000):
    made = store.add(Rating("a", turn, ({"role": "user", "content": "hi"},), "x" * 500, (1, 2), "good"))
    print(made.id, flush=True)
"""


@pytest.mark.parametrize("wanted", [1, 7, 40])
def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, wanted: int) -> None:
    path = tmp_path / "feedback.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)})
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(wanted)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    store = FeedbackStore(path)
    kept = [r.id for r in store.ratings()]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1
    assert store.add(rating()).id == len(kept) + 1
