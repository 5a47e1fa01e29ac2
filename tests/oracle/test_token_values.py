"""Values of prefixes on enumerable languages: exact gradients, optima, golden numbers, convergence from stored rows."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, ValueLearner
from credence.core.types import Prompts
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.gumbel import Gumbel
from credence.learn.values.ilql import ILQL
from credence.learn.values.linear import Linear
from credence.learn.values.path import PathConsistency
from credence.learn.values.rows import check_shape
from credence.learn.values.sixo import SIXO
from credence.learn.values.soft_q import TokenSoftQ
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.guided_table import GuidedTable
from tests import valuing
from tests.learning import every_sequence, stored_draws
from tests.toys import toy_a, toy_prompts, toy_two, two_prompts
from tests.valuing import BY_STATE, OTHERS, PROMPTS, TO_POSTERIOR, at_soft_values, gradients, guide_of, put

GRADIENTS = [getattr(valuing, name) for name in sorted(vars(valuing)) if name.endswith("_gradient")]
TOYS = {"a": (toy_a(), toy_prompts()), "two": (toy_two(), two_prompts())}
everywhere = pytest.mark.parametrize(("posterior", "prompts"), TOYS.values(), ids=TOYS)


@pytest.mark.parametrize("check", GRADIENTS, ids=lambda c: c.__name__)
def test_gradients_by_hand(check: Callable[[int], None]) -> None:
    """One prefix and token at a time from SCIENCE's formulas, to 1e-10; rows of a uniform law are weighted."""
    check(1)


@everywhere
def test_soft_values_guide_to_the_posterior(posterior: Posterior, prompts: Prompts) -> None:
    """π0 e^(Q−V) = p* and V(root) = log Z, to 1e-10; TOY-A's root is SCIENCE's 0.4260483780/β."""
    guide = at_soft_values(posterior, prompts)
    assert valuing.mean_kl(guide, posterior, prompts) < 1e-10
    wanted = torch.tensor([e.log_z for e in valuing.exacts(posterior, prompts)], dtype=torch.float64)
    assert torch.allclose(valuing.roots(guide, prompts), wanted, atol=1e-10, rtol=0)


def test_the_root_of_toy_a_is_the_golden_one() -> None:
    assert float(valuing.roots(at_soft_values(toy_a(), PROMPTS), PROMPTS)) * 0.5 == pytest.approx(
        0.4260483780, abs=1e-10
    )


@everywhere
@pytest.mark.parametrize("name", TO_POSTERIOR)
def test_soft_values_are_a_fixed_point(name: str, posterior: Posterior, prompts: Prompts) -> None:
    """No gradient is left in Q, on rows of a uniform law; neither the linear nor the expectile learner passes."""
    guide = at_soft_values(posterior, prompts)
    q, v = gradients(guide, TO_POSTERIOR[name], every_sequence(posterior, prompts))
    assert float(q.abs().max()) < 1e-12
    assert float(v.abs().max()) == 0.0


@everywhere
@pytest.mark.parametrize("name", BY_STATE)
def test_soft_values_are_a_fixed_point_of_one_number_a_prefix(
    name: str, posterior: Posterior, prompts: Prompts
) -> None:
    guide = at_soft_values(posterior, prompts)
    q, v = gradients(guide, BY_STATE[name], every_sequence(posterior, prompts))
    assert float(v.abs().max()) < 1e-12
    assert float(q.abs().max()) == 0.0


@pytest.mark.parametrize("name", OTHERS)
def test_other_targets_say_so_and_are_elsewhere(name: str) -> None:
    guide = at_soft_values(toy_a(), PROMPTS)
    q, v = gradients(guide, OTHERS[name], every_sequence(toy_a(), PROMPTS))
    assert float(torch.cat([q.flatten(), v]).abs().max()) > 1e-2
    assert "not p*" in OTHERS[name].target
    assert all(learner.target == "posterior" for learner in TO_POSTERIOR.values())


