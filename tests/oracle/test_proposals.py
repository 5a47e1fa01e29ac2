"""Importance sampling from any law: exact where it is the posterior, and honest where it cannot reach it."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Sampler
from credence.core.status import Status
from credence.diagnose.support import unreached
from credence.posterior.exact import enumerate_posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.prior.tabular import tabular_policy
from credence.sample.importance import Importance
from credence.sample.independent_mh import IndependentMH
from credence.sample.particle_gibbs import ParticleGibbs
from credence.sample.quasi_rejection import QuasiRejection
from credence.sample.smc import SMC
from credence.sample.speculative import Speculative
from credence.sample.suffix_mh import SuffixMH
from tests.toys import EOS, HORIZON, prior_logits, toy_a, toy_policy, toy_prior, toy_prompts


def never_ends_on_a() -> TablePrior:
    """The prior, but a reply does not end where a was said last: it loses much of the posterior."""

    def logits(tokens: tuple[int, ...]) -> list[float]:
        row = prior_logits(tokens)
        return [*row[:2], -math.inf] if tokens and tokens[-1] == 0 else row

    return TablePrior(logits, 3, EOS, HORIZON)


def test_the_posterior_as_proposal_has_no_variance() -> None:
    exact = enumerate_posterior(toy_a(), toy_prompts())
    best = TablePrior(lambda tokens: exact.soft_optimal(tokens).tolist(), 3, EOS, HORIZON)
    draws = Importance(best).draw(Key(1), toy_a(), toy_prompts(), 50)
    assert torch.allclose(draws.log_w, torch.full((50,), exact.log_z, dtype=torch.float64), atol=1e-12)
    assert float(draws.log_z_se[0]) == pytest.approx(0, abs=1e-6)
    assert draws.status == (Status.OK,)


def test_a_policy_that_can_be_trained_is_a_proposal() -> None:
    policy = tabular_policy(toy_prior(), toy_prompts())
    with torch.no_grad():
        policy.logits.add_(
            0.5 * torch.sin(torch.arange(policy.logits.numel(), dtype=torch.float64)).view_as(policy.logits)
        )
    draws = Importance(policy).draw(Key(2), toy_a(), toy_prompts(), 400)
    direct = toy_a().log_joint(toy_prompts(), draws.completions) - policy.score(toy_prompts(), draws.completions).sum(
        -1
    )
    assert torch.allclose(draws.log_w, direct.detach(), atol=1e-12)
    exact = enumerate_posterior(toy_a(), toy_prompts())
    assert abs(float(draws.log_z[0]) - exact.log_z) < 5 * float(draws.log_z_se[0])


def test_what_a_proposal_cannot_reach_is_seen_and_sized() -> None:
    """E[Ẑ] = Z·(1 − p*(q = 0)), within five standard errors at 4,000 draws; 2,000 probes size the rest to ± 0.06."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    lost = unreached(toy_a(), never_ends_on_a(), toy_prompts())
    said = torch.tensor([(0, EOS) in pairwise(s) for s in exact.sequences])
    listed = float(exact.log_p.exp()[said].sum())
    assert lost == pytest.approx(listed, abs=1e-12)
    assert lost == pytest.approx(0.6909946534, abs=1e-9)
    draws = Importance(never_ends_on_a(), probe=2000).draw(Key(1), toy_a(), toy_prompts(), 4000)
    assert abs(float(draws.log_z[0]) - exact.log_z - math.log1p(-lost)) < 5 * float(draws.log_z_se[0])
    assert float(draws.info["missed"][0]) == pytest.approx(lost, abs=0.06)
    assert draws.status == (Status.UNREACHED,)
    assert "cannot make" in draws.status[0].value
    quasi = QuasiRejection(bound=1.0, proposal=never_ends_on_a()).draw(Key(1), toy_a(), toy_prompts(), 5)
    assert quasi.status == (Status.UNREACHED,)


@pytest.mark.parametrize(
    "engine", [partial(SMC, 4, 2), partial(ParticleGibbs, 3, 2, 0), partial(Speculative, toy_prior())]
)
def test_every_engine_with_a_proposal_says_what_it_cannot_reach(engine: Callable[..., Sampler]) -> None:
    """Else E[Ẑ] = Z·p*(q > 0), 1.2 nats too low here, with a small ± and no word. Many runs of a prompt: one probe."""
    prompts = toy_prompts().take([0, 0, 0])
    lame, whole = (engine(proposal=law) for law in (never_ends_on_a(), toy_policy()))
    found = lame.draw(Key(1), toy_a(), prompts, 4)
    assert found.status == (Status.UNREACHED,) * 3
    assert found.info["missed"].tolist() == [found.info["missed"][0]] * 3
    assert float(found.info["missed"][0]) == pytest.approx(0.69, abs=0.3)
    assert whole.draw(Key(1), toy_a(), prompts, 4).status == (Status.OK,) * 3
    blind = engine(proposal=never_ends_on_a(), probe=0).draw(Key(1), toy_a(), prompts, 4)
    assert (blind.status, "missed" in blind.info) == ((Status.OK,) * 3, False)
    assert torch.equal(blind.completions.ids, found.completions.ids)  # probes move no draw
    assert blind.cost.tokens < found.cost.tokens
    with pytest.raises(ConfigError, match="probe=-1"):
        engine(proposal=toy_policy(), probe=-1)


@pytest.mark.parametrize(
    "engine", [Importance, SMC, QuasiRejection, SuffixMH, IndependentMH, partial(Speculative, toy_prior())]
)
def test_a_proposal_of_another_vocabulary_is_refused(engine: Callable[..., Sampler]) -> None:
    """It ends by the same token within the same horizon: nothing else tells it from a law on the prior's replies."""
    wider = TablePrior(lambda _: [0.0] * 4, 4, EOS, HORIZON)
    with pytest.raises(ConfigError, match=r"the proposal reads another vocabulary than the prior \(4 against 3 tokens"):
        engine(proposal=wider).draw(Key(1), toy_a(), toy_prompts(), 40)


def test_a_proposal_that_reaches_everything_is_not_accused() -> None:
    assert unreached(toy_a(), toy_policy(), toy_prompts()) == 0
    draws = Importance(toy_policy()).draw(Key(1), toy_a(), toy_prompts(), 4)
    assert draws.status == (Status.OK,)
    assert float(draws.info["missed"][0]) == 0
    silent = Importance(never_ends_on_a(), probe=0).draw(Key(1), toy_a(), toy_prompts(), 4)
    assert (silent.status, "missed" in silent.info) == ((Status.OK,), False)


def test_a_cut_proposal_is_known_by_its_cut() -> None:
    """One probe may find nothing: top-2 of three tokens leaves replies out all the same."""
    cut = reshape(reshape(toy_policy(), 1.2, top_k=2), 0.9)
    for seed in range(4):
        draws = Importance(cut, probe=1).draw(Key(seed), toy_a(), toy_prompts(), 4)
        assert draws.status == (Status.UNREACHED,)
    with pytest.raises(ConfigError, match="probe=-1"):
        Importance(cut, probe=-1)
