"""One process at work on a run's folder: what it goes on with, what the manifest says of it, who is told, how it ends.

Shared by all that leave such a folder: `credence run`, `control`, `dialogue train`, `dialogue update`.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from credence.core.errors import BackendError, ConfigError
from credence.report.manifest import manifest
from credence.report.schema import plain_tree
from credence.study import resumption
from credence.study.config import Placed
from credence.study.folder import MANIFEST, REPLACE, RunFolder, check_place
from credence.study.job import LongJob
from credence.study.live import Live
from credence.study.machine import training_products
from credence.study.resumption import ANEW
from credence.study.trackers import Tracking, trackers

CHECKPOINTS = "checkpoints"
"""Folder, inside a run's, of what a resumed run needs."""
RESUMES = "--resume goes on with it"
"""What to do with a run that did not come to its end, where it can be gone on with."""

T = TypeVar("T")


def begun(
    folder: Path,
    config: Placed,
    overwrite: bool,
    resume: bool,
    kind: str = "",
    anew: str = ANEW,
    instead: str = REPLACE,
) -> dict[str, Any] | None:
    """The manifest of the run that is gone on with; None where one begins. Touches nothing.

    Raises:
        ConfigError: both are asked for, the folder is in the way, or the run was begun with other settings or by
            another command.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with an earlier run and --overwrite replaces it: choose one.")
    before = resumption.earlier(folder, config, kind, anew) if resume else None
    if before is None:
        check_place(folder, overwrite or resume, f"--resume to go on with it, {instead}")
    return before


def finished(folder: Path, before: Mapping[str, Any] | None, live: Live) -> bool:
    """Whether the run had come to its end; says so, and drops what a kill between the last word and the end left."""
    if before is None or before.get("status") != "done":
        return False
    live.say(f"{folder} is done: there is nothing to resume.", "yellow")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return True


class Session:
    """One process's share of a run.

    Args:
        config: checked settings.
        live: where progress is shown.
        before: the manifest of the run that is gone on with; None begins one.
        kind: "" for `credence run`; written into the manifest.
        again: what a user can do with a run that did not come to its end.
        anew: how to begin one that cannot be gone on with.
    """

    def __init__(
        self, config: LongJob, live: Live, before: Mapping[str, Any] | None = None, kind: str = "",
        again: str = RESUMES, anew: str = ANEW,
    ) -> None:  # fmt: skip
        self.config, self.live, self.before, self.again, self.anew = config, live, before or {}, again, anew
        self.kind = {"kind": kind} if kind else {}
        self.started, self.ended = time.time(), False
        self.origin: dict[str, Any] = {}
        self.more: dict[str, Any] = {}  # what else the manifest says, whatever the state
        self.numerics: dict[str, str] = {}  # what the run itself settled, beside what the manifest finds

    @property
    def resumed(self) -> bool:
        """Whether another process began the run."""
        return bool(self.before)

    def products(self, asked: str, device: str) -> torch.dtype | None:
        """In what format gradients are carried on this machine; the manifest says it. None: the weights' own."""
        found = training_products(asked, device)
        taken = "float32" if found is None else asked
        self.numerics["training_products"] = taken
        if taken != asked:
            self.live.say(f"  {asked} products are no faster on this processor: training takes {taken}", "dim")
        return found

    def manifest(self) -> dict[str, Any]:
        """As it stands now; a run that was gone on with began when its first process did."""
        made = manifest(self.config.model_dump(mode="json"), self.config.seed, self.started)
        made["numerics"] |= self.numerics
        if not self.before:
            return made
        now = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
        return {
            **made,
            "started": self.before.get("started", made["started"]),
            "resumed": [*self.before.get("resumed", []), now],
        }

    def compare(self, origin: dict[str, Any]) -> None:
        """Refuse to go on with what other sources or weights began; say what may cost equal bytes.

        Raises:
            ConfigError: as resumption.doubts.
        """
        self.origin = origin
        if not self.before:
            return
        how = {"running": "was killed", "interrupted": "was interrupted", "failed": "failed"}
        left = how.get(str(self.before.get("status")), "was left unfinished")
        self.live.say(f"  going on with the run of {self.before.get('started')}, which {left}")
        for doubt in resumption.doubts(self.before, {**self.manifest(), "origin": self.origin}, self.anew):
            self.live.say(f"  not surely the same bytes: {doubt}", "yellow")

    def open(self, folder: Path, replace: bool) -> RunFolder:
        """The run's folder: the earlier run's, or a new one in its place."""
        return RunFolder.reopen(folder) if self.resumed else RunFolder(folder, replace)

    def through(
        self,
        place: RunFolder,
        work: Callable[[Sequence[Tracking]], T],
        keep: Callable[[str], str],
        final: Callable[[T], Mapping[str, float]],
    ) -> T:
        """See the work through: the manifest says running, then done (by `done`), or how it was broken off.

        Args:
            place: the run's folder.
            work: everything; it is given the trackers.
            keep: puts away what a run leaves that did not come to its end, given its status; returns a phrase for it.
            final: what trackers are told at the end.

        Raises:
            KeyboardInterrupt: passed on after what is done was kept; so is whatever else the work raises.
        """
        self.tell(place, "running")
        started = str(self.manifest()["started"])
        told = trackers(
            self.config, place.path, started, self.resumed, lambda line: self.live.say(line, "yellow")
        )  # fmt: skip
        done: list[T] = []
        try:
            done.append(work(told))
            return done[0]
        except KeyboardInterrupt:
            self.keep(place, keep, "interrupted", "")
            raise
        except BaseException as error:
            with suppress(BackendError):  # a full disk is one of the reasons to be here: the first error counts
                self.keep(place, keep, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            for tracker in told:
                for made in done:
                    tracker.tell(final(made))
                tracker.close(bool(done))

    def keep(self, place: RunFolder, keep: Callable[[str], str], status: str, why: str) -> None:
        """What a run leaves that did not come to its end, and what to do with it."""
        if self.ended:
            return
        kept = keep(status)
        self.tell(place, status, **({"error": why} if why else {}))
        self.live.say(f"{status}: what was done is kept in {place.path} ({kept}); {self.again}", "yellow")

    def tell(self, place: RunFolder, status: str, **more: Any) -> None:  # noqa: ANN401 - any JSON tree
        """The manifest with the state of the run, and with what it was begun with."""
        told = {"status": status, **self.kind, **self.more, **more, **self.manifest(), **self._origin()}
        place.json(MANIFEST, plain_tree(told))  # evidence may be -inf nats

    def done(self, place: RunFolder, told: Mapping[str, Any]) -> None:
        """The last word: the manifest that the report shows, and that the run came to its end."""
        place.json(MANIFEST, plain_tree({"status": "done", **self.kind, **self.more, **told, **self._origin()}))
        self.ended = True

    def _origin(self) -> dict[str, Any]:
        return {"origin": self.origin} if self.origin else {}
