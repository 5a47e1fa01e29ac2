"""One sentence as the target: bounded reward, δ and mixture are the posteriors that the closed forms say, on TOY-A."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Learner
from credence.core.types import Completions
from credence.diagnose.divergence import PointMass
from credence.evidence.sentence import Exactly, Near, mixture
from credence.learn.demonstration import demonstration
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.posterior.exact import Exact, as_completions, enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.learning import free_policy, gradient, log_law, somewhere
from tests.toys import toy_prior, toy_prompts, two_prompts

SENTENCE = (0, 1, 0, 2)
PROMPTS = toy_prompts()
PRIOR = toy_prior()
MASS = PointMass(-3.8933912134)


def row(tokens: tuple[int, ...] = SENTENCE) -> Completions:
    return as_completions([tokens], PRIOR.ends)


LOG_PRIOR = float(PRIOR.score(PROMPTS, row()).sum())


def exact(evidence: Exactly | Near) -> Exact:
    return enumerate_posterior(Posterior(PRIOR, evidence), PROMPTS)


@pytest.mark.parametrize("nats", [0.5, 3.8, 12.0])
def test_the_bounded_reward_gives_the_mass_that_its_closed_form_says(nats: float) -> None:
    """Rejects: a hit on the text without its end (the cut reply a b a b would share it), R·β in the place of R/β."""
    found = exact(Exactly(SENTENCE, nats))
    assert float(found.log_p[found.index()[SENTENCE]].exp()) == pytest.approx(
        PointMass(LOG_PRIOR).bounded(nats), abs=1e-10
    )
    assert abs(MASS.log_prob - LOG_PRIOR) < 1e-10


def test_a_miss_of_minus_infinity_is_the_point_mass_itself() -> None:
    found = exact(Exactly(SENTENCE, 0.0, -math.inf))
    assert found.log_z == pytest.approx(LOG_PRIOR, abs=1e-10)
    assert float(found.log_p.exp().max()) == pytest.approx(1, abs=1e-12)
    assert float(kl(found.log_p, found.log_prior)) == pytest.approx(MASS.forward, abs=1e-10)
    assert float(kl(found.log_prior, found.log_p)) == math.inf == MASS.backward


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.7])
def test_the_mixture_is_a_normalised_posterior_at_a_finite_distance_both_ways(epsilon: float) -> None:
    found = exact(mixture(SENTENCE, LOG_PRIOR, epsilon))
    assert found.log_z == pytest.approx(0, abs=1e-10)
    to, back = PointMass(LOG_PRIOR).mixture(epsilon)
    assert float(kl(found.log_p, found.log_prior)) == pytest.approx(to, abs=1e-10)
    assert float(kl(found.log_prior, found.log_p)) == pytest.approx(back, abs=1e-10)
    same = exact(Exactly(SENTENCE, math.log1p((1 - epsilon) / (epsilon * math.exp(LOG_PRIOR)))))
    assert torch.allclose(found.log_p, same.log_p, atol=1e-10, rtol=0)  # it is a bounded reward


def test_nearness_puts_the_sentence_above_its_neighbours_in_the_prior_s_own_ratio() -> None:
    found = exact(Near(SENTENCE, 0.5))
    here, near = (found.index()[s] for s in (SENTENCE, (0, 1, 2)))
    assert float(found.log_lik[here]) == 0
    assert float(found.log_lik[near]) == -2  # one edit, over 0.5 edits a nat
    gap = found.log_p[here] - found.log_p[near]
    assert float(gap) == pytest.approx(float(found.log_prior[here] - found.log_prior[near]) + 2, abs=1e-10)


def test_stored_alone_the_sentence_gives_the_gradient_of_its_surprisal() -> None:
    policy, all_of_it = somewhere(3), exact(Exactly(SENTENCE, 1.0))
    at = all_of_it.index()[SENTENCE]
    wanted = gradient(policy, -log_law(policy, PROMPTS, all_of_it)[at])
    policy.forward_backward(demonstration(PRIOR, PROMPTS, row()), DPG(1, 1, baseline=False).loss)
    assert policy.logits.grad is not None
    assert torch.allclose(policy.logits.grad.flatten(), wanted, atol=1e-10, rtol=0)


def test_stored_with_draws_each_row_carries_target_over_proposal() -> None:
    """Each row's q = (δ + n π0)/(1 + n) and log-likelihood log mix/π0, by hand from the enumerated prior."""
    epsilon, n = 0.2, 40
    stored = demonstration(PRIOR, PROMPTS, row(), epsilon, n, Key(2))
    everything = exact(Exactly(SENTENCE, 1.0))
    at = [everything.index()[tuple(tokens)] for tokens in stored.completions.tokens()]
    p0 = everything.log_prior.exp()[at]
    hit = torch.tensor([float(place == at[0]) for place in at], dtype=torch.float64)
    q, mix = (hit + n * p0) / (1 + n), (1 - epsilon) * hit + epsilon * p0
    assert len(stored.completions) == 1 + n > hit.sum() >= 1
    assert torch.allclose(stored.log_q.sum(-1), q.log(), atol=1e-10, rtol=0)
    assert torch.allclose(stored.log_prior.sum(-1), p0.log(), atol=1e-10, rtol=0)
    assert torch.allclose(stored.log_lik, (mix / p0).log(), atol=1e-10, rtol=0)
    assert stored.log_z is not None
    assert stored.log_z.tolist() == [0]


@pytest.mark.parametrize(
    ("epsilon", "draws", "learner"), [(0.0, 0, DPG(1, 1, 0.3, baseline=False)), (0.1, 3000, DPG(1, 3001, 0.2))]
)
def test_training_on_it_reaches_the_target(epsilon: float, draws: int, learner: Learner) -> None:
    """KL(target‖π) falls from the surprisal to where step size and draws (30/(2·3000)) leave it."""
    policy = free_policy(Posterior(PRIOR, Near(SENTENCE, 1.0)), PROMPTS)
    target = Posterior(PRIOR, mixture(SENTENCE, LOG_PRIOR, epsilon))
    stored = demonstration(PRIOR, PROMPTS, row(), epsilon, draws, Key(4) if draws else None)
    fit(target, policy, PROMPTS, learner, Key(5), 80, stored=stored)  # pyright: ignore[reportArgumentType]
    law = enumerate_posterior(target, PROMPTS)
    assert float(kl(law.log_p, log_law(policy, PROMPTS, law).detach())) < 0.02 < PointMass(LOG_PRIOR).mixture(0.1)[0]


def test_what_cannot_be_a_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not end"):
        demonstration(PRIOR, PROMPTS, row((0, 1, 0, 1)))
    with pytest.raises(ConfigError, match="one sentence follows one prompt"):
        demonstration(PRIOR, two_prompts(), row())
    for epsilon, draws, key in ((0.1, 0, None), (0.0, 3, Key(0)), (0.1, 3, None)):
        with pytest.raises(ConfigError, match="at least one draw"):
            demonstration(PRIOR, PROMPTS, row(), epsilon, draws, key)
    for bad in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match="epsilon"):
            mixture(SENTENCE, -1.0, bad)
    with pytest.raises(ConfigError, match="possible"):
        mixture(SENTENCE, -math.inf, 0.1)
    for hit, miss in ((math.inf, 0.0), (1.0, 1.0), (math.nan, 0.0), (1.0, math.nan)):
        with pytest.raises(ConfigError, match="hit"):
            Exactly(SENTENCE, hit, miss)
    for beta in (0.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="beta"):
            Near(SENTENCE, beta)
    with pytest.raises(ConfigError, match="no token"):
        Near((), 1.0)
