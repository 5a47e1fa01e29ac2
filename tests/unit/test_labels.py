"""Labels that repeat or contradict one another: reported by place, their effect bounded."""

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.types import Completions
from credence.evidence.labels import gather_labels
from tests.toys import toy_prior


def rows(*tokens: int) -> Completions:
    """Replies of one token, each to a prompt of its own."""
    ids, count = torch.tensor(tokens)[:, None], len(tokens)
    return Completions(ids, torch.ones_like(ids, dtype=torch.bool), torch.ones(count).bool(), torch.arange(count))


PROMPTS = toy_prior().codec.prompts([(), (), (), (1,), (), ()])
SAID, LIKED = rows(0, 0, 0, 0, 1, 0), [True, True, False, True, True, True]


def test_a_copied_label_counts_once_and_a_contradiction_twice() -> None:
    """Another prompt or reply is another label. Rejects a line that pulls harder the more often it is copied."""
    found = gather_labels(PROMPTS, SAID, LIKED)
    assert found.kept == (0, 2, 3, 4)
    assert found.repeated == (1, 5)
    assert found.contradicted == (2,)
    assert gather_labels(PROMPTS, SAID, LIKED, "count").kept == tuple(range(6))


def test_what_was_found_is_said_by_place() -> None:
    places = [f"thumbs.jsonl, line {i}" for i in range(1, 7)]
    assert gather_labels(PROMPTS, SAID, LIKED).words(places) == [
        "2 labels repeat a judgement (thumbs.jsonl, line 2; thumbs.jsonl, line 6)",
        "1 labels contradict an earlier one of the same reply (thumbs.jsonl, line 3)",
    ]
    assert gather_labels(PROMPTS, SAID, LIKED, "count").words()[0].startswith("2 labels repeat")
    assert gather_labels(PROMPTS.take([0]), rows(0), [True]).words() == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="6 prompts, 6 replies, 1 labels"):
        gather_labels(PROMPTS, SAID, [True])
    with pytest.raises(ConfigError, match="no label"):
        gather_labels(PROMPTS.take([]), rows(*[0]).rows(torch.tensor([], dtype=torch.long)), [])
