"""The store of past rows: what comes back, what is forgotten, and a killed run that replays the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.learn.checkpoint import Checkpoints
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Record, fit
from credence.learn.reinforce import Reinforce
from credence.learn.replay import Replay
from tests.learning import PROMPTS, free_policy, stored_draws
from tests.policy_gradients import check_replay
from tests.toys import toy_a


@pytest.mark.parametrize("seed", [20, 21])
def test_what_comes_back_is_what_was_drawn(seed: int) -> None:
    check_replay(seed)


def replayed(folder: Path, steps: int = 6, **more: object) -> Fit:
    policy = free_policy(toy_a(), PROMPTS)
    return fit(
        toy_a(), policy, PROMPTS, Reinforce(1, 6, 0.05), Key(5), steps, replay=Replay(2, 8, 4),
        checkpoints=Checkpoints(folder), checkpoint_every=2, **more,
    )  # fmt: skip  # pyright: ignore[reportArgumentType]


def test_a_killed_run_replays_the_same(tmp_path: Path) -> None:
    """The store is part of the checkpoint. Rejects one that begins empty again."""
    whole = replayed(tmp_path / "whole")

    def stop(record: Record, clock: Record) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    replayed(tmp_path / "killed", callbacks=[stop])
    again = replayed(tmp_path / "killed")
    assert again.history == whole.history
    assert torch.equal(again.policy.state()["logits"], whole.policy.state()["logits"])
    assert [r["replay_groups"] for r in whole.history] == [0, 1, 2, 2, 2, 2]
    assert all(r["ratio_ess"] < 1 for r in whole.history[1:])


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="age=0"):
        Replay(age=0)
    stored = stored_draws(toy_a(), PROMPTS, Key(1), 4)
    with pytest.raises(ConfigError, match="draws none"):
        fit(toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, DPG(1, 4), Key(1), 1, stored=stored, replay=Replay())


def test_a_step_can_be_replaced_by_a_callable() -> None:
    """Rows drawn elsewhere, a shaped reward, an advantage of one's own: no subclass."""
    seen: list[int] = []

    def draw(key: Key, policy: object, prompts: object, n: int) -> tuple:
        seen.append(n)
        return toy_a().prior.sample(key, prompts, n)  # pyright: ignore[reportArgumentType]

    given = {"draw": draw, "shape": lambda batch: replace(batch, log_lik=batch.log_lik.clamp(max=1.0))}
    own = Reinforce(1, 8, 0.05, advantage=lambda scored: scored.log_lik - scored.log_lik.mean())
    lines: list[str] = []
    policy = free_policy(toy_a(), PROMPTS)
    done = fit(toy_a(), policy, PROMPTS, own, Key(1), 3, say=lines.append, **given)  # pyright: ignore[reportArgumentType]
    assert seen == [8, 8, 8]
    assert done.history[-1]["log_lik"] <= 1.0
    assert done.history[-1]["ratio_ess"] < 1.0  # drawn by the prior, learnt by a policy that has moved
    assert lines == ["Reinforce converges to what its own advantage makes of it."]
