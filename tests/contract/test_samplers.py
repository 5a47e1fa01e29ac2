"""Every engine that draws, against the laws that all share."""

import math
from collections.abc import Sequence

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Sampler
from credence.core.status import Status
from credence.evidence.constraint import Constraint
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.sample.annealed import Annealed
from credence.sample.best_of_n import BestOfN
from credence.sample.block_mh import BlockMH
from credence.sample.importance import Importance
from credence.sample.independent_mh import IndependentMH
from credence.sample.particle_gibbs import ParticleGibbs
from credence.sample.quasi_rejection import QuasiRejection
from credence.sample.rejection import Rejection, accept
from credence.sample.segments import Segments
from credence.sample.smc import SMC
from credence.sample.soft_best_of_n import SoftBestOfN
from credence.sample.speculative import Speculative
from credence.sample.stochastic_beam import StochasticBeam
from credence.sample.suffix_mh import SuffixMH
from credence.sample.tempering import ParallelTempering
from credence.testing import check_sampler
from tests.toys import toy_a, toy_policy, toy_prior, toy_prompts, toy_two, two_prompts

ENGINES = {
    "importance": (Importance(), Guarantee.UNBIASED_Z),
    "importance, proposal": (Importance(reshape(toy_two().prior, 1.3)), Guarantee.UNBIASED_Z),
    "rejection": (Rejection(bound=2.0, most=1000), Guarantee.EXACT),
    "best of 3": (BestOfN(3), Guarantee.BIASED),
    "quasi-rejection": (QuasiRejection(bound=0.5, most=400), Guarantee.BIASED),
    "quasi-rejection, chosen bound, proposal": (
        QuasiRejection(pilot=32, most=400, proposal=reshape(toy_two().prior, 1.3)),
        Guarantee.BIASED,
    ),
    "soft best of 3": (SoftBestOfN(3), Guarantee.BIASED),
    "smc": (SMC(8, 3, 0.9), Guarantee.UNBIASED_Z),
    "smc, proposal": (SMC(5, 1, 0.9, reshape(toy_two().prior, 1.3)), Guarantee.UNBIASED_Z),
    "speculative": (Speculative(reshape(toy_two().prior, 1.3)), Guarantee.UNBIASED_Z),
    "speculative, proposal": (
        Speculative(toy_two().prior, 2, proposal=reshape(toy_two().prior, 1.3)),
        Guarantee.UNBIASED_Z,
    ),
    "stochastic beam": (StochasticBeam(), Guarantee.UNBIASED_Z),
    "suffix MH": (SuffixMH(2, 3, 1), Guarantee.CONSISTENT),
    "suffix MH, proposal": (SuffixMH(2, 3, 1, reshape(toy_two().prior, 1.3)), Guarantee.CONSISTENT),
    "block MH": (BlockMH(2, 3, 1), Guarantee.CONSISTENT),
    "independent MH": (IndependentMH(2, 3, 1, reshape(toy_two().prior, 1.3)), Guarantee.CONSISTENT),
    "parallel tempering": (ParallelTempering(2, 3, 1, 3), Guarantee.CONSISTENT),
    "annealed": (Annealed(3), Guarantee.UNBIASED_Z),
    "smc, residual by segments": (SMC(5, 2, 0.9, None, "residual", None, Segments(most=2)), Guarantee.UNBIASED_Z),
    "particle gibbs": (ParticleGibbs(5, 2, 1, 0.9, reshape(toy_two().prior, 1.3)), Guarantee.CONSISTENT),
}
every = pytest.mark.parametrize("engine", [e for e, _ in ENGINES.values()], ids=ENGINES)


def test_guarantees() -> None:
    for engine, guarantee in ENGINES.values():
        assert isinstance(engine, Sampler)
        assert engine.guarantee is guarantee


@every
def test_it_keeps_the_laws(engine: Sampler) -> None:
    """Of all engines; each one's guarantee is tested in tests/statistical, on more targets and draws."""
    check_sampler(engine, runs=0).require()


@every
def test_nothing_possible_has_the_status_of_its_kind(engine: Sampler) -> None:
    posterior = Posterior(toy_two().prior, Constraint(lambda tokens: False, "never"))
    draws = engine.draw(Key(1), posterior, two_prompts(), 2)
    wanted = Status.EMPTY if isinstance(engine, Rejection | QuasiRejection) else Status.DEGENERATE
    assert draws.status == (wanted, wanted)
    assert draws.log_z.tolist() == [-math.inf, -math.inf]


@every
def test_no_draws_and_no_prompts_are_refused(engine: Sampler) -> None:
    for prompts, n in ((two_prompts(), 0), (two_prompts().take([]), 2)):
        with pytest.raises(ShapeError, match="at least 1"):
            engine.draw(Key(1), toy_two(), prompts, n)


def test_a_reward_is_called_once_for_each_final_text() -> None:
    seen: list[tuple[int, ...]] = []

    def reward(prompts: Sequence[object], completions: Sequence[tuple[int, ...]]) -> list[float]:
        seen.extend(completions)
        return [0.1 * len(c) for c in completions]

    posterior = Posterior(toy_prior(), Reward(reward, 0.5, bound=1.0))
    Importance().draw(Key(1), posterior, toy_prompts(), 7)
    assert len(seen) == 7
    seen.clear()
    SMC(8, 2, 0.0).draw(Key(1), posterior, toy_prompts(), 7)
    assert len(seen) == 16


