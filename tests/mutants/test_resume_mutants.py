"""Wrong ways to save and to go on; each must fail a check that the right one passes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from credence.dialogue import lessons
from credence.learn import actor, checkpoint, loop, resume, temporal
from credence.learn.world import TableWorld
from credence.prior.train import Trainer
from tests.control_survival import check_policy_resumes, check_values_resume
from tests.dialogue_survival import check_resumed_lessons_equal_uninterrupted
from tests.mutants.runner import Mutant, kill
from tests.survival import check_a_power_cut_leaves_a_whole_checkpoint, check_resumed_equals_uninterrupted

Patch = pytest.MonkeyPatch
SEEDS = {check_resumed_lessons_equal_uninterrupted: (2, 12)}
"""Of those at which the best state is found before the last break, so that losing it shows; at others the check says
that it sees nothing of it."""
USUAL = (1, 6)


def moments_forgotten(patch: Patch) -> None:
    """Adam starts afresh."""
    patch.setattr(Trainer, "recall", lambda self, names, moments: self.forget())


def steps_forgotten(patch: Patch) -> None:
    """Adam's moments come back, its step count does not: the bias correction is that of a first step."""
    right = Trainer.recall

    def wrong(self: Trainer, names: Sequence[str], moments: Mapping[str, Tensor]) -> None:
        right(self, names, {n: v * 0 if n.startswith("step/") else v for n, v in moments.items()})

    patch.setattr(Trainer, "recall", wrong)


def facts_change(patch: Patch, **changes: Any) -> None:
    right = loop._bring_back

    def wrong(found: resume.Brought, *rest: Any) -> None:
        right(replace(found, facts={**found.facts, **changes}), *rest)

    patch.setattr(loop, "_bring_back", wrong)


def best_state_lost(patch: Patch) -> None:
    """The best weights are taken to be those at the start."""
    right = loop._bring_back
    patch.setattr(loop, "_bring_back", lambda found, *rest: right(replace(found, best=None), *rest))


def best_elbo_lost(patch: Patch) -> None:
    """Whatever is looked at next is the best."""
    facts_change(patch, best_elbo=float("-inf"))


def history_lost(patch: Patch) -> None:
    """The weights go on, the steps are counted from 1."""
    facts_change(patch, history=[])


def written_in_place(patch: Patch) -> None:
    """The manifest is written where it belongs, not aside."""

    def wrong(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            checkpoint.os.fsync(file.fileno())

    patch.setattr(checkpoint, "write_whole", wrong)


def one_name_for_tensors(patch: Patch) -> None:
    """The tensors' file bears no hash: a step saved again overwrites what the old manifest speaks of."""
    right = checkpoint.Checkpoints._write_tensors

    def wrong(self: checkpoint.Checkpoints, step: int, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
        name, digest = right(self, step, tensors)
        (self.folder / name).replace(self.folder / f"{step:08d}.safetensors")
        return f"{step:08d}.safetensors", digest

    patch.setattr(checkpoint.Checkpoints, "_write_tensors", wrong)


def lessons_change(patch: Patch, **changes: Any) -> None:
    right = lessons._Course.bring_back

    def wrong(self: lessons._Course, found: resume.Brought) -> None:
        right(self, replace(found, facts={**found.facts, **changes}))

    patch.setattr(lessons._Course, "bring_back", wrong)


def best_of_lessons_lost(patch: Patch) -> None:
    """The best weights are taken to be those at the start."""
    right = lessons._Course.bring_back
    patch.setattr(lessons._Course, "bring_back", lambda self, found: right(self, replace(found, best=None)))


def best_j_lost(patch: Patch) -> None:
    """Whatever is looked at next is the best."""
    lessons_change(patch, best_j=float("-inf"))


def lessons_history_lost(patch: Patch) -> None:
    """The weights go on, the updates are counted from 1."""
    lessons_change(patch, history=[])


def skipped_lost(patch: Patch) -> None:
    """Dialogues that failed before the kill are not counted."""
    lessons_change(patch, skipped=0)


def not_brought_back(owner: type, names: Sequence[str], patch: Patch) -> None:
    """These of an engine of control stay as they are at the beginning."""
    right = owner.restore

    def wrong(self: Any, found: Any) -> None:
        fresh = {name: getattr(self, name) for name in names}
        right(self, found)
        for name, value in fresh.items():
            setattr(self, name, value)

    patch.setattr(owner, "restore", wrong)


def actor_moments_lost(patch: Patch) -> None:
    """Adam starts afresh."""
    right = actor._Play.restore

    def wrong(self: actor._Play, found: Any) -> None:
        right(self, found)
        self.adam.state.clear()

    patch.setattr(actor._Play, "restore", wrong)


def chance_lost(patch: Patch) -> None:
    """Uniforms begin again."""
    patch.setattr(temporal.Uniforms, "restore", lambda self, tensors: None)


def blocks_lost(patch: Patch) -> None:
    """The place in the block comes back, the block is the first one."""
    right = temporal.Uniforms.restore

    def wrong(self: temporal.Uniforms, tensors: Mapping[str, Tensor]) -> None:
        right(self, {**tensors, "chance/drawn": tensors["chance/drawn"].clamp(max=1)})

    patch.setattr(temporal.Uniforms, "restore", wrong)


def world_lost(patch: Patch) -> None:
    """The world stands at its beginning."""
    patch.setattr(TableWorld, "restore", lambda self, state: None)


LESSONS = check_resumed_lessons_equal_uninterrupted
MUTANTS = (
    Mutant("Adam's moments not restored", check_resumed_equals_uninterrupted, moments_forgotten),
    Mutant("Adam's step count not restored", check_resumed_equals_uninterrupted, steps_forgotten),
    Mutant("best state not restored", check_resumed_equals_uninterrupted, best_state_lost),
    Mutant("best ELBO not restored", check_resumed_equals_uninterrupted, best_elbo_lost),
    Mutant("history not restored", check_resumed_equals_uninterrupted, history_lost),
    Mutant("Adam's moments of lessons not restored", LESSONS, moments_forgotten),
    Mutant("best state of lessons not restored", LESSONS, best_of_lessons_lost),
    Mutant("best J not restored", LESSONS, best_j_lost),
    Mutant("history of lessons not restored", LESSONS, lessons_history_lost),
    Mutant("skipped dialogues not restored", LESSONS, skipped_lost),
    *(
        Mutant(
            f"{n} of a value engine not restored", check_values_resume, partial(not_brought_back, temporal._Walk, [n])
        )
        for n in ("values", "visits", "state", "action")
    ),
    *(
        Mutant(f"{n} of the actor not restored", check_policy_resumes, partial(not_brought_back, actor._Play, [n]))
        for n in ("value", "visits", "done")
    ),
    Mutant("moments of the actor not restored", check_policy_resumes, actor_moments_lost),
    Mutant("chance of control not restored", check_values_resume, chance_lost),
    Mutant("blocks of chance not restored", check_values_resume, blocks_lost),
    Mutant("world of control not restored", check_values_resume, world_lost),
    Mutant("manifest written in place", check_a_power_cut_leaves_a_whole_checkpoint, written_in_place),
    Mutant("tensors without their hash in the name", check_a_power_cut_leaves_a_whole_checkpoint, one_name_for_tensors),
)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.name.replace(" ", "_")) for m in MUTANTS])
def test_mutant_dies(mutant: Mutant, which: int) -> None:
    kill(mutant, SEEDS.get(mutant.check, USUAL)[which])
