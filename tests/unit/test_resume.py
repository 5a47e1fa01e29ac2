"""A stage that was broken off goes on to the same bytes; tests/e2e/test_kill.py does the same with real kills."""

import itertools
from pathlib import Path

import pytest
import torch

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.status import Status
from credence.learn.checkpoint import Checkpoints
from credence.learn.distil import Distil
from credence.learn.dpg import DPG
from credence.learn.f_dpg import FDPG
from credence.learn.loop import Fit, Learner, fit
from credence.learn.losses.f_divergence import Divergence
from credence.learn.reinforce import Reinforce
from credence.prior.tabular import TabularPolicy
from credence.sample.best_of_n import BestOfN
from tests.learning import free_policy, stored_draws
from tests.survival import STEPS, Killed, check_resumed_equals_uninterrupted, outcome, stop_at, train
from tests.toys import toy_a, toy_prompts

PROMPTS = toy_prompts()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fit]:
    """The stage of seed 1, never broken off."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, 1)


@pytest.mark.parametrize("seed", [1, 6])
def test_a_resumed_stage_is_the_uninterrupted_one(seed: int) -> None:
    check_resumed_equals_uninterrupted(seed)


def test_the_best_step_of_the_check_is_neither_first_nor_last(tmp_path: Path, whole: tuple[Path, Fit]) -> None:
    """Else a best state that is lost would not show."""
    assert all(4 < done.best < STEPS for done in (whole[1], train(tmp_path, 6)))


def test_a_stage_that_ended_returns_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(tmp_path, 1)
    bytes_ = outcome(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").glob("*.json")] == [f"{STEPS + 1:08d}.json"]

    def never(*_: object) -> None:
        raise AssertionError("it drew again")

    monkeypatch.setattr(TabularPolicy, "sample", never)
    again = train(tmp_path, 1)
    assert outcome(tmp_path) == bytes_
    assert (again.best, again.history, again.status) == (first.best, first.history, first.status)


def test_a_damaged_checkpoint_costs_steps_and_no_bytes(tmp_path: Path, whole: tuple[Path, Fit]) -> None:
    cut = tmp_path
    with pytest.raises(Killed):
        train(cut, 1, stop_at(14))
    kept = sorted((cut / "checkpoints").glob("*.safetensors"))
    assert [int(p.name[:8]) for p in kept] == [9, 12]
    kept[1].write_bytes(kept[1].read_bytes()[:-1])
    seen: list[int] = []
    train(cut, 1, seen.append)
    assert seen[0] == 10
    assert outcome(cut) == outcome(whole[0])


def test_other_settings_are_named_and_refused(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)

    def go(steps: int, lr: float, seed: int) -> None:
        learner = Reinforce(1, 4, lr)
        fit(toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, learner, Key(seed), steps, checkpoints=kept)

    go(3, 0.1, 1)
    for steps, lr, seed, says in (
        (4, 0.1, 1, "steps was 3 and is 4"),
        (3, 0.2, 1, "lr was 0.1 and is 0.2"),
        (3, 0.1, 2, "seed"),
    ):
        with pytest.raises(ConfigError, match=says):
            go(steps, lr, seed)
    go(3, 0.1, 1)


def test_another_choice_or_engine_inside_is_refused_too(tmp_path: Path) -> None:
    """Choices and engines are settings as numbers are. Rejects a stage that goes on by another divergence."""

    def go(learner: Learner, name: str) -> None:
        stored = stored_draws(toy_a(), PROMPTS, Key(2), 16)
        fit(
            toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, learner, Key(1), 2, stored=stored,
            checkpoints=Checkpoints(tmp_path / name), say=lambda line: None,
        )  # fmt: skip

    go(FDPG(1, 16), "f")
    with pytest.raises(ConfigError, match=r"divergence was 'forward_kl' and is 'total_variation'"):
        go(FDPG(1, 16, divergence=Divergence.TOTAL_VARIATION), "f")
    go(FDPG(1, 16), "f")
    go(Distil(1, 16, sampler=BestOfN(4)), "d")
    with pytest.raises(ConfigError, match="sampler was"):
        go(Distil(1, 16, sampler=BestOfN(8)), "d")


def test_stored_draws_and_no_validation(tmp_path: Path) -> None:
    """DPG recalls draws; without validation the last step is kept, also from a checkpoint that ended."""
    stored = stored_draws(toy_a(), PROMPTS, Key(2), 16)

    def go(folder: str, stop: int = 0) -> torch.Tensor:
        policy = free_policy(toy_a(), PROMPTS)
        fit(
            toy_a(), policy, PROMPTS, DPG(1, 16, 0.1), Key(1), 7, stored=stored,
            callbacks=[lambda r, c: stop_at(stop)(r["step"])], checkpoints=Checkpoints(tmp_path / folder),
            checkpoint_every=2,
        )  # fmt: skip
        return policy.state()["logits"]

    whole = go("whole")
    with pytest.raises(Killed):
        go("cut", 5)
    assert torch.equal(go("cut"), whole)
    assert torch.equal(go("cut"), whole)


def test_a_nan_is_an_end_too(tmp_path: Path) -> None:
    def go() -> tuple[Status, str, torch.Tensor]:
        policy = free_policy(toy_a(), PROMPTS)
        learner = Reinforce(1, 8, 1e308, 0)
        done = fit(toy_a(), policy, PROMPTS, learner, Key(1), 9, checkpoints=Checkpoints(tmp_path))
        return done.status, done.why, policy.state()["logits"]

    first, second = go(), go()
    assert first[0] is Status.NAN
    assert first[:2] == second[:2]
    assert torch.equal(first[2], second[2])


def test_the_time_before_a_kill_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that counts seconds: the budget is one for both parts, so a run killed again and again still ends."""
    ticks = itertools.count()
    monkeypatch.setattr("credence.learn.budget.time.monotonic", lambda: float(next(ticks)))

    def go(stop: int = 0) -> int:
        policy = free_policy(toy_a(), PROMPTS)
        done = fit(
            toy_a(), policy, PROMPTS, Reinforce(1, 8, 0.05), Key(1), 10_000, seconds=60.0,
            callbacks=[lambda r, c: stop_at(stop)(r["step"])], checkpoints=Checkpoints(tmp_path), checkpoint_every=1,
        )  # fmt: skip
        assert done.status is Status.STOPPED
        return len(done.history)

    with pytest.raises(Killed):
        go(8)
    next(itertools.islice(ticks, 1000, None))  # what passes while nothing runs does not count
    assert 8 < go() < 60


def test_ctrl_c_leaves_the_last_checkpoint_to_go_on_from(tmp_path: Path, whole: tuple[Path, Fit]) -> None:
    cut = tmp_path

    def interrupt(step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt

    assert train(cut, 1, interrupt).interrupted
    train(cut, 1)
    assert outcome(cut) == outcome(whole[0])


def test_a_full_disk_ends_it_with_the_last_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[Path, Fit]
) -> None:
    from credence.learn import checkpoint

    cut = tmp_path
    plain, calls = checkpoint.save_file, itertools.count(1)

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        plain(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(BackendError, match="checkpoint 12 cannot be written"):
        train(cut, 1)
    found = Checkpoints(cut / "checkpoints").latest()
    assert found is not None
    assert found.step == 9
    train(cut, 1)
    assert outcome(cut) == outcome(whole[0])
