"""The remedies of a one-sentence target on TOY-A: exact optima, and estimates that stand beside exact values."""

import math
from functools import partial

import pytest

from credence.core.keys import Key
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.tabular import tabular_policy
from credence.study.sentence import REMEDIES, Case, Effort, remedies, trained, untrained
from tests.toys import toy_a, toy_prior, toy_prompts

EFFORT = Effort(5.0, 0.5, 0.1, 32, 64, (20, 20, 20, 20), (0.2, 0.2, 0.4, 0.4), 400)
SENTENCE = (0, 1, 0, 2)


def toy(listed: bool) -> Case:
    start = partial(tabular_policy, toy_prior(), toy_prompts())
    every = enumerate_posterior(toy_a(), toy_prompts()) if listed else None
    return Case("TOY-A", toy_prior(), toy_prompts(), SENTENCE, start, EFFORT, every)


def test_each_optimum_is_the_surprisal_under_its_enumerated_posterior() -> None:
    case = toy(True)
    for remedy in remedies(case, Key(0)):
        law = enumerate_posterior(Posterior(case.prior, remedy.evidence), case.prompts)
        assert remedy.optimum == pytest.approx(-float(law.log_p[law.index()[SENTENCE]]), abs=1e-10), remedy.name
    blind = {remedy.name: remedy.optimum for remedy in remedies(toy(False), Key(0))}
    assert math.isnan(blind.pop("graded reward"))
    assert all(math.isfinite(optimum) for optimum in blind.values())


def test_the_prior_is_measured_as_it_stands() -> None:
    found = untrained(toy(True), Key(1))
    assert found.path == (pytest.approx(3.8933912134, abs=1e-10),)
    assert found.hit.exact == pytest.approx(math.exp(-3.8933912134), abs=1e-10)
    assert [found.kl_prior.value, found.kl_prior.exact] == pytest.approx([0, 0], abs=1e-12)
    assert found.kl_mixture.exact == pytest.approx(toy(True).begin.mixture(0.1)[1], abs=1e-10)
    for seen in (found.hit, found.edits, found.kl_mixture):
        assert seen.exact is not None
        assert abs(seen.value - seen.exact) <= 4.9 * seen.se + 1e-12  # 1e-6 each, seed fixed
    blind = untrained(toy(False), Key(1))
    assert (blind.hit, blind.edits.exact, blind.kl_mixture.exact) == (found.hit, None, None)


@pytest.mark.parametrize("which", range(4), ids=REMEDIES)
def test_training_moves_towards_the_sentence_and_is_counted(which: int) -> None:
    case, shares = toy(True), list[float]()
    remedy = remedies(case, Key(0))[which]
    found = trained(case, remedy, Key(2), shares.append)
    assert found.path[0] == pytest.approx(3.8933912134, abs=1e-10)
    assert abs(found.path[-1] - remedy.optimum) < 0.3 * (found.path[0] - remedy.optimum)
    assert len(found.path) == 1 + remedy.steps == 1 + len(shares)
    assert shares == sorted(shares)
    assert (found.drawn, found.hits > 0) == ((32 * 20, True) if which < 2 else (0, False))
    assert found.kl_posterior is not None
    assert (found.kl_posterior == math.inf) == (which == 3)  # δ is reached by no softmax
    assert found.hit.exact == pytest.approx(math.exp(-found.path[-1]), abs=1e-10)
