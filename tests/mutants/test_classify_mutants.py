"""Wrong ways to classify; each must fail a check that the right one passes."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from credence.belief import classify, verbaliser
from credence.core.logspace import normalise
from credence.core.types import Completions
from credence.study import classify_rows
from tests import classifying
from tests.classifying import (
    check_correction_moves_the_mean,
    check_direct_sums_all_tokens,
    check_prior_is_heard,
    check_tempered_channel,
    check_test_labels_choose_nothing,
)
from tests.mutants.runner import SEEDS, Mutant, kill, params

Patch = pytest.MonkeyPatch


def first_token_only(patch: Patch) -> None:
    """Labels compared by the first token of their words: "so good" and "so bad" are then one."""
    right = verbaliser._completions

    def wrong(ids: Sequence[Sequence[int]], owners: Tensor) -> Completions:
        return right([row[:1] for row in ids], owners)

    patch.setattr(verbaliser, "_completions", wrong)


def mean_of_tokens(patch: Patch) -> None:
    """A word's mean log-probability a token in place of its sum."""
    right = verbaliser.direct_log_p

    def wrong(prior: object, v: verbaliser.Verbaliser, labels: Sequence[str], texts: object) -> Tensor:
        sizes = torch.tensor([len(ids) for ids in v.answers(prior, labels)])  # pyright: ignore
        return right(prior, v, labels, texts) / sizes  # pyright: ignore

    patch.setattr(classifying, "direct_log_p", wrong)


def tempered_on_test(patch: Patch) -> None:
    """τ fitted to the labels of the test texts."""
    patch.setattr(classify_rows.Found, "tuned", classify_rows.Found.truth)


def not_tempered(patch: Patch) -> None:
    patch.setattr(classify_rows, "fit_tau", lambda *given: 1.0)


def without_prior(patch: Patch) -> None:
    """p(x | y) alone, as if the labels were alike."""

    def wrong(log_lik: Tensor, log_prior: Tensor, tau: float = 1.0) -> Tensor:
        return normalise(tau * log_lik.double())

    for room in (classify, classify_rows, classifying):
        patch.setattr(room, "channel_law", wrong)


def prior_tempered_too(patch: Patch) -> None:
    """(p(y) p(x | y))^τ."""

    def wrong(log_lik: Tensor, log_prior: Tensor, tau: float = 1.0) -> Tensor:
        return normalise(tau * (log_prior + log_lik.double()))

    patch.setattr(classify_rows, "channel_law", wrong)


def multiplied(patch: Patch) -> None:
    """The mean answer multiplied in, not divided out."""
    patch.setattr(classify_rows, "corrected", lambda law, mean, prior: normalise(prior + law + mean))


def uncorrected(patch: Patch) -> None:
    patch.setattr(classify_rows, "corrected", lambda law, mean, prior: law)


MUTANTS = (
    Mutant("first token of a word only", check_direct_sums_all_tokens, first_token_only),
    Mutant("mean of a word's tokens", check_direct_sums_all_tokens, mean_of_tokens),
    Mutant("temper fitted on test", check_test_labels_choose_nothing, tempered_on_test),
    Mutant("not tempered", check_tempered_channel, not_tempered),
    Mutant("label prior left out", check_tempered_channel, without_prior),
    Mutant("label prior left out of a silent text", check_prior_is_heard, without_prior),
    Mutant("label prior tempered too", check_tempered_channel, prior_tempered_too),
    Mutant("mean answer multiplied in", check_correction_moves_the_mean, multiplied),
    Mutant("mean answer left in", check_correction_moves_the_mean, uncorrected),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, ()))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
