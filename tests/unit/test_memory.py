"""The translation memory: BM25 by hand, candidates that differ, the reference's place by the key alone."""

import math

import numpy as np
import pytest

from credence.belief.memory import K1, B, TranslationMemory, candidate_set, of_pairs
from credence.core.errors import ConfigError, ShapeError
from tests.translating import sentences


def test_scores_by_hand() -> None:
    memory = TranslationMemory(("猫 狗", "猫 猫", "鱼"), ("a b", "c c", "d"))
    sizes, mean = (3, 3, 1), 7 / 3  # units and pairs of neighbours
    wanted = [0.0, 0.0, 0.0]
    for gram, held in (("猫", {0: 1, 1: 2}), ("猫 猫", {1: 1})):
        idf = math.log(1 + (3 - len(held) + 0.5) / (len(held) + 0.5))
        for d, f in held.items():
            wanted[d] += idf * f * (K1 + 1) / (f + K1 * (1 - B + B * sizes[d] / mean))
        assert gram
    found = memory.nearest("猫猫", 9)
    assert [i for i, _ in found] == [1, 0]
    assert dict(found) == pytest.approx({i: wanted[i] for i in (0, 1)})
    assert memory.nearest("xyz", 3) == []
    assert memory.nearest("", 3) == []


def test_translations_differ_from_one_another_and_from_the_reference() -> None:
    memory = TranslationMemory(("猫来", "猫去", "猫在", "狗"), ("It comes.", "it  COMES .", "It is here.", "dog"))
    assert memory.translations("猫", 4) == [0, 2]
    assert memory.translations("猫", 4, without="It is  HERE.") == [0]
    assert memory.translations("猫", 1) == [0]


def test_candidates_hold_the_reference_once_and_its_place_is_drawn() -> None:
    memory, places = of_pairs(sentences()[:60]), list[int]()
    source, reference = sentences()[100]
    for seed in range(40):
        texts, place = candidate_set(memory, source, reference, 4, np.random.Generator(np.random.Philox(key=seed)))
        assert texts[place] == reference
        assert len(set(texts)) == len(texts) == 4
        places.append(place)
    assert set(places) == {0, 1, 2, 3}
    again, place = candidate_set(memory, source, reference, 4, np.random.Generator(np.random.Philox(key=39)))
    assert (again, place) == (texts, places[-1])


def test_chance_fills_up_and_a_small_memory_is_refused() -> None:
    memory, rng = (
        TranslationMemory(("猫", "狗", "鱼"), ("cat", "dog", "fish")),
        np.random.Generator(np.random.Philox(1)),
    )
    texts, place = candidate_set(memory, "nothing shared", "bird", 4, rng)
    assert sorted(texts) == ["bird", "cat", "dog", "fish"]
    assert texts[place] == "bird"
    with pytest.raises(ConfigError, match="ask for fewer"):
        candidate_set(memory, "猫", "cat", 4, rng)
    for sources, targets, kind in (((), (), ConfigError), (("a",), (), ShapeError)):
        with pytest.raises(kind):
            TranslationMemory(sources, targets)
