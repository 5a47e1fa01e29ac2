"""The baseline: words or characters by how a language is written, its strength by validation."""

import pytest
import torch

from credence.belief.bag_of_words import fit_bag_of_words
from credence.core.errors import ConfigError
from tests.classifying import LABELS, rows


def test_characters_where_there_are_no_spaces_and_words_where_there_are() -> None:
    texts = [text for text, _ in rows()]
    truth = torch.tensor([LABELS.index(label) for _, label in rows()])
    found = fit_bag_of_words(texts, truth, texts[::3], truth[::3])
    assert found.units == "characters"
    law = found.log_p(["房间干净，喜欢。", "太吵，退货"])
    assert law.argmax(1).tolist() == [1, 0]
    assert torch.allclose(law.exp().sum(1), torch.ones(2).double())
    english = ["a good film", "so good", "a bad film", "so bad"]
    found = fit_bag_of_words(english, torch.tensor([1, 1, 0, 0]), ["good", "bad"], torch.tensor([1, 0]))
    assert found.units == "words"
    assert "a" in found.counts.vocabulary_  # one letter is a word too
    assert "a good" in found.counts.vocabulary_


def test_labels_by_chance_are_held_back() -> None:
    texts = [f"w{i} x{i % 7}" for i in range(60)]
    truth = torch.tensor([(i * 7919 % 13) % 2 for i in range(60)])
    found = fit_bag_of_words(texts[:40], truth[:40], texts[40:], truth[40:])
    assert found.strength <= 0.3


def test_texts_without_a_word() -> None:
    with pytest.raises(ConfigError, match="holds a word"):
        fit_bag_of_words([". .", "! !"], torch.tensor([0, 1]), ["?"], torch.tensor([0]))
