"""What engines of chains share beyond the laws of all samplers: order, batches, impossible starts, bad settings."""

import math
from typing import Any

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Sampler
from credence.core.status import Status
from credence.diagnose.chains import chain_findings
from credence.evidence.constraint import Constraint
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.sample.annealed import Annealed
from credence.sample.block_mh import BlockMH
from credence.sample.independent_mh import IndependentMH
from credence.sample.regrow import lots, regrow
from credence.sample.suffix_mh import SuffixMH, cuts
from credence.sample.tempering import ParallelTempering
from tests.tiny import llama
from tests.toys import toy_a, toy_prior, toy_prompts, toy_two, two_prompts

CHAINS: dict[str, Any] = {
    "suffix": SuffixMH,
    "block": BlockMH,
    "independent": IndependentMH,
    "tempering": ParallelTempering,
}
kinds = pytest.mark.parametrize("kind", CHAINS.values(), ids=CHAINS)
RARE = Constraint(lambda tokens: len(tokens) == 2, "two tokens")


class Unsteppable:
    """A prior that can be sampled and scored, and nothing else, as a remote server's."""

    def __init__(self) -> None:
        inner = toy_prior()
        self.codec, self.ends, self.horizon = inner.codec, inner.ends, inner.horizon
        self.sample, self.score = inner.sample, inner.score


@kinds
def test_draws_come_from_all_chains_in_turn_and_n_need_not_be_a_multiple(kind: Any) -> None:
    engine = kind(chains=3, burn_in=2, thin=2)
    five = engine.draw(Key(1), toy_two(), two_prompts(), 5)
    six = engine.draw(Key(1), toy_two(), two_prompts(), 6)
    assert five.completions.prompt.tolist() == [0] * 5 + [1] * 5
    assert five.texts() == [six.texts()[i] for i in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)]
    more = engine.draw(Key(1), toy_two(), two_prompts(), 9)
    assert more.texts()[:6] == six.texts()[:6]  # a longer run goes on where the shorter one ended


@pytest.mark.parametrize(
    "engine", [SuffixMH(2, 3, 1), BlockMH(2, 3, 1), IndependentMH(2, 3, 1), ParallelTempering(2, 3, 1), Annealed(2)]
)
def test_a_prompt_s_draws_do_not_know_of_other_prompts(engine: Sampler) -> None:
    both = engine.draw(Key(3), toy_two(), two_prompts(), 4)
    alone = engine.draw(Key(3), toy_two(), two_prompts().take([0]), 4)
    assert alone.texts() == both.texts()[:4]
    assert torch.allclose(alone.log_z, both.log_z[:1], rtol=0, atol=1e-12, equal_nan=True)


@kinds
def test_from_the_impossible_to_the_possible_and_never_back(kind: Any) -> None:
    """One text in four is possible: most chains start elsewhere, all arrive, and none leaves again."""
    posterior = Posterior(toy_a().prior, toy_a().evidence * RARE)
    exact = enumerate_posterior(posterior, toy_prompts())
    assert float(torch.exp(exact.log_prior[torch.isfinite(exact.log_lik)]).sum()) < 0.45
    early = kind(chains=40, burn_in=0, thin=1).draw(Key(1), posterior, toy_prompts(), 40)
    assert 0 < float(early.info["impossible"]) < 1
    assert early.log_w.unique().tolist() == [-math.inf, 0.0]
    assert early.status == (Status.OK,)
    late = kind(chains=20, burn_in=60, thin=1).draw(Key(1), posterior, toy_prompts(), 20)
    assert float(late.info["impossible"]) == 0
    assert all(len(text) == 2 for text in late.texts())


def test_mixing_is_reported_and_short_or_still_chains_say_so() -> None:
    good = SuffixMH(16, 10, 5).draw(Key(1), toy_a(), toy_prompts(), 160)
    assert 1 < float(good.info["tau"]) < 30
    assert float(good.info["ess"]) == pytest.approx(800 / float(good.info["tau"]), rel=1e-9)
    assert float(good.info["rhat"]) < 1.1
    assert 0.3 < float(good.info["acceptance"]) < 0.9
    assert math.isnan(float(good.log_z))
    short = SuffixMH(4, 0, 1).draw(Key(1), toy_a(), toy_prompts(), 12)
    assert math.isnan(float(short.info["rhat"]))
    assert not chain_findings(short)[0][0].ok
    only = TablePrior(lambda said: [0.0, -math.inf], 2, 0, 1)  # one text, so that nothing can ever change
    still = SuffixMH(4, 0, 1).draw(
        Key(1), Posterior(only, Constraint(lambda tokens: True, "any")), only.codec.prompts(), 40
    )
    assert math.isnan(float(still.info["rhat"]))


