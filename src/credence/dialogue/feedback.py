"""What people thought of replies, kept so that nothing acknowledged is lost.

One SQLite file in write-ahead mode with full flushes: when `add` returns, the rating survives a kill and a power cut.
Ratings are appended, never changed: a later rating of the same reply replaces the earlier one by standing after it, and
a retraction is a rating too. The schema is a list of numbered migrations to which one only ever appends.
"""

import json
import os
import sqlite3
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from credence.core.errors import BackendError, ConfigError, nearest

KINDS = ("good", "bad", "better", "retract")
WAIT = 5.0
"""Seconds for which a writer waits for another one before it says that the file is locked."""

MIGRATIONS = (
    """
    CREATE TABLE rating (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation TEXT NOT NULL,
        turn INTEGER NOT NULL,
        messages TEXT NOT NULL,
        reply TEXT NOT NULL,
        tokens TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        at REAL NOT NULL
    );
    """,
    # 2: which law said it, so that ratings of several policies can be told apart.
    """
    ALTER TABLE rating ADD COLUMN model TEXT NOT NULL DEFAULT '';
    ALTER TABLE rating ADD COLUMN law TEXT NOT NULL DEFAULT '';
    ALTER TABLE rating ADD COLUMN beta REAL;
    CREATE INDEX rating_of_reply ON rating (conversation, turn, id);
    """,
    # 3: which ratings went into which update, so that none goes in twice.
    """
    CREATE TABLE refit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL,
        folder TEXT NOT NULL,
        ratings TEXT NOT NULL,
        at REAL NOT NULL
    );
    """,
)
"""Migration i takes a file from version i to i + 1. Append only: files of every version are out there."""


@dataclass(frozen=True)
class Rating:
    """What one person thought of one reply.

    Attributes:
        conversation: which talk.
        turn: the reply's number in it.
        messages: what the reply answered, as {"role", "content"} messages.
        reply: its text.
        tokens: its tokens, the end token included where it ended.
        kind: "good", "bad", "better" (with the better text) or "retract".
        text: the better reply, else "".
        model: the prior's name; tokens are its own.
        law: what said it: engine, and the policy's fingerprint where there was one.
        beta: reward units per nat at which it was said, None for the prior.
        at: seconds since 1970.
        id: the row's number; 0 before it is stored.
    """

    conversation: str
    turn: int
    messages: tuple[Mapping[str, str], ...]
    reply: str
    tokens: tuple[int, ...]
    kind: str
    text: str = ""
    model: str = ""
    law: str = ""
    beta: float | None = None
    at: float = 0.0
    id: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"rating {self.kind!r}: {', '.join(KINDS)} are known.{nearest(self.kind, KINDS)}")
        if (self.kind == "better") != bool(self.text.strip()):
            raise ConfigError("a better reply needs its text, and only it has one: /better TEXT", "better text")


@dataclass(frozen=True)
class Refit:
    """One update that was trained: what went in, and where the policy is."""

    fingerprint: str
    folder: str
    ratings: tuple[int, ...]
    at: float