def test_ess_of_the_prior_s_draws() -> None:
    """ESS/n = Z²/E[w²] = 0.4403370304 exactly (SCIENCE 0); 20,000 draws come within 0.02 of it."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    share = math.exp(2 * exact.log_z - float(torch.logsumexp(exact.log_prior + 2 * exact.log_lik, 0)))
    assert share == pytest.approx(0.4403370304, abs=0.5001e-10)
    draws = Importance().draw(Key(2), toy_a(), toy_prompts(), 2000)
    assert float(draws.info["ess"][0]) / 2000 == pytest.approx(share, abs=0.05)


def test_a_proposal_with_other_leaves_is_refused() -> None:
    shorter = TablePrior(lambda _: [0.0, 0.0, 0.0], 3, 2, 2)
    for engine in (Importance(shorter), SMC(proposal=shorter)):
        with pytest.raises(ConfigError, match="within 2 tokens"):
            engine.draw(Key(1), toy_a(), toy_prompts(), 2)


def test_smc_says_what_its_particles_are_worth() -> None:
    one = SMC(16, 1, 0.9, toy_policy()).draw(Key(1), toy_a(), toy_prompts(), 40)
    assert math.isnan(float(one.log_z_se[0]))  # one run has no standard error
    many = SMC(16, 4, 0.9).draw(Key(1), toy_a(), toy_prompts(), 40)
    assert float(many.log_z_se[0]) > 0
    assert float(many.info["log_z_island_mean"][0]) <= float(many.log_z[0])
    assert 1 <= float(many.info["ancestors"][0]) <= 64
    assert len(set(many.texts())) <= float(many.info["unique"][0]) <= 31
    never = SMC(16, 4, 0.0).draw(Key(1), toy_a(), toy_prompts(), 40)
    assert float(never.info["resamplings"][0]) == 0
    assert float(never.info["ancestors"][0]) == 64


def test_rejection_needs_a_bound_and_names_what_breaks_it() -> None:
    unbounded = Posterior(toy_prior(), Reward(lambda _, replies: [float(len(x)) for x in replies], 1.0))
    with pytest.raises(ConfigError, match="Rejection\\(bound="):
        Rejection().draw(Key(1), unbounded, toy_prompts(), 2)
    with pytest.warns(RuntimeWarning, match=r"\(\d, .* above the bound 2: the draws"):
        draws = Rejection(bound=2.0).draw(Key(1), unbounded, toy_prompts(), 20)
    assert draws.status == (Status.BOUND_VIOLATED,)
    assert float(draws.info["excess"][0]) == 2.0
    assert 0 < float(draws.info["above"][0]) < float(draws.info["proposals"][0])


def test_rejection_knows_the_bound_of_composed_evidence() -> None:
    """Sums over factors, tau times where tempered; a factor that does not say makes the whole unknown."""
    plain = toy_two()  # bound 0.8 at β = 0.4, and Ended, at most 0
    assert Rejection().known_bound(plain) == pytest.approx(2.0)
    assert Rejection().known_bound(plain.tempered(0.25)) == pytest.approx(0.5)
    assert Rejection().known_bound(plain.tempered(0.0)) == 0
    silent = Posterior(plain.prior, plain.evidence * Reward(lambda _, replies: [0.0] * len(replies), 1.0))
    with pytest.raises(ConfigError, match="finite bound"):
        Rejection().known_bound(silent)


def test_rejection_keeps_what_it_found() -> None:
    few = Rejection(most=400).draw(Key(1), toy_two(), two_prompts(), 300)
    assert few.info["proposals"].tolist() == [400, 400]
    assert [int(few.of(b).numel()) for b in range(2)] == few.info["accepted"].tolist()
    assert all(0 < count < 300 for count in few.info["accepted"].tolist())


def test_stored_draws_serve_rejection_as_fresh_ones_do() -> None:
    """All accepted of 256 stored draws, and log Z from all their weights."""
    stored = Importance().draw(Key(6), toy_two(), two_prompts(), 256)
    accepted = accept(stored, 2.0, Key(7))
    assert accepted.status == (Status.OK, Status.OK)
    assert torch.equal(accepted.log_z, stored.log_z)
    assert bool((accepted.log_w == 0).all())
    first = accept(stored, 2.0, Key(7), 2)
    assert first.completions.prompt.tolist() == [0, 0, 1, 1]
    assert [first.texts()[2 * b : 2 * b + 2] for b in range(2)] == [
        [accepted.texts()[int(r)] for r in accepted.of(b)[:2]] for b in range(2)
    ]


def test_smc_when_only_finished_particles_survive_resampling() -> None:
    """The evidence is so strong that every copy kept has already ended: nothing is left to grow."""
    prior = TablePrior(lambda seen: [math.sin(1 + sum(seen) + 3 * k) for k in range(3)], vocab=3, end=2, horizon=6)
    reward = Reward(lambda prompts, replies: [-float(len(r)) for r in replies], beta=0.05)
    prompts = prior.codec.prompts([()] * 40)
    draws = SMC(particles=16, islands=4).draw(Key(0), Posterior(prior, reward), prompts, n=4)
    assert bool(torch.isfinite(draws.log_z).all())
    assert all(status is Status.OK for status in draws.status)
