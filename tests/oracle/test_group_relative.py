"""GRPO has a fixed point of its own, known exactly; its corrected form has the posterior."""

import itertools

import pytest
import torch

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.learn.grpo import GRPO
from credence.learn.loop import fit
from credence.posterior.exact import enumerate_posterior
from credence.testing.group_law import group_relative_law, rescaled
from tests.learning import PROMPTS, REACHED, free_policy, log_law, mean_kl, somewhere
from tests.policy_gradients import expected_by_token, reverse
from tests.toys import toy_a

SPREAD = 2.0
"""1/β of TOY-A in the literature's way to say it."""


@pytest.mark.parametrize("group", [2, 3])
def test_the_corrected_form_is_leave_one_out_but_for_a_factor(group: int) -> None:
    """(G − 1)/G of ∇KL(π‖p*)."""
    policy, exact = somewhere(20), enumerate_posterior(toy_a(), PROMPTS)
    learner = GRPO(group=group, spread=None, length=False, k3=False)
    assert learner.target == "posterior"
    found = expected_by_token(learner.loss, policy, toy_a(), group)
    assert torch.allclose(found, (group - 1) / group * reverse(policy, exact), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("group", "spread", "length"),
    [(2, None, False), (2, SPREAD, False), (2, SPREAD, True), (3, SPREAD, True), (2, None, True)],
)
def test_the_gradient_is_zero_at_its_own_law_and_not_at_the_posterior(
    group: int, spread: float | None, length: bool
) -> None:
    """By enumeration of all pairs or triples, to 1e-10; the law lies apart from p*."""
    exact = enumerate_posterior(toy_a(), PROMPTS)
    learner = GRPO(group=group, spread=spread, length=length)
    law = group_relative_law(toy_a(), PROMPTS, rescaled(exact, group, spread), length)
    assert float(expected_by_token(learner.loss, law, toy_a(), group).abs().max()) < 1e-10
    assert mean_kl(law, toy_a(), PROMPTS) > 0.01
    assert float(expected_by_token(learner.loss, free_policy(toy_a(), PROMPTS), toy_a(), group).norm()) > 0.1


def test_sequences_of_one_token_have_the_closed_form() -> None:
    """Without spread and length, V(root) + 1 = ν of π = π0/(ν − log_lik) at each place (SCIENCE 2.4, in nats)."""
    exact = enumerate_posterior(toy_a(), PROMPTS)
    half = rescaled(exact, 2, None)
    law = group_relative_law(toy_a(), PROMPTS, lambda chance: 2 * half(chance), False)  # log_lik less its mean under π
    back = {tuple(row): float(x) for row, x in zip(exact.completions.tokens(), exact.log_lik, strict=True)}
    logits = torch.log_softmax(law.state()["logits"], -1)
    prior = torch.log_softmax(free_policy(toy_a(), PROMPTS).state()["logits"], -1)
    for _, reply in sorted(law.places, key=lambda place: -len(place[1])):
        at = law.places[(), reply]
        pi, ahead = torch.exp(logits[at]), torch.tensor([back[*reply, v] for v in range(3)], dtype=torch.float64)
        back[reply] = float((pi * ahead).sum())
        assert torch.allclose(pi, torch.exp(prior[at]) / (back[reply] + 1 - ahead), atol=1e-10)


def test_training_ends_at_its_own_law() -> None:
    """Pairs, as the law was computed for; nearer to it than 0.001 nats, and as far from p* as the law is."""
    exact = enumerate_posterior(toy_a(), PROMPTS)
    law = group_relative_law(toy_a(), PROMPTS, rescaled(exact, 2, SPREAD), True)
    policy = free_policy(toy_a(), PROMPTS)
    lines: list[str] = []
    fit(toy_a(), policy, PROMPTS, GRPO(128, 2, 0.05, spread=SPREAD), Key(3), 200, say=lines.append)
    there = [log_law(p, PROMPTS, exact).detach() for p in (policy, law)]
    assert float(kl(there[0], there[1])) < REACHED
    assert mean_kl(policy, toy_a(), PROMPTS) > 0.02
    assert lines == [f"GRPO converges to {GRPO(spread=SPREAD).target}."]


def test_the_corrected_form_reaches_the_posterior() -> None:
    policy = free_policy(toy_a(), PROMPTS)
    fit(toy_a(), policy, PROMPTS, GRPO(1, 64, 0.1, spread=None, length=False, k3=False), Key(3), 150)
    assert mean_kl(policy, toy_a(), PROMPTS) < REACHED


def test_each_part_says_where_it_leads() -> None:
    switches = itertools.product((None, 2.0), (True, False), (True, False))
    said = {GRPO(spread=s, length=w, k3=k).target for s, w, k in switches}
    assert len(said) == 8
    assert "posterior" in said