def linear_guide() -> GuidedTable:
    guide = guide_of(toy_a(), PROMPTS)
    put(guide, valuing.by_prompt(toy_a(), PROMPTS), valuing.mean_of)
    return guide


def test_linear_values_are_as_far_off_as_science_says() -> None:
    """TV 0.2018775 and KL(p*‖π) 0.0931181 (SCIENCE 4.3); the fixed point of Linear, and of ILQL at τ = ½."""
    guide, exact = linear_guide(), enumerate_posterior(toy_a(), PROMPTS)
    log_pi = valuing.law_of(guide, PROMPTS, exact)
    assert 0.5 * float((log_pi.exp() - exact.log_p.exp()).abs().sum()) == pytest.approx(0.2018775, abs=1e-7)
    divergences = [float(kl(log_pi, exact.log_p)), float(kl(exact.log_p, log_pi))]
    assert min(abs(d - 0.0931181) for d in divergences) < 1e-7, divergences
    for learner in (Linear(), ILQL(expectile=0.5)):
        q, v = gradients(guide, learner, every_sequence(toy_a(), PROMPTS))
        assert float(torch.cat([q.flatten(), v]).abs().max()) < 1e-12


def test_no_expectile_is_the_posterior() -> None:
    """ILQL's exact fixed points for several τ, by backward induction: each keeps away from p*."""
    exact = enumerate_posterior(toy_a(), PROMPTS)
    for tau in (0.5, 0.7, 0.9, 0.99):
        values = dict(exact.log_value)
        for prefix in reversed(exact.prefixes):
            p, after = (
                exact.log_step[prefix].exp(),
                torch.tensor([values[(*prefix, v)] for v in range(3)], dtype=torch.float64),
            )
            low, high = float(after.min()), float(after.max())
            for _ in range(80):
                middle = (low + high) / 2
                pull = torch.where(after > middle, tau, 1 - tau) * p * (after - middle)
                low, high = (middle, high) if float(pull.sum()) > 0 else (low, middle)
            values[prefix] = (low + high) / 2
        guide = guide_of(toy_a(), PROMPTS)
        put(guide, {(): replace(exact, log_value=values)}, valuing.soft)
        q, v = gradients(guide, ILQL(expectile=tau), every_sequence(toy_a(), PROMPTS))
        assert float(torch.cat([q.flatten(), v]).abs().max()) < 1e-9
        assert valuing.mean_kl(guide, toy_a(), PROMPTS) > 0.005


STEPS = {"soft Q": 150, "paths of 1": 150, "paths of 2": 150, "Gumbel": 150}


QUICK = {"FUDGE"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in TO_POSTERIOR]
)
def test_training_on_every_sequence_reaches_the_posterior(name: str) -> None:
    """KL(p*‖π) < 1e-3 from 0.539, and V(root) = log Z where the learner knows it."""
    learner = replace(TO_POSTERIOR[name], prompts=1, group=31, lr=0.15)  # pyright: ignore - each is a dataclass
    guide = valuing.trained(learner, STEPS.get(name, 100), toy_a(), PROMPTS, 0.5)
    assert valuing.mean_kl(guide, toy_a(), PROMPTS) < 1e-3
    if name not in {"whole paths", "whole paths, tilted", "CTL"}:
        assert float(valuing.roots(guide, PROMPTS)) == pytest.approx(0.8520967561, abs=0.03)


@pytest.mark.slow
def test_a_policy_learner_trains_the_same_values() -> None:
    """DPG moves Q through log π: the guide is a policy like any other."""
    guide = guide_of(toy_a(), PROMPTS)
    fit(toy_a(), guide, PROMPTS, DPG(1, 31, 0.2), Key(1), 80, stored=every_sequence(toy_a(), PROMPTS))
    assert valuing.mean_kl(guide, toy_a(), PROMPTS) < 1e-3


def test_it_learns_from_draws() -> None:
    """2,000 draws: (31 − 1)/(2 · 2000 · ESS/n) = 0.017 nats from p* by chance alone. The bound is of this seed."""
    valuing.check_learns_from_draws(1)


