"""Lessons that were broken off go on to the same bytes; tests/e2e/test_dialogue_kill.py does it with real kills."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from credence.core.errors import ConfigError
from credence.core.status import Status
from tests.dialogue_survival import LESSONS, STEPS, check_resumed_lessons_equal_uninterrupted, teach
from tests.survival import Killed, outcome, stop_at


@pytest.mark.parametrize("seed", [2])
def test_resumed_lessons_are_the_uninterrupted_ones(seed: int) -> None:
    check_resumed_lessons_equal_uninterrupted(seed)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One that nothing disturbs, done; and an empty one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    done = teach(whole, 12)
    assert 4 < done.best < STEPS  # else a best state that is lost would not show
    assert done.skipped > 0
    return whole, cut


def test_lessons_that_ended_return_at_once(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = folders
    kept = outcome(whole)
    assert [p.name for p in (whole / "checkpoints").glob("*.json")] == [f"{STEPS + 1:08d}.json"]

    def never(*_: object) -> None:
        raise AssertionError("it talked again")

    monkeypatch.setattr("credence.dialogue.lessons.converse", never)
    again = teach(whole, 12)
    assert outcome(whole) == kept
    assert (len(again.history), again.status) == (STEPS, Status.OK)


def test_a_damaged_checkpoint_costs_updates_and_no_bytes(folders: tuple[Path, Path]) -> None:
    whole, cut = folders
    with pytest.raises(Killed):
        teach(cut, 12, stop_at(11))
    kept = sorted((cut / "checkpoints").glob("*.safetensors"))
    assert [int(p.name[:8]) for p in kept] == [6, 9]
    kept[1].write_bytes(kept[1].read_bytes()[:-1])
    seen: list[int] = []
    teach(cut, 12, seen.append)
    assert seen[0] == 7
    assert outcome(cut) == outcome(whole)


def test_ctrl_c_leaves_the_last_checkpoint_to_go_on_from(folders: tuple[Path, Path]) -> None:
    whole, cut = folders

    def interrupt(step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt

    assert teach(cut, 12, interrupt).interrupted
    teach(cut, 12)
    assert outcome(cut) == outcome(whole)


def test_other_settings_are_named_and_refused(folders: tuple[Path, Path]) -> None:
    whole, _ = folders
    with pytest.raises(ConfigError, match=r"lr was 0\.5 and is 0\.1"):
        teach(whole, 12, lessons=replace(LESSONS, lr=0.1))
    with pytest.raises(ConfigError, match="seed"):
        teach(whole, 13)


def test_the_time_before_a_kill_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that counts seconds: the budget is one for both parts, and what passes while nothing runs is free."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)), process_time=lambda: 0.0)
    monkeypatch.setattr("credence.learn.budget.time", clock)
    long = replace(LESSONS, steps=10_000, seconds=60.0)
    with pytest.raises(Killed):
        teach(tmp_path, 12, stop_at(5), 1, long)
    next(itertools.islice(ticks, 1000, None))
    done = teach(tmp_path, 12, lessons=long)
    assert done.status is Status.STOPPED
    assert 5 < len(done.history) < 30
    assert "val_j" in done.history[-1]


def test_a_number_that_is_none_ends_them_and_is_remembered(tmp_path: Path) -> None:
    wild = replace(LESSONS, lr=float("inf"))
    first, again = (teach(tmp_path, 12, lessons=wild) for _ in range(2))
    assert first.status is again.status is Status.NAN
    assert (first.why, first.history) == (again.why, again.history)