def test_tempering_tells_log_z_and_what_its_rungs_allow() -> None:
    """8 ladders of 6 rungs; the exact 0.852 lies within 5 standard errors and the rungs' bounds (seed fixed)."""
    draws = ParallelTempering(8, 10, 1).draw(Key(2), toy_a(), toy_prompts(), 320)
    assert 0 < float(draws.log_z_se) < 0.2
    assert abs(float(draws.log_z) - 0.8520967561) < 5 * float(draws.log_z_se)
    assert float(draws.info["log_z_low"]) < float(draws.log_z) < float(draws.info["log_z_high"])
    assert 0 < float(draws.info["swaps"]) <= 1
    one = ParallelTempering(1, 4, 1).draw(Key(2), toy_a(), toy_prompts(), 8)
    assert math.isnan(float(one.log_z_se))


def test_annealed_weights_are_less_uneven_than_the_prior_s() -> None:
    hard = toy_a(beta=0.15)
    one = Annealed(1).draw(Key(1), hard, toy_prompts(), 200)
    many = Annealed(12).draw(Key(1), hard, toy_prompts(), 200)
    assert float(many.info["ess"]) > 1.5 * float(one.info["ess"])
    assert 0 < float(many.info["acceptance"]) < 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SuffixMH(chains=0), "SuffixMH\\(chains=0"),
        (lambda: IndependentMH(burn_in=-1), "no negative burn-in"),
        (lambda: ParallelTempering(thin=0), "thin=0"),
        (lambda: ParallelTempering(rungs=1), "two ends"),
        (lambda: BlockMH(size=0), "at least one token"),
        (lambda: BlockMH(suffix=0.0), "never change a text's length"),
        (lambda: Annealed(steps=0), "at least one position"),
        (lambda: Annealed(power=-1.0), "power above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make()


@kinds
def test_bad_proposals_are_refused(kind: Any) -> None:
    shorter = TablePrior(lambda _: [0.0, 0.0, 0.0], 3, 2, 2)
    if kind is not ParallelTempering:
        with pytest.raises(ConfigError, match="within 2 tokens"):
            kind(proposal=shorter).draw(Key(1), toy_a(), toy_prompts(), 2)
        blind = kind(chains=30, proposal=reshape(toy_prior(), top_k=1))
        with pytest.raises(ConfigError, match="gives probability 0 to tokens"):
            blind.draw(Key(1), toy_a(), toy_prompts(), 2)
    with pytest.raises(ShapeError, match="0 prompts"):
        kind().draw(Key(1), toy_a(), toy_prompts().take([]), 2)


def test_priors_without_steps_serve_independent_mh_only() -> None:
    posterior = Posterior(Unsteppable(), toy_a().evidence)
    draws = IndependentMH(2, 2, 1).draw(Key(1), posterior, toy_prompts(), 4)
    assert draws.texts() == IndependentMH(2, 2, 1).draw(Key(1), toy_a(), toy_prompts(), 4).texts()
    for engine in (SuffixMH(), BlockMH(), ParallelTempering(), Annealed()):
        with pytest.raises(ConfigError, match="Unsteppable cannot be walked by tokens"):
            engine.draw(Key(1), posterior, toy_prompts(), 2)


def test_language_models_walk_along_kept_tokens_as_tables_do() -> None:
    """A tiny Llama in float64: suffixes and blocks keep what is kept, and log q is the model's own score."""
    prior = llama()
    prompts = prior.codec.prompts([(1, 2, 3), (6,)])
    drawn, log_q = prior.sample(Key(1), prompts, 20)
    rows = torch.arange(40)
    first = cuts(torch.from_numpy(Key(2).uniform(rows.numpy(), 0)), drawn.lengths)
    for last in (torch.full_like(first, prior.horizon), first + 1):
        new = regrow(prior, lots(Key(3), rows), prompts, drawn, log_q, first, last)
        assert torch.allclose(new.log_q, prior.score(prompts, new.completions), atol=1e-10, rtol=0)
        place = torch.arange(prior.horizon)[None]
        kept = new.completions.mask & ((place < first[:, None]) | (place >= last[:, None]))
        assert torch.equal(new.completions.ids[kept], drawn.ids[kept])
        assert not torch.equal(new.completions.ids, drawn.ids)
