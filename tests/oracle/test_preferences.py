"""Learners of recorded replies against enumeration: exact gradients, and each one's declared fixed point on TOY-A."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Learner
from credence.evidence.comparisons import Comparisons
from credence.learn.dpo import DPO
from credence.learn.ipo import IPO
from credence.learn.kto import KTO
from credence.learn.loop import fit
from credence.learn.recorded import stored_comparisons, stored_demonstrations
from credence.learn.sft import SFT
from credence.prior.tabular import tabular_policy
from credence.prior.train import scored
from tests.learning import PROMPTS, REACHED, mean_kl, somewhere
from tests.preferring import (
    EXACT,
    REWARD,
    bandit,
    believed,
    by_backward,
    by_differences,
    check_divergence,
    check_dpo_gradient,
    check_ipo_gap,
    check_ipo_gradient,
    check_kto_gradient,
    check_links,
    check_posterior,
    check_sft_gradient,
    divergence_optimum,
    every_pair,
    gaps,
    law,
    settled,
    some_labels,
    some_pairs,
    somewhere_on,
)
from tests.toys import BETA, toy_a, toy_prior


@pytest.mark.parametrize("seed", [20, 21])
@pytest.mark.parametrize(
    "check", [check_dpo_gradient, check_ipo_gradient, check_sft_gradient, check_kto_gradient, check_links]
)
def test_the_gradient_is_the_formula(check: Callable[[int], None], seed: int) -> None:
    check(seed)


@pytest.mark.parametrize(
    "learner",
    [DPO(), DPO(divergence="forward_kl"), DPO(divergence="js"), DPO(divergence="alpha", alpha=0.3), IPO()],
    ids=lambda x: getattr(x, "divergence", "ipo"),
)
def test_the_gradient_of_pairs_by_central_differences(learner: Learner) -> None:
    policy, batch = somewhere(22), stored_comparisons(toy_prior(), some_pairs(22), 0.6)
    wanted = by_differences(policy, batch, learner.loss)
    assert torch.allclose(by_backward(policy, batch, learner.loss), wanted, atol=1e-8, rtol=0)


def test_dpo_of_all_pairs_is_the_posterior() -> None:
    check_posterior(20)


@pytest.mark.parametrize("divergence", ["forward_kl", "js", "alpha"])
def test_another_divergence_has_its_own_optimum_away_from_the_posterior(divergence: str) -> None:
    check_divergence(divergence, 20)
    assert float(kl(divergence_optimum(divergence), EXACT.log_p)) > 1e-3


def test_the_optimum_under_the_forward_kl_is_known_in_closed_form() -> None:
    """β π0/(ν − r) with ν = 1.1525100765 and E r = ν − β: the law that k3 in the loss converges to as well."""
    log_p = divergence_optimum("forward_kl")
    assert float(torch.exp(log_p) @ REWARD) == pytest.approx(0.6525100765, abs=1e-8)
    assert torch.allclose(log_p, EXACT.log_prior + math.log(BETA) - torch.log(1.1525100765 - REWARD), atol=1e-8)


def test_alpha_lies_between_the_two_divergences() -> None:
    reverse, forward = EXACT.log_p, divergence_optimum("forward_kl")
    assert float(kl(divergence_optimum("alpha", 0.001), reverse)) < 1e-5
    assert float(kl(divergence_optimum("alpha", 0.999), forward)) < 1e-5


def test_the_gap_of_ipo_under_labels_that_never_disagree() -> None:
    check_ipo_gap(20)


def test_ipo_of_all_pairs_is_the_posterior_of_the_winning_probability() -> None:
    """h(x) = P(x beats a reply of the judged law)/β + const, that law uniform over the replies, x itself a draw."""
    policy = settled(somewhere(20), stored_comparisons(toy_prior(), every_pair(believed), BETA), IPO().loss)
    wins = torch.sigmoid(REWARD[:, None] - REWARD[None, :]).mean(1)
    wanted = torch.log_softmax(EXACT.log_prior + wins / BETA, 0)
    assert float(kl(law(policy), wanted)) < 1e-6 < float(kl(wanted, EXACT.log_p))


def test_three_arms_ipo_stays_and_dpo_grows() -> None:
    """Labels that never disagree, 0 > 1 > 2: IPO's minimum is at a finite gap, DPO's gap grows with every step."""
    prior, pairs = bandit(3, [1.0, 1.0, 1.0])
    batch = stored_comparisons(prior, pairs, 0.5)
    ipo, dpo = (tabular_policy(prior, prior.codec.prompts([()])) for _ in range(2))
    settled(ipo, batch, IPO().loss)
    assert float(gaps(ipo, prior)[0, 2]) == pytest.approx(4 / 3, abs=1e-6)  # wins 5/6, 1/2, 1/6 of the time, over β
    seen = [0.0]
    for _ in range(3):
        for _ in range(40):
            dpo.forward_backward(batch, DPO().loss)
            dpo.step(0.2)
        seen.append(float(gaps(dpo, prior)[0, 2]))
    assert all(later > before + 1.5 for before, later in itertools.pairwise(seen))


def test_the_loop_trains_dpo_to_the_posterior() -> None:
    """Adam on all 465 comparisons at once, as `fit` does it."""
    pairs = every_pair(believed)
    policy = tabular_policy(toy_prior(), PROMPTS)
    done = fit(
        toy_a(), policy, pairs.prompts, DPO(prompts=465, lr=0.3), Key(1), 100,
        stored=stored_comparisons(toy_prior(), pairs, BETA),
    )  # fmt: skip
    assert mean_kl(policy, toy_a(), PROMPTS) < REACHED
    last = done.history[-1]
    assert last["h_chosen"] - last["h_rejected"] == pytest.approx(last["h_margin"], abs=1e-9)
    assert 0.5 < last["agreed"] < 1


def test_the_loop_trains_sft_to_the_law_of_the_data() -> None:
    """Replies of p* in their exact proportions to a thousandth: the data's law, not p* itself, is reached."""
    count = torch.round(1000 * torch.exp(EXACT.log_p)).long()
    picked = torch.arange(31).repeat_interleave(count)
    batch = stored_demonstrations(toy_prior(), PROMPTS, EXACT.completions.rows(picked))
    policy = tabular_policy(toy_prior(), PROMPTS)
    fit(toy_a(), policy, PROMPTS, SFT(1, 0.2, group=len(picked)), Key(1), 150, stored=batch)
    data = torch.log(count / count.sum())
    assert float(kl(data, law(policy))) < 1e-3


