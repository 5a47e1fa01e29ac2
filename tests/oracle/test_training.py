"""Training by sampling on enumerable toys reaches the posterior, measured exactly. One seed each, no averaging."""

import json

import pytest
import torch

from credence.core.keys import Key
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Record, Validation, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from tests.learning import REACHED, every_sequence, exacts, free_policy, mean_kl, stored_draws
from tests.toys import toy_a, toy_prompts, toy_two, two_prompts

SHORT = Reinforce(1, 32, 0.05)


def short(key: int, **settings: object) -> Fit:
    policy = free_policy(toy_a(), toy_prompts())
    return fit(toy_a(), policy, toy_prompts(), SHORT, Key(key), 6, **settings)  # pyright: ignore


@pytest.mark.slow
def test_reinforce_reaches_the_posterior_of_each_prompt() -> None:
    """Two prompts of unlike length with their own log Z, one of which holds the end token."""
    policy = free_policy(toy_two(), two_prompts())
    begun = mean_kl(policy, toy_two(), two_prompts())
    fit(toy_two(), policy, two_prompts(), Reinforce(2, 64, 0.1), Key(2), 300)
    assert mean_kl(policy, toy_two(), two_prompts()) < REACHED < begun / 100


@pytest.mark.slow
def test_dpg_reaches_the_posterior_from_stored_prior_draws() -> None:
    """100,000 draws, whose own weights are 30/(2 ESS) = 3.4e-4 nats from p*: the sample, not the learner, sets that."""
    policy = free_policy(toy_a(), toy_prompts())
    draws = stored_draws(toy_a(), toy_prompts(), Key(3), 100_000)
    fit(toy_a(), policy, toy_prompts(), DPG(1, 100_000, 0.2), Key(4), 60, stored=draws)
    assert mean_kl(policy, toy_a(), toy_prompts()) < REACHED


@pytest.mark.parametrize("given", ["a", "two"])
def test_dpg_reaches_the_posterior_from_every_sequence_once(given: str) -> None:
    """A uniform proposal without its noise, 31 or 2 × 40 rows: off-policy weights, one Z a prompt, no sampling error.

    The prompts of the second toy are visited one a step, so each must have its own Z from its own rows.
    """
    posterior, prompts = (toy_a(), toy_prompts()) if given == "a" else (toy_two(), two_prompts())
    policy = free_policy(posterior, prompts)
    fit(posterior, policy, prompts, DPG(1, 100, 0.2, 3), Key(4), 110, stored=every_sequence(posterior, prompts))
    assert mean_kl(policy, posterior, prompts) < REACHED


def test_annealing_beta_ends_at_the_final_target() -> None:
    """A schedule from the prior to the posterior; validated under the target at its end, the start is not the best."""
    asked: list[int] = []

    def schedule(step: int, last: Record) -> Posterior:
        asked.append(step)
        return toy_a().tempered(min(1.0, step / 30))

    policy = free_policy(toy_a(), toy_prompts())
    done = fit(
        schedule, policy, toy_prompts(), DPG(1, 100, 0.2), Key(5), 100,
        stored=every_sequence(toy_a(), toy_prompts()), validation=Validation(toy_prompts(), 100, 50),
    )  # fmt: skip
    assert mean_kl(policy, toy_a(), toy_prompts()) < REACHED
    assert done.best > 0
    assert done.best_elbo == pytest.approx(exacts(toy_a(), toy_prompts())[0].log_z, abs=0.01)


def test_annealed_dpg_reads_the_evidence_again() -> None:
    """Stored nats of the final target are not used while the target is another."""
    draws = every_sequence(toy_a(), toy_prompts())
    policy = free_policy(toy_a(), toy_prompts())
    half = toy_a().tempered(0.5)
    fit(lambda step, last: half, policy, toy_prompts(), DPG(1, 100, 0.2), Key(4), 80, stored=draws)
    assert mean_kl(policy, half, toy_prompts()) < REACHED < mean_kl(policy, toy_a(), toy_prompts())


def test_same_key_same_history_bytes() -> None:
    first, again, other = (short(k, validation=Validation(toy_prompts(), 4, 3)) for k in (7, 7, 8))
    assert json.dumps(first.history) == json.dumps(again.history)
    assert torch.equal(first.policy.state()["logits"], again.policy.state()["logits"])
    assert json.dumps(first.history) != json.dumps(other.history)


def test_a_budget_of_time_changes_no_draw() -> None:
    """The learning rate follows the clock then; which prompts and which uniforms a step uses does not."""
    assert short(7, seconds=1e6).history[0] == short(7).history[0] | {"lr": short(7, seconds=1e6).history[0]["lr"]}
