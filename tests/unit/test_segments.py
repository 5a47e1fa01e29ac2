"""Where SMC may resample, on TOY-A: what the twist is asked, and when."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.sample.segments import EVERY_TOKEN, Segments, sentence_ends
from credence.sample.smc import SMC
from credence.testing.statistics import copies
from tests.statistical.conditional_checks import check_segments_rule
from tests.toys import toy_a, toy_prompts


class Asked:
    """Half a nat for each 0, and a record of every prefix that it was asked of."""

    def __init__(self) -> None:
        self.prefixes: list[list[int]] = []

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        self.prefixes += completions.tokens()
        return torch.tensor([0.5 * row.count(0) for row in completions.tokens()], dtype=torch.float64)


def test_a_segment_ends_by_its_tokens_or_its_length() -> None:
    token, since = torch.tensor([5, 1, 7, 1]), torch.tensor([1, 2, 3, 3])
    assert Segments(frozenset({5, 7})).closed(token, since).tolist() == [True, False, True, False]
    assert Segments(frozenset({5}), 3).closed(token, since).tolist() == [True, False, True, True]
    assert EVERY_TOKEN.closed(token, since).tolist() == [True] * 4


@pytest.mark.parametrize("segments", [Segments(most=2), Segments(frozenset({0})), Segments(frozenset({0}), 2)])
def test_the_twist_is_asked_at_segment_ends_alone(segments: Segments) -> None:
    twist = Asked()
    SMC(8, 2, 0.9, twist=twist, segments=segments).draw(Key(1), toy_a(), copies(toy_prompts(), 20), 2)
    assert twist.prefixes
    for prefix in twist.prefixes:
        since = 0
        for token in prefix:  # the last token must end a segment that began where the one before it ended
            since += 1
            ended = token in segments.ends or since == segments.most
            since = 0 if ended else since
        assert since == 0, prefix


def test_segments_of_every_token_are_the_plain_engine() -> None:
    plain, same = Asked(), Asked()
    first = SMC(8, 2, 0.9, twist=plain).draw(Key(1), toy_a(), toy_prompts(), 9)
    second = SMC(8, 2, 0.9, twist=same, segments=Segments(most=1)).draw(Key(1), toy_a(), toy_prompts(), 9)
    assert first.texts() == second.texts()
    assert torch.equal(first.log_z, second.log_z)
    assert plain.prefixes == same.prefixes


def test_one_segment_is_importance_sampling() -> None:
    whole = SMC(8, 2, 1.0, twist=Asked(), segments=Segments(most=99)).draw(Key(1), toy_a(), toy_prompts(), 9)
    never = SMC(8, 2, 0.0).draw(Key(1), toy_a(), toy_prompts(), 9)
    assert float(whole.info["resamplings"][0]) == 0
    assert whole.texts() == never.texts()
    assert torch.equal(whole.log_z, never.log_z)


def test_an_island_waits_for_its_slowest_particle() -> None:
    """What it rejects: tests/mutants/test_conditional_mutants.py."""
    check_segments_rule(1)


class Words:
    """A codec of seven tokens, one of them special."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(["a", " b.", '?"', "\n", "。", ".c", ""][i] for i in ids)

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        raise NotImplementedError


def test_sentence_ends_are_tokens_whose_text_ends_one() -> None:
    assert sentence_ends(Words(), 7) == frozenset({1, 2, 3, 4})
    assert sentence_ends(Words(), 7, "c") == frozenset({5})
    with pytest.raises(ConfigError, match="none of 7 tokens"):
        sentence_ends(Words(), 7, ";")
    with pytest.raises(ConfigError, match="no text"):
        sentence_ends(toy_a().prior.codec, 3)


def test_what_is_no_segment_is_refused() -> None:
    with pytest.raises(ConfigError, match="the tokens that end"):
        Segments()
    with pytest.raises(ConfigError, match="most=0"):
        Segments(most=0)
