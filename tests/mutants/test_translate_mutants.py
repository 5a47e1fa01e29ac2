"""Wrong ways to translate by Bayes' rule; each must fail a check that the right one passes."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from credence.belief import ibm1, memory, translate
from credence.belief.ibm1 import IBM1
from credence.belief.translate import Readings, Weights
from credence.core.logspace import normalise
from credence.study import translate_rows
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.translating import (
    check_a_law_over_texts,
    check_sum_over_alignments,
    check_test_references_choose_nothing,
    check_the_reference_is_no_distractor,
    check_tuned_hears_both_as_much_as_they_are_worth,
)

Patch = pytest.MonkeyPatch


def no_null(patch: Patch) -> None:
    """Every unit of x comes from a unit of y."""
    right = IBM1.table
    patch.setattr(IBM1, "table", lambda self, x, y: right(self, x, y)[:, 1:])


def best_alignment(patch: Patch) -> None:
    """The likeliest link of each unit in place of the sum over links."""
    right = IBM1.table
    patch.setattr(IBM1, "table", lambda self, x, y: right(self, x, y).max(1, keepdims=True) / (len(y) + 1))


def no_length(patch: Patch) -> None:
    """p(m | l) left out."""

    def wrong(self: IBM1, x: Sequence[str], y: Sequence[str]) -> float:
        return float(np.log(self.table(x, y).mean(1)).sum())

    patch.setattr(IBM1, "log_p", wrong)


def leaking_background(patch: Patch) -> None:
    """Units never seen get mass that is taken from no other."""
    right = ibm1.fit_ibm1

    def wrong(*given: object, **named: object) -> IBM1:
        law = right(*given, **named)  # pyright: ignore
        law.background[-1] += 0.05
        return law

    patch.setattr(ibm1, "fit_ibm1", wrong)


def tuned_on_test(patch: Patch) -> None:
    """Weights set where they are measured."""
    right = translate_rows.Found.places
    patch.setattr(translate_rows.Found, "places", lambda self, test: right(self, True)[: self.tuned])
    patch.setattr(translate_rows.Found, "tuned", property(lambda self: len(self.parts.test)))


def not_tuned(patch: Patch) -> None:
    right = translate.fit_laws

    def wrong(rows: Readings, truth: Tensor) -> Weights:
        w = right(rows, truth)
        return Weights(1.0, 1.0, w.channel, w.direct, w.combined, w.likeness)

    patch.setattr(translate, "fit_laws", wrong)


def direct_in_bayes(patch: Patch) -> None:
    """p(y | x) multiplied into Bayes' rule: the source is heard twice."""
    right = translate.translation_laws

    def wrong(rows: Readings, weights: Weights) -> dict[str, Tensor]:
        out = right(rows, weights)
        return {**out, translate.BAYES: normalise(out[translate.BAYES] + rows.direct)}

    patch.setattr(translate, "translation_laws", wrong)


def prior_left_out(patch: Patch) -> None:
    patch.setattr(translate, "bayes_law", lambda log_prior, log_lik: torch.log_softmax(log_lik, 1))


def reference_twice(patch: Patch) -> None:
    """What says the same as the reference stays among the distractors."""
    right = memory.TranslationMemory.translations
    patch.setattr(memory.TranslationMemory, "translations", lambda self, text, k, without="": right(self, text, k))


MUTANTS = (
    Mutant("NULL left out", check_sum_over_alignments, no_null),
    Mutant("likeliest link in place of the sum", check_sum_over_alignments, best_alignment),
    Mutant("length left out", check_a_law_over_texts, no_length),
    Mutant("background that leaks", check_a_law_over_texts, leaking_background),
    Mutant("weights set on test", check_test_references_choose_nothing, tuned_on_test),
    Mutant("not tuned", check_tuned_hears_both_as_much_as_they_are_worth, not_tuned),
    Mutant("direct in Bayes proper", check_tuned_hears_both_as_much_as_they_are_worth, direct_in_bayes),
    Mutant("language model left out of Bayes proper", check_tuned_hears_both_as_much_as_they_are_worth, prior_left_out),
    Mutant("reference among its distractors", check_the_reference_is_no_distractor, reference_twice),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
