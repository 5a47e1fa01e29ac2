"""Products of priors by token and by sequence, against enumeration: realignment, proxy tuning, unequal supports."""

import math

import pytest
import torch

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.status import Status
from credence.evidence.experts import Expert, Experts
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.experts import product_of_experts, realigned, token_law
from credence.posterior.posterior import Posterior
from credence.prior.loglinear import LogLinear
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.sample.importance import Importance
from credence.sample.sequence_product import SequenceProduct
from credence.sample.token_product import TokenProduct
from tests.toys import BETA, toy_a, toy_policy, toy_prior, toy_prompts, toy_reward, toy_two, two_prompts


def optimal(exact: Exact) -> TablePrior:
    """The posterior as a policy, a token at a time."""
    return TablePrior(lambda said: exact.soft_optimal(said).tolist(), 3, 2, 4)


def log_mass(law: LogLinear, exact: Exact) -> torch.Tensor:
    """Σ_t log C(s_t) of every sequence of TOY-A, by plain steps."""
    out = []
    for sequence in exact.sequences:
        state, total = law.start(toy_prompts(), 1), 0.0
        for token in sequence:
            total += float(law.next_product(state)[1][0])
            state = law.extend(state, torch.tensor([token]))
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(("lam", "gap"), [(0.5, 0.0040079), (2.0, 0.0211460), (1.0, 0.0)])
def test_realignment_on_toy_a(lam: float, gap: float) -> None:
    """The sequence law is p* at β/λ to 1e-12; the law a token is SCIENCE 5.4's 0.0040079 and 0.0211460 nats from it."""
    at_beta = enumerate_posterior(toy_a(), toy_prompts())
    posterior = realigned(toy_prior(), optimal(at_beta), BETA, BETA / lam)
    exact = enumerate_posterior(posterior, toy_prompts())
    truth = enumerate_posterior(toy_a(BETA / lam), toy_prompts())
    assert torch.allclose(exact.log_p, truth.log_p, atol=1e-12, rtol=0)
    assert exact.log_z == pytest.approx(truth.log_z - lam * at_beta.log_z, abs=1e-12)
    law = token_law(posterior)
    log_q = law.score(toy_prompts(), exact.completions).sum(-1)
    assert float(kl(log_q, exact.log_p)) == pytest.approx(gap, abs=0.5001e-7)
    assert torch.allclose(log_q + log_mass(law, exact) - exact.log_z, exact.log_p, atol=1e-12, rtol=0)


def test_proxy_tuning_is_the_posterior_of_the_base_under_the_same_reward() -> None:
    """A small π⁻ and its posterior π⁺: base · π⁺/π⁻ is the base's posterior, as sequences; experts add their nats."""
    small = reshape(toy_policy(), 1.4)
    tuned = enumerate_posterior(Posterior(small, Reward(toy_reward, BETA)), toy_prompts())
    posterior = product_of_experts(toy_prior(), Expert(optimal(tuned), small))
    exact = enumerate_posterior(posterior, toy_prompts())
    truth = enumerate_posterior(toy_a(), toy_prompts())
    assert torch.allclose(exact.log_p, truth.log_p, atol=1e-12, rtol=0)
    twice = product_of_experts(toy_prior(), *[Expert(optimal(tuned), small, w) for w in (1.5, -0.5)])
    assert torch.allclose(enumerate_posterior(twice, toy_prompts()).log_p, truth.log_p, atol=1e-12, rtol=0)
    law = token_law(posterior)
    log_q = law.score(toy_prompts(), exact.completions).sum(-1)
    assert float(kl(log_q, exact.log_p)) > 1e-4
    assert torch.allclose(log_q + log_mass(law, exact) - exact.log_z, exact.log_p, atol=1e-12, rtol=0)


def test_smc_without_resampling_has_importance_sampling_s_weights() -> None:
    """Ẑ of C along the way is Ẑ of log π0 + log_lik − log q at the end, draw by draw, other evidence included."""
    plain = product_of_experts(toy_two().prior, Expert(reshape(toy_two().prior, 0.5), toy_two().prior, 0.8))
    posterior = Posterior(plain.prior, plain.evidence * toy_two().evidence)
    engine = SequenceProduct(40, 1, 0.0)
    draws = engine.draw(Key(5), posterior, two_prompts(), 3)
    drawn = Importance(token_law(posterior)).draw(Key(5).fold("token"), posterior, two_prompts(), 40)
    assert torch.allclose(draws.log_z, drawn.log_z, atol=1e-12, rtol=0)
    assert torch.allclose(draws.info["ess"], drawn.info["ess"], atol=1e-9, rtol=0)
    assert torch.allclose(draws.info["kl_token"], drawn.log_z - drawn.log_w.view(2, 40).mean(1), atol=1e-12, rtol=0)
    token = TokenProduct().draw(Key(5).fold("token"), posterior, two_prompts(), 40)
    assert torch.allclose(token.info["kl"], draws.info["kl_token"], atol=1e-12, rtol=0)
    assert token.texts() == drawn.texts()
    assert bool((token.log_w == 0).all())
    wanted = posterior.evidence.readings(two_prompts(), draws.completions)
    assert draws.readings.keys() == wanted.keys()
    assert all(torch.allclose(draws.readings[name], wanted[name], atol=1e-12) for name in wanted)


