"""Which token was moved, and by which evidence: against exact soft values of every prefix."""

import math

import pytest
import torch
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.types import Completions
from credence.diagnose import attribution
from credence.diagnose.attribution import attribute
from credence.evidence.constraint import Constraint
from credence.posterior.exact import as_completions, enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.toys import B, toy_a, toy_prompts

FEW_B = Constraint(lambda tokens: tokens.count(B) < 2, "few b", -1.5)
POSTERIOR = Posterior(toy_a().prior, toy_a().evidence * FEW_B)
EXACT = enumerate_posterior(POSTERIOR, toy_prompts())
DRAWS = 2000
SIGMAS = 5.5
"""Some 200 numbers are compared: the false-alarm rate of all is below 1e-5."""


def texts() -> list[tuple[int, ...]]:
    """A text that ends early, one that ends late, and one that the horizon cuts."""
    ends, horizon = POSTERIOR.prior.ends, POSTERIOR.prior.horizon  # pyright: ignore[reportAttributeAccessIssue]
    short = next(s for s in EXACT.sequences if len(s) == 2 and s[-1] in ends)
    late = next(s for s in EXACT.sequences if len(s) == horizon and s[-1] in ends and s.count(B) >= 2)
    cut = next(s for s in EXACT.sequences if len(s) == horizon and s[-1] not in ends)
    return [short, late, cut]


def row(sequence: tuple[int, ...]) -> Completions:
    return as_completions([sequence], POSTERIOR.prior.ends)  # pyright: ignore[reportAttributeAccessIssue]


def exact_moves(posterior: Posterior, sequence: tuple[int, ...]) -> Tensor:
    value = enumerate_posterior(posterior, toy_prompts()).log_value
    levels = torch.tensor([value[sequence[:t]] for t in range(len(sequence) + 1)], dtype=torch.float64)
    return levels[1:] - levels[:-1]


def check(seed: int) -> None:
    """Every number within its error, and errors that are small."""
    for sequence in texts():
        found = attribute(POSTERIOR, toy_prompts(), row(sequence), Key(seed), DRAWS)
        right = exact_moves(POSTERIOR, sequence)
        assert float(found.se.max()) < 0.1
        assert bool(((found.moved - right).abs() <= SIGMAS * found.se + 1e-9).all())
        for f, left in enumerate((toy_a().evidence, FEW_B)[::-1]):
            owed = right - exact_moves(Posterior(POSTERIOR.prior, left), sequence)
            assert bool(((found.of[f] - owed).abs() <= SIGMAS * found.of_se[f] + 1e-9).all())


@pytest.mark.parametrize("seed", [0, 1])
def test_moves_are_those_of_exact_soft_values(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("sequence", texts(), ids=str)
def test_the_moves_add_up_to_the_evidence_less_log_z(sequence: tuple[int, ...]) -> None:
    found = attribute(POSTERIOR, toy_prompts(), row(sequence), Key(3), 16)
    assert float(found.moved.sum()) == pytest.approx(found.log_lik - found.log_z, abs=1e-9)
    assert found.log_lik == pytest.approx(EXACT.log_value[sequence], abs=1e-12)
    assert found.names[1] == "few b"
    assert found.of.shape == found.of_se.shape == (2, len(sequence))


def test_the_standard_error_is_the_spread_over_keys() -> None:
    sequence = texts()[1]
    found = [attribute(POSTERIOR, toy_prompts(), row(sequence), Key(k), 64) for k in range(60)]
    spread = torch.stack([f.moved for f in found]).std(0)
    told = torch.stack([f.se for f in found]).mean(0)
    assert bool(((told / spread - 1).abs() < 0.5)[told > 1e-9].all())


def test_an_unfinished_text_is_read_to_where_it_stands() -> None:
    sequence = texts()[1][:2]
    found = attribute(POSTERIOR, toy_prompts(), row(sequence), Key(5), DRAWS)
    right = exact_moves(POSTERIOR, sequence)
    assert bool(((found.moved - right).abs() <= SIGMAS * found.se + 1e-9).all())


def test_a_token_that_the_evidence_forbids_is_moved_to_minus_infinity_without_noise() -> None:
    hard = Posterior(POSTERIOR.prior, Constraint(lambda tokens: tokens.count(B) < 2, "few b"))
    sequence = texts()[1]
    found = attribute(hard, toy_prompts(), row(sequence), Key(0), 256)
    forbidden = torch.isneginf(found.moved)
    assert int(forbidden.sum()) == 1
    assert float(found.se[forbidden]) == 0
    assert bool(torch.isnan(found.moved[int(forbidden.nonzero()) + 1 :]).all())


def test_what_cannot_be_taken_apart_is_named() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        attribute(POSTERIOR, toy_prompts(), row(texts()[0]), Key(0), 1)
    with pytest.raises(ShapeError, match="one text of 1 to"):
        attribute(POSTERIOR, toy_prompts(), row(texts()[0] * 9), Key(0), 8)


@pytest.mark.parametrize("seed", [0, 1])
def test_continuations_of_the_wrong_prefix_are_found_out(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that dies: each token's continuations begin one token late."""
    continued = attribution._continued

    def late(prior, prompts, text, key, prefixes, draws):  # noqa: ANN001, ANN202 - stands in for _continued
        return continued(prior, prompts, text, key, (prefixes + 1).clamp(max=int(text.mask.sum())), draws)

    monkeypatch.setattr(attribution, "_continued", late)
    with pytest.raises(AssertionError):
        check(seed)


def test_an_empty_piece_of_evidence_moves_nothing() -> None:
    alone = Posterior(POSTERIOR.prior, FEW_B)
    found = attribute(alone, toy_prompts(), row(texts()[0]), Key(0), 64)
    assert torch.equal(found.of[0], found.moved)
    assert not math.isnan(float(found.ess.min()))
