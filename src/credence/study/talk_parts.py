"""Dialogues as tensors and a JSON tree, for study/parts.py: what was talked is not talked again."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from credence.dialogue.reply import Reply, Said
from credence.dialogue.rollout import Talk
from credence.learn.checkpoint import Checkpoint
from credence.study.parts import Packed


def pack_talks(talks: Sequence[Talk]) -> Packed:
    """Tokens and their nats as tensors, equal prompts once; all else as it is. Test: tests/unit/test_talk_rows.py."""
    said = [action.said for talk in talks for action in talk.actions]
    place = {prompt: i for i, prompt in enumerate(dict.fromkeys(s.prompt for s in said))}
    tensors = {
        "prompt": torch.tensor([place[s.prompt] for s in said]),
        "log_q": torch.tensor([q for s in said for q in s.log_q], dtype=torch.float64),
        **_laid("prompts", list(place)),
        **_laid("ids", [s.ids for s in said]),
    }
    how = [[s.ended, s.by, s.version] for s in said]
    plain = [{**vars(talk), "actions": [str(action) for action in talk.actions]} for talk in talks]
    return tensors, {"talks": plain, "how": how}


def unpack_talks(found: Checkpoint) -> list[Talk]:
    """The inverse."""
    tensors, prompts = found.tensors, _taken("prompts", found.tensors)
    ids = _taken("ids", tensors)
    nats = iter(tensors["log_q"].tolist())
    said = (
        Said(prompts[place], own, tuple(next(nats) for _ in own), *how)
        for place, own, how in zip(tensors["prompt"].tolist(), ids, found.state["how"], strict=True)
    )
    out: list[Talk] = []
    for talk in found.state["talks"]:
        rest = {name: value for name, value in talk.items() if name != "actions"}
        out.append(Talk(**rest, actions=[Reply(text, next(said)) for text in talk["actions"]]))
    return out


def _laid(name: str, rows: Sequence[tuple[int, ...]]) -> dict[str, Int[Tensor, " N"]]:
    """Rows of different lengths end to end, and where each ends."""
    return {
        name: torch.tensor([token for row in rows for token in row], dtype=torch.int32),
        f"{name}_end": torch.tensor(list(accumulate(map(len, rows))), dtype=torch.int64),
    }


def _taken(name: str, tensors: Any) -> list[tuple[int, ...]]:  # noqa: ANN401 - a mapping of tensors
    ends = tensors[f"{name}_end"].tolist()
    flat = tensors[name].tolist()
    return [tuple(flat[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