def test_impossible_draws_are_likelihoods_of_zero() -> None:
    """-inf is data to FUDGE, Gumbel, CTL and SIXO, finite in loss and gradient, and refused by squared losses."""
    batch = every_sequence(toy_a(), PROMPTS)
    hard = replace(batch, log_lik=torch.where(batch.completions.ids[:, 0] == 0, batch.log_lik, -torch.inf))
    for learner in (Fudge(), Gumbel(), CTL(), SIXO()):
        q, _ = gradients(valuing.somewhere(3), learner, hard)
        assert bool(torch.isfinite(q).all())
        assert float(q.abs().max()) > 0
    for learner in (TokenSoftQ(), PathConsistency(), Linear(), ILQL()):
        with pytest.raises(Exception, match="impossible under the evidence"):
            gradients(valuing.somewhere(3), learner, hard)


def test_a_hard_event_is_learnt() -> None:
    """The first token must be a 0: FUDGE's values then give that first token."""
    batch = every_sequence(toy_a(), PROMPTS)
    log_lik = torch.where(batch.completions.ids[:, 0] == 0, 0.0, -torch.inf).double()
    hard = replace(batch, log_lik=log_lik)
    guide = guide_of(toy_a(), PROMPTS)
    fit(toy_a(), guide, PROMPTS, Fudge(1, 31, 0.5), Key(1), 30, stored=hard)
    first = torch.softmax(guide.next_logits(guide.start(PROMPTS, 1))[0], 0)
    assert float(first[0]) > 0.95


def test_a_learner_of_values_wants_a_guide() -> None:
    from tests.learning import free_policy

    policy = free_policy(toy_a(), PROMPTS)
    with pytest.raises(ValueError, match="Fudge trains a value of prefixes, and TabularPolicy has none"):
        fit(toy_a(), policy, PROMPTS, Fudge(), Key(1), 1, stored=every_sequence(toy_a(), PROMPTS))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: check_shape("word"), 'shape=.*"token"'),
        (lambda: Fudge(prompts=0), "prompts=0"),
        (lambda: CTL(group=1), "contrasted"),
        (lambda: PathConsistency(span=-1), "span=-1"),
        (lambda: PathConsistency(group=1), "at least 2 draws"),
        (lambda: PathConsistency(span=1, tilt=0.5), "tilt=0.5"),
        (lambda: ILQL(expectile=1.0), "expectile=1.0"),
        (lambda: guide_of(toy_a(), PROMPTS, 0.0), "follow=0.0"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_whole_paths_need_two_draws() -> None:
    draws = stored_draws(toy_a(), PROMPTS, Key(1), 1)
    with pytest.raises(ValueError, match="single draw"):
        gradients(valuing.somewhere(1), PathConsistency(), draws)


def test_the_target_network_follows() -> None:
    guide = guide_of(toy_a(), PROMPTS, follow=0.25)
    draws: Batch = every_sequence(toy_a(), PROMPTS)
    guide.value_backward(draws, Fudge().value_loss)
    guide.step(0.1)
    assert torch.allclose(guide.lagged, 0.25 * guide.q.detach(), atol=1e-15)
    kept, moments = guide.state(), {k: v.clone() for k, v in guide.moments().items()}
    again = guide_of(toy_a(), PROMPTS, follow=0.25)
    again.restore(kept, moments)
    for g in (guide, again):
        g.value_backward(draws, TokenSoftQ().value_loss)
        g.step(0.1)
    assert torch.equal(guide.q, again.q)
    assert torch.equal(guide.lagged, again.lagged)
    assert not math.isclose(float(guide.lagged.abs().sum()), float(guide.q.detach().abs().sum()))


def test_learners_keep_the_protocol() -> None:
    for learner in [*TO_POSTERIOR.values(), *BY_STATE.values(), *OTHERS.values()]:
        assert isinstance(learner, ValueLearner)
        assert learner.needs == {"value"}
