"""Lessons that are killed and go on, shared by tests/unit, tests/mutants and tests/e2e.

As a program (`python -m tests.dialogue_survival FOLDER SEED KILLS`) it forks children that do what `credence dialogue
train` does, for a law over candidates, and kills each at a random moment, as tests/survival.py does.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from credence.core.keys import Key
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.candidates import CandidatePrior, candidate_policy, versions
from credence.dialogue.env import DialogueEnv
from credence.dialogue.grounding import Grams, Retriever
from credence.dialogue.knowledge import Entry
from credence.dialogue.lessons import Learnt, Lessons, learn
from credence.dialogue.users import User
from credence.evidence.reward import Reward
from credence.learn.checkpoint import Checkpoints, save_json, write_whole
from tests.dialogues import goals, letters
from tests.survival import Diary, best_is_brought_back, broken_off, kill_often

STEPS, EVERY = 14, 3
LESSONS = Lessons(1, 2, STEPS, 0.5, validate_every=2, validation_rollouts=2)


def people() -> list[User]:
    return [User(f"u{i}", goal, key=Key(i)) for i, goal in enumerate(goals(4))]


def fails_at_times(prompts: list, completions: list[str]) -> list[float]:
    """A reward that some replies break: those dialogues are skipped, and counted."""
    if any("0" in reply for reply in completions):
        raise ValueError("no zeros")
    return [-abs(len(reply) - 20) / 10 for reply in completions]


def desk() -> DialogueAgent:
    """A law over the answers of six goals; Grams needs no model."""
    known = tuple(Entry(f"e{i}", g.question, g.answer) for i, g in enumerate(goals(6)))
    base = CandidatePrior(versions([e.answer for e in known], (12, 80)), Retriever(known, Grams()), 4)
    return DialogueAgent(candidate_policy(base), base, Key(0))


def teach(
    folder: Path, seed: int, stop: Callable[[int], None] = lambda step: None, every: int = EVERY,
    lessons: Lessons = LESSONS,
) -> Learnt:  # fmt: skip
    """Lessons whose best step is neither their first nor their last, going on with what `folder` holds."""
    agent, evidence, pleased = desk(), Reward(fails_at_times, 0.5), Reward(letters, 1.0)

    def env(users: list[User]) -> DialogueEnv:
        return DialogueEnv(users, evidence, pleased, max_turns=2)

    done = learn(
        agent, lambda: env(people()[:2]), 2, lambda: env(people()[2:]), 2, lessons, Key(seed),
        callbacks=[Diary(folder / "history.jsonl", stop)], checkpoints=Checkpoints(folder / "checkpoints"),
        checkpoint_every=every,
    )  # fmt: skip
    write_whole(folder / "policy.safetensors", save(agent.policy.state()))
    return done


def check_resumed_lessons_equal_uninterrupted(seed: int) -> None:
    """Broken off twice, each time between two checkpoints: the same bytes, and the same Learnt."""
    wanted, found = broken_off(teach, seed)
    best_is_brought_back(wanted.best)
    assert (found.best, found.best_j, found.skipped) == (wanted.best, wanted.best_j, wanted.skipped)


def run(folder: Path, seed: int) -> None:
    """A whole run of the command's own function; its page needs a second, and is not what is tested."""
    from credence.study import dialogue
    from credence.study.dialogue_config import load_dialogue

    dialogue.render = lambda report: "<html>"
    changes = ("learn.steps=12", "learn.checkpoint_every=2", "learn.lr=0.5", "learn.validation_rollouts=4")
    config = load_dialogue(folder.parent / "desk.toml", [f"seed={seed}", *changes])
    dialogue.train_dialogue(config, folder, resume=True)


if __name__ == "__main__":
    from tests.e2e.test_dialogue import CANDIDATES, write

    torch.set_num_threads(1)
    place, number, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    write(place, CANDIDATES)
    save_json(place / "told.json", kill_often(place, number, kills, run, "checkpoints/learn", 0.8))
