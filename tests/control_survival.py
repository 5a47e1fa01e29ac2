"""Control that is killed and goes on, shared by tests/unit, tests/mutants and tests/e2e.

As a program (`python -m tests.control_survival FOLDER SEED KILLS`) it forks children that do what `credence control`
does on a small lake, and kills each at a random moment, as tests/survival.py does.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.learn import temporal
from credence.learn.actor import Actor, learn_policy
from credence.learn.checkpoint import Checkpoints, save_json
from credence.learn.sarsa import SoftSarsa
from credence.learn.temporal import Learnt, learn_values
from credence.learn.world import TableWorld, World
from tests.survival import ROOT, Killed, kill_often
from tests.worlds import chain, leaning

STEPS = [0, 3, 9, 20, 33, 47]
"""Looks. A block of uniforms is made 16 long, so that several are used."""
BREAKS = (2, 5)
"""Looks in which learning is broken off: 1 and 4 are saved before them."""
Learn = Callable[[int, World | None, Any, Checkpoints | None], Learnt]


class Diary:
    """A watcher that writes down what it is told, and dies of look `stop`, counted from 1."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.seen, self.began = stop, list[Tensor](), list[int]()

    def begin(self, log_pi: Tensor) -> None:
        self.seen = list(log_pi)
        self.began.append(len(log_pi))

    def look(self, log_pi: Tensor) -> None:
        self.seen.append(log_pi.clone())
        if len(self.seen) == self.stop:
            raise Killed


def values(seed: int, world: World | None = None, watcher: Any = None, store: Checkpoints | None = None) -> Learnt:
    """Soft SARSA, sampled, with steps that shrink: what it does next depends on all that it holds."""
    mdp = chain()
    return learn_values(
        SoftSarsa(expected=False, power=0.6, explore=0.2), world or TableWorld(mdp, Key(seed), 3, 7),
        leaning(mdp, 0.5), 0.3, Key(seed), STEPS, 0.9, watcher=watcher, checkpoints=store, checkpoint_every=1,
    )  # fmt: skip


def policy(seed: int, world: World | None = None, watcher: Any = None, store: Checkpoints | None = None) -> Learnt:
    """Policy gradient on short episodes, leaning on its baseline."""
    mdp = chain()
    return learn_policy(
        Actor(episodes=2, trace=0.5), world or TableWorld(mdp, Key(seed), 6, 4), leaning(mdp, 0.5), 0.3, Key(seed),
        STEPS, 0.9, watcher=watcher, checkpoints=store, checkpoint_every=1,
    )  # fmt: skip


def check_control_resumes(learn: Learn, seed: int, make: Callable[[], World | None] = lambda: None) -> Sequence[int]:
    """Broken off twice: the same policies, visits and looks; how many looks each process was given."""
    plain, temporal._BLOCK = temporal._BLOCK, 16
    try:
        whole = Diary()
        wanted = learn(seed, make(), whole, None)
        with TemporaryDirectory() as place:
            began: list[int] = []
            for stop in BREAKS:
                diary = Diary(stop)
                try:
                    learn(seed, make(), diary, Checkpoints(Path(place)))
                except Killed:
                    began += diary.began
                    continue
                raise AssertionError("it was not stopped")
            last = Diary()
            found = learn(seed, make(), last, Checkpoints(Path(place)))
    finally:
        temporal._BLOCK = plain
    assert torch.equal(found.log_pi, wanted.log_pi)
    assert torch.equal(found.visits, wanted.visits)
    assert torch.equal(torch.stack(last.seen), torch.stack(whole.seen))
    return [*began, *last.began]


def check_values_resume(seed: int) -> None:
    """A value engine, killed in the middle of episodes."""
    check_control_resumes(values, seed)


def check_policy_resumes(seed: int) -> None:
    """Policy gradient, whose runs pass the looks at unlike moments."""
    check_control_resumes(policy, seed)


SMALL = (
    "learn.seeds=2", "learn.steps=150", "learn.looks=6", "learn.actor.episodes=2", "learn.checkpoint_every=1",
    "learn.actor.steps=200", "environment.max_steps=20",
)  # fmt: skip


def loaded(*settings: str) -> Any:
    """The lake's config, small."""
    from credence.study.control_config import ControlConfig
    from credence.study.toml import read_config

    return read_config(ControlConfig, ROOT / "examples/frozenlake_kl.toml", [*SMALL, *settings])


def run(folder: Path, seed: int) -> None:
    """A whole run of the command's own function; page and pictures need seconds, and are not what is tested."""
    from credence.study import control

    control.render = lambda report: "<html>"
    control.save_png = lambda report, place: None
    control.run_control(loaded(f"seed={seed}"), folder, resume=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, number, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    save_json(place / "told.json", kill_often(place, number, kills, run, "checkpoints", 0.6))
