"""MMD and the classifier test on hand-made draws and on TOY-A's exact laws."""

import math

import numpy as np
import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.diagnose.two_sample import TwoSample, compare, mmd2, token_kernel, two_sample
from credence.sample.importance import Importance
from credence.sample.rejection import Rejection
from tests.toys import toy_a, toy_prior, toy_prompts, toy_two, two_prompts


def test_the_kernel_by_hand() -> None:
    """Of ab: a, b, edge, edge, (edge a), (a b), (b edge), …; of ab and ac at 1 gram, cos = (1 + 4)/6."""
    k = token_kernel(["ab", "ac", "ab", (0, 1)], grams=1)
    cos = (1 * 1 + 2 * 2) / (1 + 1 + 4)
    assert k[0, 1] == pytest.approx(cos / 2)
    assert k[0, 2] == pytest.approx(1)
    assert k[0, 3] == pytest.approx(4 / 6 / 2)  # strings and tokens share nothing but their edges
    assert torch.allclose(k, k.T)
    assert torch.allclose(k.diagonal(), torch.ones(4).double())
    assert token_kernel(["", "a"])[0, 0] == pytest.approx(1)
    chinese = token_kernel(["今天好", "今天不好"])
    assert 0.2 < float(chinese[0, 1]) < 0.5


def test_mmd_by_hand() -> None:
    kernel = torch.tensor([[1.0, 0.6, 0.1, 0.2], [0.6, 1.0, 0.3, 0.0], [0.1, 0.3, 1.0, 0.5], [0.2, 0.0, 0.5, 1.0]])
    found = mmd2(kernel.double(), np.array([True, True, False, False]))
    assert found == pytest.approx(0.6 + 0.5 - 2 * (0.1 + 0.2 + 0.3 + 0.0) / 4)


def test_the_same_draws_are_not_told_apart_and_other_ones_are() -> None:
    words = ["red", "rose", "teal", "tan", "lead"] * 8
    same = two_sample(words, words, Key(1), permutations=99)
    assert same.mmd2 < 0  # unbiased: a set against itself comes out below 0
    assert same.mmd_p > 0.5
    other = two_sample(words, [w[::-1] for w in words], Key(1), permutations=99)
    assert (other.mmd_p, other.accuracy_p) == (0.01, 0.01)
    assert other.accuracy == 1
    assert other.total_variation == 1
    assert [f.ok for f in other.findings(0.05)] == [False, False]
    assert "the laws differ" in other.findings(0.05)[0].meaning
    assert [f.ok for f in same.findings()] == [True, True]


def test_a_difference_in_one_prompt_only_is_seen() -> None:
    """Labels are permuted within a prompt; prompts of unequal size on the two sides are no difference."""
    a, b = ["red"] * 10 + ["tan", "teal"] * 15, ["red"] * 30 + ["tan", "teal"] * 10
    where_a, where_b = [0] * 10 + [1] * 30, [0] * 30 + [1] * 20
    assert two_sample(a, b, Key(1), where_a, where_b, 199).mmd_p > 0.05
    b[-20:] = ["tan"] * 18 + ["teal"] * 2
    assert two_sample(a, b, Key(1), where_a, where_b, 199).mmd_p <= 0.02


def test_draws_of_engines_are_compared_prompt_by_prompt() -> None:
    exact = Rejection(bound=2.0).draw(Key(1), toy_two(), two_prompts(), 40)
    again = Rejection(bound=2.0).draw(Key(2), toy_two(), two_prompts(), 40)
    found = compare(exact, again, Key(3), 99)
    assert isinstance(found, TwoSample)
    assert found.tested == 80
    assert found.accuracy_se == pytest.approx(math.sqrt(0.25 / 80))
    with pytest.raises(ConfigError, match="the second draws are weighted"):
        compare(exact, Importance().draw(Key(1), toy_two(), two_prompts(), 40), Key(3))
    with pytest.raises(ConfigError, match="different prompts"):
        compare(exact, Rejection().draw(Key(1), toy_a(), toy_prompts(), 40), Key(3))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ShapeError, match="prompt 0: 7 draws against 9; at least 8"):
        two_sample(["a"] * 7, ["b"] * 9, Key(0))
    with pytest.raises(ShapeError, match="prompt 1: 0 draws against 8"):
        two_sample(["a"] * 8, ["b"] * 16, Key(0), [0] * 8, [0] * 8 + [1] * 8)
    with pytest.raises(ShapeError, match="one each"):
        two_sample(["a"] * 8, ["b"] * 8, Key(0), [0] * 3)
    with pytest.raises(ConfigError, match="permutations=0"):
        two_sample(["a"] * 8, ["b"] * 8, Key(0), permutations=0)
    with pytest.raises(ConfigError, match="grams=0"):
        token_kernel(["a"], 0)
    with pytest.raises(ShapeError, match="no sequence"):
        token_kernel([])


def test_the_same_key_gives_the_same_answer() -> None:
    a, b = (toy_prior().sample(Key(k), toy_prompts(), 20)[0].tokens() for k in (1, 2))
    assert two_sample(a, b, Key(5), permutations=49) == two_sample(a, b, Key(5), permutations=49)
