"""A stage of training that is killed and goes on, shared by tests/unit, tests/mutants and tests/e2e.

As a program (`python -m tests.survival FOLDER SEED KILLS`) it forks children that train on the table prior, kills each
with SIGKILL at a random moment, every other one inside a save, and writes what became of them. One thread, so that
forking is safe; children start in milliseconds, since everything is loaded.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from safetensors.torch import save

from credence.core.keys import Key
from credence.learn.checkpoint import Checkpoints, save_json, write_whole
from credence.learn.loop import Fit, Record, Validation, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from tests.learning import free_policy
from tests.toys import toy_a, toy_prior, toy_prompts

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
"""Of programs that tests start."""
STEPS, EVERY = 16, 3
BREAKS = (5, 11)
"""Steps at which training is broken off."""
Left = TypeVar("Left")


class Killed(BaseException):
    """What a test raises where a process would be killed."""


@dataclass
class Diary:
    """history.jsonl as a run keeps it; `stop` is called after each step."""

    path: Path
    stop: Callable[[int], None] = lambda step: None
    began: list[int] = field(default_factory=list)

    def begin(self, history: Sequence[Record]) -> None:
        self.began.append(len(history))
        write_whole(self.path, "".join(json.dumps(r) + "\n" for r in history).encode())

    def __call__(self, record: Record, clock: Record) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.stop(record["step"])


def annealed(step: int, last: Record) -> Posterior:
    """A schedule that reads the step and the record before it."""
    return Posterior(toy_prior(), toy_a().evidence ** min(1.0, 0.5 + 0.02 * step + 0.1 * abs(last.get("elbo", 0.0))))


def train(folder: Path, seed: int, stop: Callable[[int], None] = lambda step: None, every: int = EVERY) -> Fit:
    """A stage whose best step is neither its first nor its last, going on with what `folder` holds."""
    policy = free_policy(toy_a(), toy_prompts())
    done = fit(
        annealed, policy, toy_prompts(), Reinforce(1, 4, 0.3), Key(seed), STEPS,
        validation=Validation(toy_prompts(), 12, 2), callbacks=[Diary(folder / "history.jsonl", stop)],
        checkpoints=Checkpoints(folder / "checkpoints"), checkpoint_every=every,
    )  # fmt: skip
    write_whole(folder / "policy.safetensors", save(policy.state()))
    return done


def outcome(folder: Path) -> tuple[bytes, bytes]:
    """The bytes that must not depend on kills."""
    return (folder / "policy.safetensors").read_bytes(), (folder / "history.jsonl").read_bytes()


def stop_at(step: int) -> Callable[[int], None]:
    def stop(now: int) -> None:
        if now == step:
            raise Killed

    return stop


def broken_off(train: Callable[..., Left], seed: int, steps: Sequence[int] = BREAKS) -> tuple[Left, Left]:
    """What undisturbed training leaves, and what training broken off at these steps does: its bytes are the same."""
    with TemporaryDirectory() as place:
        whole, cut = Path(place, "whole"), Path(place, "cut")
        whole.mkdir()
        cut.mkdir()
        wanted = train(whole, seed)
        for step in steps:
            try:
                train(cut, seed, stop_at(step))
            except Killed:
                continue
            raise AssertionError("it was not stopped")
        found = train(cut, seed)
        assert outcome(cut) == outcome(whole)
    return wanted, found


def best_is_brought_back(step: int) -> None:
    """Refuse a seed whose best step lies behind the last checkpoint before the last break, or at the start."""
    last = BREAKS[-1] // EVERY * EVERY
    if not 0 < step <= last:
        raise RuntimeError(f"the best step is {step}, not among 1 to {last}: of its state this check would see nothing")


def check_resumed_equals_uninterrupted(seed: int) -> None:
    """Broken off twice, each time between two checkpoints: the same bytes, and the same Fit."""
    wanted, found = broken_off(train, seed)
    best_is_brought_back(wanted.best)
    assert (found.best, found.best_elbo, found.cost.tokens) == (wanted.best, wanted.best_elbo, wanted.cost.tokens)


class PowerCut(BaseException):
    """What a test raises where the machine would go dark."""


def cut_power(at: int, run: Callable[[], None]) -> bool:
    """Run with the power cut at the at-th flush: the file loses its second half. Whether it came to that."""
    plain, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            size = os.fstat(descriptor).st_size
            if os.path.isfile(f"/proc/self/fd/{descriptor}"):
                os.ftruncate(descriptor, size // 2)
            raise PowerCut
        plain(descriptor)

    os.fsync = fsync
    try:
        run()
    except PowerCut:
        return True
    finally:
        os.fsync = plain
    return False


def check_a_power_cut_leaves_a_whole_checkpoint(seed: int) -> None:
    """At each flush of a save, of a new step and of one saved before: what is read then is the old one or the new."""
    old, new = ({"x": torch.full((5,), float(seed + i), dtype=torch.float64)} for i in range(2))
    for step in (1, 2):
        for at in range(1, 10):
            with TemporaryDirectory() as place:
                store = Checkpoints(Path(place), keep=1)
                store.save(1, old, {"says": "old"})
                if not cut_power(at, lambda step=step, store=store: store.save(step, new, {"says": "new"})):
                    assert at > 3, "a save flushes its tensors, its manifest and its folder"
                    break
                found = store.latest()
                assert found is not None
                assert store.warnings == []
                assert bool((found.tensors["x"] == (old if found.state["says"] == "old" else new)["x"]).all())
                store.save(2, new, {"says": "new"})
                assert not [p for p in Path(place).iterdir() if p.name.startswith(".")]
        else:
            raise AssertionError("the save never ended")


WATCH = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""For os.waitid: has it ended? It stays to be waited for."""


