"""Scoring a text and comparing two models: exact on tables, half characters on a byte-level tokenizer."""

import math

import pytest
import torch

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.posterior.exact import tree
from credence.prior.reshape import reshape
from credence.study.probe import TextScore, kl_between
from tests.toys import toy_policy, toy_prior, toy_prompts


def exact_kl() -> float:
    """KL(policy‖prior) on TOY-A by enumeration."""
    laws = []
    for prior in (toy_policy(), toy_prior()):
        leaves, _, step = tree(prior, toy_prompts())
        laws.append(torch.stack([sum(step[s[:t]][s[t]] for t in range(len(s))) for s in leaves]))
    return float(kl(laws[0], laws[1]))


def test_kl_between_is_unbiased_with_an_honest_error() -> None:
    # False alarm 1e-6 (|z| < 4.9), seed fixed. Rejects: the arguments swapped (KL(prior‖policy) lies 20 errors away),
    # an error without 1/√n, the mean over tokens instead of the sum.
    n = 4000
    found = kl_between(toy_policy(), toy_prompts(), toy_prior(), toy_prompts(), n, Key(5))
    assert abs(found.value - exact_kl()) < 4.9 * found.se
    assert 0.3 / math.sqrt(n) < found.se < 0.6 / math.sqrt(n)  # the exact standard deviation is 0.4593
    assert found.support.ok
    assert found.by_prompt == pytest.approx([found.value])


def test_kl_between_is_inf_once_a_draw_is_impossible_and_zero_to_itself() -> None:
    same = kl_between(toy_prior(), toy_prompts(), toy_prior(), toy_prompts(), 50, Key(0))
    assert (same.value, same.se) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    cut = kl_between(toy_prior(), toy_prompts(), reshape(toy_prior(), top_k=1), toy_prompts(), 50, Key(0))
    assert (cut.value, cut.se) == (math.inf, math.inf)
    assert not cut.support.ok


def test_bits_per_byte_leaves_the_end_token_out() -> None:
    found = TextScore("raw", (1, 2, 3), ("a", "b", "⟨end⟩"), (-math.log(2), -math.log(4), -9.0), True, "", "", 2)
    assert found.bits_per_byte == pytest.approx(1.5)
    assert found.nats == pytest.approx(-9 - math.log(8))
    assert math.isnan(TextScore("raw", (3,), ("⟨end⟩",), (-1.0,), True, "", "", 0).bits_per_byte)
