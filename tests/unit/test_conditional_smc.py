"""Conditional SMC and particle Gibbs by hand: what they keep, refuse and count. Their law: tests/statistical."""

import math
from dataclasses import replace

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.core.types import Completions
from credence.diagnose.simulate import simulated
from credence.diagnose.two_sided import two_sided
from credence.evidence.constraint import Constraint
from credence.posterior.exact import as_completions, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.conditional_smc import sweep
from credence.sample.importance import Importance
from credence.sample.particle_gibbs import ParticleGibbs
from credence.sample.rejection import Rejection
from credence.sample.rules import Rules
from credence.sample.smc import SMC
from tests.toys import EOS, prior_logits, toy_a, toy_prior, toy_prompts

PATHS = [(0, 1, 2), (1, 1, 1, 0), (2,)]


def paths(*sequences: tuple[int, ...]) -> Completions:
    rows = as_completions(list(sequences), frozenset({EOS}))
    return Completions(rows.ids, rows.mask, rows.ended, torch.arange(len(rows)))


def test_one_particle_is_its_path_and_weighs_what_it_weighs() -> None:
    prompts = toy_prior().codec.prompts([()] * 3)
    found = sweep(Key(1), toy_a(), prompts, paths(*PATHS), Rules(1))
    exact = enumerate_posterior(toy_a(), toy_prompts())
    assert [tuple(row) for row in found.completions.tokens()] == PATHS
    assert found.log_z.tolist() == pytest.approx([float(exact.log_lik[exact.index()[s]]) for s in PATHS], abs=1e-12)
    assert found.log_q.sum(-1).tolist() == pytest.approx([float(exact.log_prior[exact.index()[s]]) for s in PATHS])
    assert not found.moved.any()


def test_a_sweep_is_its_key_s_whatever_stands_beside_it() -> None:
    """Runs are batched by 256 rows; a run's randomness is its own."""
    prompts = toy_prior().codec.prompts([()] * 40)
    many = sweep(Key(1), toy_a(), prompts, paths(*[PATHS[i % 3] for i in range(40)]), Rules(16, 0.9))
    few = sweep(Key(1), toy_a(), prompts.take(range(3)), paths(*PATHS), Rules(16, 0.9))
    assert many.completions.tokens()[:3] == few.completions.tokens()
    assert torch.equal(many.log_z[:3], few.log_z)


YES = torch.ones(1, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "bad",
    [
        Completions(torch.tensor([[0, 1]]), YES[:, :2], torch.tensor([False]), torch.tensor([0])),
        Completions(torch.tensor([[0, 2]]), YES[:, :2], torch.tensor([False]), torch.tensor([0])),
        Completions(torch.tensor([[2, 0, 2]]), YES, torch.tensor([True]), torch.tensor([0])),
        Completions(torch.tensor([[0, 0, 2]]), YES & (YES.cumsum(1) != 2), torch.tensor([True]), torch.tensor([0])),
        Completions(torch.tensor([[0, 2]]), torch.zeros(1, 2).bool(), torch.tensor([True]), torch.tensor([0])),
    ],
    ids=["cut early", "end not said", "end inside", "gap", "empty"],
)  # fmt: skip
def test_what_is_no_completion_cannot_be_retained(bad: Completions) -> None:
    with pytest.raises(ShapeError, match="retained completion 0"):
        sweep(Key(1), toy_a(), toy_prompts(), bad, Rules(4))


def test_one_retained_completion_a_prompt_is_needed() -> None:
    with pytest.raises(ShapeError, match="one of at least one token for each of the 1"):
        sweep(Key(1), toy_a(), toy_prompts(), paths((2,), (0, 2)), Rules(4))


def test_an_impossible_path_is_refused_with_its_reason() -> None:
    short = Posterior(toy_prior(), Constraint(lambda tokens: len(tokens) < 3, "short"))
    with pytest.raises(ContractError, match=r"the evidence calls the text \(0, 1, 2\)"):
        sweep(Key(1), short, toy_prompts(), paths((0, 1, 2)), Rules(4))
    holed = TablePrior(lambda seen: [-math.inf if len(seen) == 1 else 0.0, *prior_logits(seen)[1:]], 3, EOS, 4)
    with pytest.raises(ContractError, match="the prior cannot say"):
        sweep(Key(1), Posterior(holed, toy_a().evidence), toy_prompts(), paths((1, 0, 2)), Rules(4))
    with pytest.raises(ConfigError, match=r"the proposal cannot say the text \(1, 0\)"):
        sweep(Key(1), toy_a(), toy_prompts(), paths((1, 0, 2)), Rules(4, proposal=holed))


def test_particle_gibbs_counts_what_it_did() -> None:
    engine = ParticleGibbs(particles=8, chains=3, burn=2)
    draws = engine.draw(Key(1), toy_a(), toy_prompts(), 7)
    assert float(draws.info["sweeps"][0]) == 2 + 3
    assert 0 < float(draws.info["moved"][0]) <= 1
    assert float(draws.info["unique"][0]) == len(set(draws.texts()))
    assert math.isfinite(float(draws.log_z_se[0]))
    assert engine.draw(Key(1), toy_a(), toy_prompts(), 4).texts() == draws.texts()[:4]


def test_particle_gibbs_needs_a_particle_beside_the_retained_one() -> None:
    for wrong in ({"particles": 1}, {"chains": 0}, {"burn": -1}):
        with pytest.raises(ConfigError, match="at least two"):
            ParticleGibbs(**wrong)


def test_two_sided_says_what_it_does_not_know() -> None:
    exact = Rejection().draw(Key(1), toy_a(), toy_prompts(), 8)
    (one,) = two_sided(Key(2), toy_a(), toy_prompts(), exact, SMC(8, 1))
    assert math.isinf(one.se)
    assert math.isinf(one.low_se)
    assert one.high is not None
    nothing = exact.completions.rows(torch.zeros(0, dtype=torch.long))
    none_found = (Status.EMPTY,)
    empty = replace(exact, completions=nothing, log_q=exact.log_q[:0], log_w=exact.log_w[:0], status=none_found)
    (none,) = two_sided(Key(2), toy_a(), toy_prompts(), empty, SMC(8, 2))
    assert none.high is None
    assert none.high_se is None
    with pytest.raises(ContractError, match="unequal weights"):
        two_sided(Key(2), toy_a(), toy_prompts(), Importance().draw(Key(1), toy_a(), toy_prompts(), 8), SMC(8, 2))


def test_simulated_observations_become_a_column() -> None:
    prompts = toy_prior().codec.prompts([()] * 3, {"place": ["x", "y", "z"]})
    given, draws = simulated(Key(1), toy_prior(), prompts, lambda key, p, c: [len(row) for row in c.tokens()], "seen")
    assert given.columns["seen"] == draws.completions.lengths.tolist()
    assert given.columns["place"] == ["x", "y", "z"]
    with pytest.raises(ConfigError, match="another name"):
        simulated(Key(1), toy_prior(), prompts, lambda key, p, c: [0] * 3, "place")
    with pytest.raises(ShapeError, match="2 observations"):
        simulated(Key(1), toy_prior(), prompts, lambda key, p, c: [0] * 2, "seen")