def state_folder() -> Path:
    """$CREDENCE_STATE, else $XDG_STATE_HOME/credence, else ~/.local/state/credence."""
    given = os.environ.get("CREDENCE_STATE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "credence"


class FeedbackStore:
    """Ratings in one SQLite file.

    Args:
        path: the file; made with its folder where there is none. By default feedback.db in `state_folder()`.
        wait: seconds to wait for another writer.

    Raises:
        ConfigError: the file is no database, or of a newer credence.
        BackendError: it is locked for longer than `wait`, or cannot be read or written.

    A file of an older version is migrated in one transaction, after a copy was put beside it (feedback.db.v1.bak).
    Tested in tests/unit/test_feedback_store.py, the kill −9 included.
    """

    def __init__(self, path: Path | None = None, wait: float = WAIT) -> None:
        self.path = path or state_folder() / "feedback.db"
        self.wait = wait
        self.backup: Path | None = None
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():  # what people say is their own: SQLite's other files take these rights over
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._db = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
            try:
                self._refuse_others()  # before anything is changed
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, rating: Rating) -> Rating:
        """Append a rating; on return it is on the disk, and the result carries its number."""
        row = (
            rating.conversation,
            rating.turn,
            json.dumps([dict(m) for m in rating.messages], ensure_ascii=False),
            rating.reply,
            json.dumps(list(rating.tokens)),
            rating.kind,
            rating.text,
            rating.model,
            rating.law,
            rating.beta,
            rating.at or time.time(),
        )
        columns = "conversation, turn, messages, reply, tokens, kind, text, model, law, beta, at"
        with self._writing() as db:
            made = db.execute(f"INSERT INTO rating ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
        return _rating((made.lastrowid, *row))

    def ratings(self) -> tuple[Rating, ...]:
        """Every row, in the order it came."""
        with self._told():
            columns = "id, conversation, turn, messages, reply, tokens, kind, text, model, law, beta, at"
            rows = self._db.execute(f"SELECT {columns} FROM rating ORDER BY id").fetchall()
        return tuple(map(self._read, rows))

    def _read(self, row: Sequence[Any]) -> Rating:
        try:
            return _rating(row)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.path}, rating {row[0]}: not as credence writes it ({error}). Something else has changed it: "
                "take a copy back, or name another: --feedback FILE",
                "feedback row",
                path=self.path,
                row=row[0],
                why=error,
            ) from error

    def standing(self) -> tuple[Rating, ...]:
        """The ratings that count: the last one of each reply, those retracted left out."""
        last = {(r.conversation, r.turn): r for r in self.ratings()}
        return tuple(sorted((r for r in last.values() if r.kind != "retract"), key=lambda r: r.id))

    def refitted(self, refit: Refit) -> None:
        """Write down that an update was trained on these ratings."""
        row = (refit.fingerprint, refit.folder, json.dumps(list(refit.ratings)), refit.at or time.time())
        with self._writing() as db:
            db.execute("INSERT INTO refit (fingerprint, folder, ratings, at) VALUES (?,?,?,?)", row)

    def refits(self) -> tuple[Refit, ...]:
        """Every update so far."""
        with self._told():
            found = self._db.execute("SELECT fingerprint, folder, ratings, at FROM refit ORDER BY id")
            return tuple(Refit(f, folder, tuple(json.loads(ids)), at) for f, folder, ids, at in found)

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _version(self) -> int:
        """0 for a new file; a file without our table, but with others, is somebody else's."""
        names = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if {"schema_version", "rating"} <= names:
            return int(self._db.execute("SELECT max(version) FROM schema_version").fetchone()[0])
        if names - {"sqlite_sequence"}:
            tables = ", ".join(sorted(names))
            raise ConfigError(
                f"{self.path} is a database of something else (tables {tables}). Name another: --feedback FILE",
                "feedback other",
                path=self.path,
                tables=tables,
            )
        return 0

    def _refuse_others(self) -> None:
        found, newest = self._version(), len(MIGRATIONS)
        if found > newest:
            raise ConfigError(
                f"{self.path} was written by a newer credence (schema {found}; this one knows {newest}). Upgrade "
                "credence, or name another file: --feedback FILE",
                "feedback newer",
                path=self.path,
                found=found,
                newest=newest,
            )

    def _migrate(self) -> None:
        found = self._version()
        if found == len(MIGRATIONS):
            return
        if found:
            self.backup = self._free(found)
            self._db.execute("VACUUM INTO ?", (str(self.backup),))
        with self._writing() as db:
            version = self._version()  # another process may have been faster
            db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, at REAL NOT NULL)")
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in filter(str.strip, script.split(";")):
                    db.execute(statement)
                db.execute("INSERT INTO schema_version VALUES (?, ?)", (number, time.time()))

    def _free(self, version: int) -> Path:
        """A name for a copy that takes no earlier copy's place."""
        names = (f"{self.path.name}.v{version}{f'.{k}' if k else ''}.bak" for k in count())
        return next(p for name in names if not (p := self.path.with_name(name)).exists())

    @contextmanager
    def _told(self) -> Generator[None]:
        """What SQLite or the system refuses becomes one sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise BackendError(
                    f"{self.path} is locked by another process; waited {self.wait:g} s. Close the other program that "
                    "writes to it and try again; nothing was changed.",
                    "feedback locked",
                    path=self.path,
                    seconds=self.wait,
                ) from error
            raise BackendError(
                f"{self.path} cannot be read or written: {error}. Name another file: --feedback FILE",
                "feedback failed",
                path=self.path,
                why=error,
            ) from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{self.path} is no feedback database ({error}). Move it away, or name another: --feedback FILE",
                "feedback none",
                path=self.path,
                why=error,
            ) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise BackendError(
                f"{self.path} cannot be opened: {why}. Name another file: --feedback FILE",
                "feedback failed",
                path=self.path,
                why=why,
            ) from error


def _rating(row: Sequence[Any]) -> Rating:
    number, conversation, turn, messages, reply, tokens, kind, text, model, law, beta, at = row
    return Rating(
        conversation, turn, tuple(json.loads(messages)), reply, tuple(json.loads(tokens)), kind, text, model, law, beta,
        at, number,
    )  # fmt: skip