def holes(*forbidden: int) -> TablePrior:
    """TOY-A's prior without some tokens as first ones."""

    def logits(said: tuple[int, ...]) -> list[float]:
        row = toy_prior().logits(said).tolist()
        return [-math.inf if not said and k in forbidden else x for k, x in enumerate(row)]

    return TablePrior(logits, 3, 2, 4)


def test_unequal_supports_give_no_weight_and_no_nan() -> None:
    """What the base or an expert cannot say is impossible; 0/0 is impossible too; a power of 0 is no power."""
    for base, expert, anti in (
        (holes(1), toy_policy(), toy_prior()),
        (toy_prior(), holes(1), toy_policy()),
        (toy_prior(), holes(1), holes(1)),
        (holes(1), toy_policy(), holes(1)),
    ):
        posterior = product_of_experts(base, Expert(expert, anti, 1.7))
        exact = enumerate_posterior(posterior, toy_prompts())
        one = torch.tensor([s[0] == 1 for s in exact.sequences])
        assert bool(torch.isneginf(exact.log_p[one]).all())
        assert not bool(torch.isnan(exact.log_p).any())
        log_q = token_law(posterior).score(toy_prompts(), exact.completions).sum(-1)
        assert float(torch.exp(log_q).sum()) == pytest.approx(1, abs=1e-12)
        assert bool(torch.isneginf(log_q[one]).all())
        assert math.isfinite(float(kl(log_q, exact.log_p)))
        assert float(kl(toy_policy().score(toy_prompts(), exact.completions).sum(-1), exact.log_p)) == math.inf
        draws = SequenceProduct(8, 2, 0.9).draw(Key(1), posterior, toy_prompts(), 4)
        assert math.isfinite(float(draws.log_z[0]))
    unpowered = product_of_experts(toy_prior(), Expert(holes(1), holes(0), 0.0))
    assert enumerate_posterior(unpowered, toy_prompts()).log_z == pytest.approx(0, abs=1e-12)


def test_an_anti_expert_that_cannot_say_what_all_others_can_is_refused() -> None:
    posterior = product_of_experts(toy_prior(), Expert(toy_policy(), holes(1)))
    with pytest.raises(DegeneracyError, match="token 1 is possible"):
        SequenceProduct(4, 1).draw(Key(1), posterior, toy_prompts(), 2)
    with pytest.raises(DegeneracyError, match="possible under the base and impossible under an anti-expert"):
        enumerate_posterior(posterior, toy_prompts())


def test_prefixes_without_a_way_on_weigh_nothing() -> None:
    """Expert and base agree on no second token after 0: C = 0 there, the law a token goes on as the base, inf nats."""

    def base(said: tuple[int, ...]) -> list[float]:
        return [0.0, -math.inf, 0.3] if said[:1] == (0,) else [0.0, 1.0, 0.5]

    def expert(said: tuple[int, ...]) -> list[float]:
        return [-math.inf, 0.0, -math.inf] if said[:1] == (0,) else [0.5, 0.0, 0.0]

    prior = TablePrior(base, 3, 2, 4)
    uniform = TablePrior(lambda _: [0.0, 0.0, 0.0], 3, 2, 4)
    posterior = product_of_experts(prior, Expert(TablePrior(expert, 3, 2, 4), uniform))
    exact = enumerate_posterior(posterior, toy_prompts())
    log_q = token_law(posterior).score(toy_prompts(), exact.completions).sum(-1)
    assert float(torch.exp(log_q).sum()) == pytest.approx(1, abs=1e-12)
    assert float(kl(log_q, exact.log_p)) == math.inf
    assert TokenProduct().draw(Key(1), posterior, toy_prompts(), 60).info["kl"].tolist() == [math.inf]
    draws = SequenceProduct(16, 4, 0.9).draw(Key(1), posterior, toy_prompts(), 30)
    assert all(text[0] != 0 for text in draws.texts())
    never = TablePrior(lambda _: [0.0, -math.inf, -math.inf], 3, 2, 4)
    nothing = product_of_experts(TablePrior(lambda _: [-math.inf, 0.0, 0.0], 3, 2, 4), Expert(never, uniform))
    dead = SequenceProduct(4, 2).draw(Key(1), nothing, toy_prompts(), 3)
    assert dead.status == (Status.DEGENERATE,)
    assert dead.log_z.tolist() == [-math.inf]
    assert len(dead.completions) == 0


def test_the_same_model_is_walked_once() -> None:
    prior, policy = toy_prior(), toy_policy()
    assert token_law(realigned(prior, policy, 1.0, 0.5)).parts == [(prior, -1.0), (policy, 2.0)]
    assert token_law(realigned(prior, policy, 1.0, 1.0)).parts == [(prior, 0.0), (policy, 1.0)]


def test_bad_input_is_refused() -> None:
    other = TablePrior(lambda _: [0.0] * 4, 4, 2, 4)
    with pytest.raises(ConfigError, match="another vocabulary than the base"):
        realigned(toy_prior(), other, 1.0, 2.0)
    with pytest.raises(ConfigError, match=r"beta=0\.0"):
        realigned(toy_prior(), toy_policy(), 0.0, 1.0)
    with pytest.raises(ConfigError, match="weight=inf"):
        Expert(toy_policy(), toy_prior(), math.inf)
    with pytest.raises(ConfigError, match="no expert was given"):
        Experts(toy_prior(), ())
    with pytest.raises(ConfigError, match="holds no experts"):
        TokenProduct().draw(Key(1), toy_a(), toy_prompts(), 2)
    with pytest.raises(ConfigError, match="SequenceProduct\\(particles=0"):
        SequenceProduct(0)
