"""Where evidence is settled: what it says, what a value is taught, and whom SMC follows from there on."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.core.types import Completions
from credence.evidence.constraint import Constraint, between, contains
from credence.evidence.ended import Ended
from credence.evidence.product import settled
from credence.learn.loop import fit
from credence.learn.values.ctl import CTL
from credence.posterior.exact import as_completions, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.posterior.settled import UntilSettled, until_settled
from credence.posterior.twist import Twisted
from credence.prior.guided_table import guided_table
from credence.prior.table import TablePrior
from credence.sample.smc import SMC
from credence.testing import check_step_prior
from tests.toys import EOS, B, toy_policy, toy_prior, toy_prompts

HAS_B = Constraint(lambda tokens: B in tokens, "has b", lasting=True)
POSTERIOR = Posterior(toy_prior(), HAS_B)
EXACT = enumerate_posterior(POSTERIOR, toy_prompts())


def rows(*sequences: tuple[int, ...]) -> Completions:
    return as_completions(list(sequences), frozenset({EOS}))


def test_only_lasting_events_settle_and_only_where_they_hold() -> None:
    some = rows((0, B), (0, 0), (B,), (0, EOS))
    assert settled(HAS_B, toy_prompts(), some).tolist() == [True, False, True, True]
    passing = Constraint(HAS_B.holds, "has b")
    assert settled(passing, toy_prompts(), some).tolist() == [False, False, False, True]
    assert settled(HAS_B * Ended(-1.0), toy_prompts(), some).tolist() == [False, False, False, True]
    assert settled(HAS_B**0.5, toy_prompts(), some).tolist() == [True, False, True, True]
    assert contains("blue").lasting
    assert not between(0, 5).lasting


def test_a_settled_text_keeps_its_nats_whatever_follows() -> None:
    """The law behind `lasting`, on every prefix of the language."""
    for prefix in EXACT.prefixes[1:]:
        if bool(settled(HAS_B, toy_prompts(), rows(prefix))[0]):
            ends = [
                float(lik) for s, lik in zip(EXACT.sequences, EXACT.log_lik, strict=True) if s[: len(prefix)] == prefix
            ]
            assert set(ends) == {float(HAS_B.log_lik(toy_prompts(), rows(prefix))[0])}


def stored(key: Key, n: int) -> Batch:
    prompts = toy_prompts()
    completions, log_q = toy_prior().sample(key, prompts, n)
    return Batch(prompts, completions, log_q, log_q, POSTERIOR.log_lik(prompts, completions))


def test_draws_are_cut_behind_the_token_that_settles() -> None:
    batch = stored(Key(0), 200)
    short = until_settled(HAS_B, batch)
    for whole, part in zip(batch.completions.tokens(), short.completions.tokens(), strict=True):
        assert part == (whole[: whole.index(B) + 1] if B in whole else whole)
    assert torch.equal(short.log_lik, batch.log_lik)
    assert bool((short.log_q[~short.completions.mask] == 0).all())


def test_the_value_learnt_up_to_there_is_the_soft_value_and_the_draws_are_exact() -> None:
    """CTL on cut draws, then SMC by guide and twist: log Z to a thousandth, all weights nearly equal."""
    batch = until_settled(HAS_B, stored(Key(1), 4000))
    guide = guided_table(toy_prior(), toy_prompts())
    fit(POSTERIOR, guide, batch.prompts, CTL(1, 4000, lr=0.05), Key(2), 300, stored=batch)
    twisted = Posterior(toy_prior(), Twisted(HAS_B, guide))
    proposal = UntilSettled(guide, toy_prior(), HAS_B)
    draws = SMC(particles=64, islands=16, proposal=proposal).draw(Key(3), twisted, toy_prompts(), 64)
    assert float(draws.log_z[0]) == pytest.approx(EXACT.log_z, abs=0.02)
    assert float(draws.info["ess_before_draws"][0]) > 0.9 * 1024


def test_it_follows_the_guide_until_the_evidence_is_settled() -> None:
    law = UntilSettled(toy_policy(), toy_prior(), HAS_B)
    check_step_prior(law, toy_prompts()).require()
    for sequence in EXACT.sequences[::7]:
        text = rows(sequence)
        found, guide, prior = (m.score(toy_prompts(), text)[0] for m in (law, toy_policy(), toy_prior()))
        for t in range(len(sequence)):
            assert float(found[t]) == float((prior if B in sequence[:t] else guide)[t])


def test_smc_on_it_is_unbiased() -> None:
    """Mean of Ẑ over 400 islands within five standard errors; rows that settle keep the prior's law."""
    twisted = Posterior(toy_prior(), Twisted(HAS_B, guided_table(toy_prior(), toy_prompts())))
    proposal = UntilSettled(toy_policy(), toy_prior(), HAS_B)
    draws = SMC(particles=8, islands=400, proposal=proposal).draw(Key(4), twisted, toy_prompts(), 8)
    z, se = math.exp(float(draws.log_z[0])), float(draws.log_z_se[0]) * math.exp(float(draws.log_z[0]))
    assert abs(z - math.exp(EXACT.log_z)) < 5 * se


def test_the_prior_taken_too_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the prior is followed from the first token on, so that log q is not what was drawn from."""
    monkeypatch.setattr(UntilSettled, "next_logits", lambda self, state: self.prior.next_logits(state.prior))
    with pytest.raises(AssertionError):
        test_it_follows_the_guide_until_the_evidence_is_settled()


def test_models_of_two_languages_are_refused() -> None:
    other = TablePrior(lambda tokens: [0.0, 0.0, 0.0], 3, EOS, 9)
    with pytest.raises(ConfigError, match="one language"):
        UntilSettled(other, toy_prior(), HAS_B)