def test_dpo_leaks_mass_where_nothing_was_compared() -> None:
    """Two of the 31 replies compared: the order is learnt, and what the loss does not see is free to move."""
    pairs = every_pair(believed).take([7])
    batch = stored_comparisons(toy_prior(), Comparisons(pairs.prompts, pairs.replies, torch.tensor([[1.0, 0.0]])), 1.0)
    policy = somewhere(20)
    _, info = DPO().loss(scored(batch, policy.log_probs(batch.prompts, batch.completions)))
    assert 0 < info["seen"] < 1
    log_prior = toy_prior().score(batch.prompts, batch.completions).sum(-1)
    assert info["seen_prior"] == pytest.approx(float(torch.exp(log_prior).sum()))


def test_kto_moves_with_the_labels_and_claims_nothing() -> None:
    batch = some_labels(toy_prior(), 3)
    policy = somewhere_on(batch.prompts, 3, 0.0)
    rows = torch.arange(0, 40, 2)
    before = policy.score(batch.prompts, batch.completions).sum(-1)[rows]
    for _ in range(30):
        policy.forward_backward(batch, KTO().loss)
        policy.step(0.05)
    gain = policy.score(batch.prompts, batch.completions).sum(-1)[rows] - before
    liked = batch.readings["liked"][rows] > 0
    assert float(gain[liked].mean()) > 0.5 > -0.5 > float(gain[~liked].mean())
    assert "no claim" in KTO().target


def test_a_tie_asks_for_no_gap_and_a_contradiction_for_a_finite_one() -> None:
    for share, wanted in ((0.5, 0.0), (0.75, math.log(3) / 0.5)):
        prior, pairs = bandit(2, [share])
        policy = tabular_policy(prior, prior.codec.prompts([()]))
        policy.restore({"logits": policy.state()["logits"] + torch.tensor([[0.7, 0.0]])})
        settled(policy, stored_comparisons(prior, pairs, 0.5), DPO().loss)
        assert float(gaps(policy, prior)[0, 1]) == pytest.approx(wanted, abs=1e-4)
