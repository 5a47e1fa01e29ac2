"""Control that goes on from a look: engines, worlds, chance, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.learn import temporal
from credence.learn.checkpoint import Checkpoints
from credence.learn.temporal import Uniforms
from credence.learn.world import GymWorld, TableWorld
from tests.control_survival import STEPS, Diary, Learn, check_control_resumes, check_policy_resumes, policy, values
from tests.survival import Killed
from tests.worlds import chain

BOTH = pytest.mark.parametrize("learn", [values, policy])


def test_a_value_engine_goes_on_in_the_middle_of_episodes() -> None:
    assert check_control_resumes(values, 1) == [0, 1, 4]


def test_policy_gradient_goes_on() -> None:
    check_policy_resumes(1)


@BOTH
def test_what_had_ended_returns_at_once(learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, diary = learn(3, None, None, Checkpoints(tmp_path)), Diary()
    monkeypatch.setattr(TableWorld, "step", lambda *_: pytest.fail("it acted again"))
    again = learn(3, None, diary, Checkpoints(tmp_path))
    assert torch.equal(again.log_pi, done.log_pi)
    assert diary.began == [len(STEPS)]
    assert len(diary.seen) == len(STEPS)


@BOTH
def test_a_damaged_checkpoint_is_passed_over(learn: Learn, tmp_path: Path) -> None:
    whole, store, diary = learn(3, None, None, None), Checkpoints(tmp_path, keep=2), Diary()
    learn(3, None, None, store)
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-3])
    found = learn(3, None, diary, store)
    assert "is damaged" in store.warnings[0]
    assert diary.began[0] < len(STEPS)
    assert torch.equal(found.log_pi, whole.log_pi)


@BOTH
def test_a_checkpoint_of_another_call_is_refused(learn: Learn, tmp_path: Path) -> None:
    learn(3, None, None, Checkpoints(tmp_path))
    with pytest.raises(ConfigError, match="are of other settings: seed was 3 and is 4"):
        learn(4, None, None, Checkpoints(tmp_path))


def test_chance_goes_on_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal, "_BLOCK", 8)
    one, other, rows = Uniforms(Key(1), 3), Uniforms(Key(1), 3), torch.tensor([0, 2])
    for _ in range(20):
        one.next(rows)
    other.restore({name: value.clone() for name, value in one.tensors().items()})
    for every in (rows, torch.arange(3), rows):
        assert torch.equal(one.next(every), other.next(every))


# ---- Gymnasium's own -------------------------------------------------------------------------------------------------


def lakes(rows: int, seed: int = 5) -> GymWorld:
    gymnasium = pytest.importorskip("gymnasium", reason="the extra `control` is not installed")
    made = [gymnasium.make("FrozenLake-v1", max_episode_steps=9, disable_env_checker=True) for _ in range(rows)]
    return GymWorld(made, Key(seed))


def walk(world: GymWorld, steps: int, start: int = 0) -> list[list[int]]:
    """Where every row comes, walking by a fixed rule and beginning anew where it must."""
    seen: list[list[int]] = []
    rows = torch.arange(world.rows)
    if start == 0:
        seen.append(world.reset(rows).tolist())
    for t in range(start, start + steps):
        moved = world.step(rows, (rows + t) % world.actions)
        seen.append(moved.state.tolist())
        if len(over := torch.nonzero(moved.ended | moved.cut).flatten()):
            seen.append(world.reset(over).tolist())
    return seen


@pytest.mark.parametrize("cut", [0, 1, 17, 40])
def test_environments_are_put_back_where_they_were(cut: int) -> None:
    one, other = lakes(4), lakes(4)
    walk(one, cut)
    state = one.state()
    other.restore(state)
    assert other.state() == state
    assert walk(other, 60, max(1, cut)) == walk(one, 60, max(1, cut))


def test_an_environment_that_cannot_be_put_back_is_said() -> None:
    one, other = lakes(1), lakes(1)
    walk(one, 3)
    state: dict[str, Any] = one.state()
    state["0"][2] = (state["0"][2] + 1) % 16
    with pytest.raises(ContractError, match=r"cannot be put back.*checkpoint_every = 0"):
        other.restore(state)


def test_a_row_that_never_began_stays_so() -> None:
    one = lakes(2)
    one.reset(torch.tensor([1]))
    other = lakes(2)
    other.restore(one.state())
    assert list(other.state()) == ["1"]


def test_a_kill_before_the_first_look_leaves_nothing_behind(tmp_path: Path) -> None:
    diary = Diary(1)
    with pytest.raises(Killed):
        values(1, TableWorld(chain(), Key(1), 3, 7), diary, Checkpoints(tmp_path))
    assert Checkpoints(tmp_path).latest() is None