def slowly() -> None:
    """Let each flush take some milliseconds, so that most moments lie inside a save."""
    plain = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(0.004)
        plain(descriptor)
        time.sleep(0.004)

    os.fsync = fsync


def forked(work: Callable[[], object], after: float | None = None, saving: Path | None = None) -> tuple[bool, bool]:
    """Run in a child; kill it after so many seconds, or then at the next save into a folder.

    Returns:
        Whether it came to its end, and whether the kill left a save half done.
    """
    before = _asides(saving)  # what an earlier kill left
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if after is not None:
        time.sleep(after)
        while saving and _asides(saving) <= before and os.waitid(os.P_PID, child, WATCH) is None:
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return not os.WIFSIGNALED(status), bool(_asides(saving) - before)


def _asides(folder: Path | None) -> set[str]:
    """What is being written in a folder and below it; os.walk does not mind folders that go away meanwhile."""
    return {name for _, _, names in os.walk(folder or "/dev/null") for name in names if name.endswith(".aside")}


def kill_often(
    folder: Path,
    seed: int,
    kills: int,
    train: Callable[[Path, int], object],
    store: str = "checkpoints",
    reach: float = 0.25,
) -> dict[str, Any]:
    """Train in folder/whole undisturbed and in folder/0, 1, … with kills until there were `kills` of them.

    Every other kill waits for a save into `store`, a folder inside each of them. `reach` is the latest moment of a kill
    as a share of the time that undisturbed training takes.
    """
    slowly()
    rng = Key(seed).fold("kills").generator()
    (folder / "whole").mkdir(exist_ok=True)
    began = time.monotonic()
    forked(lambda: train(folder / "whole", seed))
    usual = time.monotonic() - began
    killed = inside = run = 0
    while True:
        here = folder / str(run)
        here.mkdir(exist_ok=True)
        after = float(rng.uniform(0, usual * reach)) if killed < kills else None
        ended, cut = forked(lambda here=here: train(here, seed), after, here / store if killed % 2 else None)
        killed, inside, run = killed + (not ended), inside + (cut and not ended), run + ended
        if ended and killed >= kills:
            break
    return {"killed": killed, "inside_a_save": inside, "finished": run, "seconds": usual}


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_json(Path(sys.argv[1]) / "told.json", kill_often(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), train))
