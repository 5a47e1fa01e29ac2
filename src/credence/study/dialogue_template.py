"""A whole config of `credence dialogue train` to start from: every setting with its meaning, and values that work."""

from typing import Any

from credence.dialogue.debian_faq import SCHEME
from credence.dialogue.language import check_language
from credence.study.dialogue_config import DialogueConfig
from credence.study.toml import described, toml_value

_ENGLISH: dict[str, Any] = {
    "prior": {"system": "", "temperature": 0.7, "horizon": 32},
    "users": {"strictness": [0.3, 0.5], "heldout": 32},
    "talk": {"max_turns": 2},
    "evidence": {
        "reward": [
            {"fn": "answer", "beta": 0.1},
            {"fn": "brief", "beta": 0.3},
            {"fn": "polite", "beta": 0.5},
            {"fn": "turn", "beta": 0.5},
            {"fn": "solved", "beta": 0.25},
        ]
    },
    "learn": {
        "method": "lora",
        "products": "bfloat16",
        "steps": 20,
        "lr": 2e-4,
        "validate_every": 10,
        "validation_rollouts": 3,
    },
}
_CHINESE: dict[str, Any] = {
    "prior": {"system": "", "temperature": 1.0},
    "users": {"validation": 16, "heldout": 40},
    "talk": {"system": "请只根据以下资料，用一句话友好地回答用户的问题：{knowledge}"},
    "candidates": {"chars": [40, 120, 240]},
    "evidence": {
        "reward": [
            {"fn": "answer", "beta": 0.2},
            {"fn": "brief", "beta": 2.0},
            {"fn": "turn", "beta": 0.2},
            {"fn": "solved", "beta": 0.2},
        ],
        "ended": {"cut": 0.0},
    },
    "learn": {"users": 16, "rollouts": 8, "steps": 40, "lr": 0.2, "validate_every": 5},
    "measure": {"rollouts": 8},
}
_FAST: dict[str, dict[str, Any]] = {
    "en": {
        "users.heldout": 6, "users.validation": 4, "learn.users": 4, "learn.rollouts": 4, "learn.steps": 3,
        "learn.validate_every": 3, "measure.rollouts": 2,
    },
    "zh": {
        "candidates.score": False, "users.heldout": 16, "users.validation": 8, "learn.steps": 10, "measure.rollouts": 4,
    },
}  # fmt: skip


def dialogue_template(language: str = "en") -> str:
    """The file, with the values of the language's helpdesk in examples/. Test: tests/unit/test_dialogue_config.py.

    Raises:
        ConfigError: a language that simulated users do not speak.
    """
    given = {"en": _ENGLISH, "zh": _CHINESE}[check_language(language)]
    source = f"{SCHEME}:{language}"
    given = {
        **given,
        "name": "my-dialogue",
        "users": {"source": source, **given["users"]},
        "talk": {"knowledge": source, **given["talk"]},
    }
    lines = [
        "# An agent that learns by talking with simulated users: credence dialogue train THIS_FILE",
        f"# Once before: credence knowledge import {source}, or name a file of your own in users.source and",
        "# talk.knowledge (.csv with columns question and answer, .md, .html).",
        "# Settings behind a # are optional. Rewards by name: overlap, answer, brief, polite, turn, solved; or your",
        '# own, "file.py:function". A reward paid in every turn makes it pay to go on talking: `turn` takes as much',
        "# back, and `solved` makes it pay to be done.",
        "",
    ]
    lines += described(DialogueConfig, given)
    lines += ["", "# `credence dialogue train --fast` lays this table over the rest.", "[fast]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in _FAST[language].items()]
    return "\n".join(lines) + "\n"
