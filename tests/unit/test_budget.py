"""β for a budget: exact on TOY-A, its interval against enumeration, and what is refused."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.diagnose.budget import budget
from credence.diagnose.frontier import beta_for_reward
from credence.evidence.constraint import Constraint
from credence.evidence.ended import Ended
from credence.evidence.product import Product
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.study.budget import draw, settings, solve, weighed
from credence.study.evidence_config import ConstraintConfig, EndedConfig, EvidenceConfig, RewardConfig
from tests.toys import toy_a, toy_prior, toy_prompts, toy_reward


@pytest.fixture(scope="module")
def exact() -> Exact:
    return enumerate_posterior(toy_a(), toy_prompts())


@pytest.fixture(scope="module")
def reward(exact: Exact) -> torch.Tensor:
    return torch.tensor(toy_reward([], list(exact.sequences)), dtype=torch.float64)


@pytest.mark.parametrize(("kl", "beta"), [(0.1, 1.268683), (0.5, 0.525010), (1.0, 0.304827)])
def test_the_oracle_s_beta_for_a_kl(exact: Exact, reward: torch.Tensor, kl: float, beta: float) -> None:
    found = budget("kl", kl, [reward], measure=[exact.log_prior], exact=True)
    assert found.beta[0] == pytest.approx(beta, abs=5.001e-7)
    assert found.kl == pytest.approx((kl,) * 3)
    assert found.trusted


def test_the_oracle_s_beta_for_a_reward(exact: Exact, reward: torch.Tensor) -> None:
    """E_p*[r] = 0.6956932185 at β = 0.5; the prior's 0.1170083145 needs no evidence at all."""
    found = budget("reward", 0.6956932185, [reward], measure=[exact.log_prior], exact=True)
    assert found.beta[0] == pytest.approx(0.5, abs=1e-8)
    assert found.kl[0] == pytest.approx(0.5392896809, abs=1e-8)
    assert found.prior_reward == pytest.approx(0.1170083145, abs=1e-9)
    with pytest.raises(ConfigError, match=r"reach from 0\.117, the mean without this reward, to 0\.98"):
        beta_for_reward([reward], 0.11, measure=[exact.log_prior], exact=True)


def test_from_draws_the_interval_holds_the_truth_and_trust_ends(reward: torch.Tensor) -> None:
    """1,024 draws of the prior at KL = 0.5: β = 0.525010 lies within, and the reach says where trust ends."""
    parts = weighed(Reward(toy_reward, 0.5, bound=1.0), "kl")
    pools = draw(toy_prior(), parts, toy_prompts().take([0, 0]), 512, Key(3), lambda: None)
    found = solve("kl", 0.5, pools, Key(3))
    beta, low, high = found.beta
    assert low < 0.525010 < high
    assert low < beta < high
    assert high / low < 1.6
    assert found.trusted
    assert found.reach is not None
    assert found.reach.beta < beta
    assert [at.draws for at in found.prompts] == [512, 512]
    assert "every prompt's draws can be trusted here" in found.finding().meaning
    with pytest.raises(ConfigError, match="cannot be had"):
        solve("kl", 4.3, pools, Key(3))  # log 512 − 2 = 4.24


def test_an_answer_on_few_draws_is_flagged() -> None:
    parts = weighed(Reward(toy_reward, 0.5), "reward")
    pools = draw(toy_prior(), parts, toy_prompts(), 24, Key(1), lambda: None)
    found = solve("reward", 0.6, pools, Key(1))
    assert not found.trusted
    assert "the draws of 1 of 1 prompts cannot be trusted here" in found.finding().meaning
    assert found.reach is None
    assert "no β at all" in found.finding().meaning


def test_other_evidence_is_held_fixed_and_shows_in_the_least_kl(exact: Exact) -> None:
    evidence = Reward(toy_reward, 0.5) * Ended(-3.0)
    pools = draw(toy_prior(), weighed(evidence, "kl"), toy_prompts(), 400, Key(2), lambda: None)
    assert pools.other[0].unique().tolist() == [-3.0, 0.0]
    assert float(pools.reward[0].max()) <= 1  # in reward units, not nats
    with pytest.raises(ConfigError, match=r"reach from 0\.\d+ to"):
        solve("kl", 0.01, pools, Key(2))


def test_without_a_reward_all_evidence_is_tempered(exact: Exact) -> None:
    """τ for KL = 0.1 of a soft constraint and `Ended`, against enumeration."""
    evidence = Product((Ended(-2.0), Constraint(lambda tokens: 1 in tokens, "b", -3.0)))
    parts = weighed(evidence, "kl")
    assert parts.tempers
    nats = evidence.log_lik(toy_prompts(), exact.completions)
    truth = budget("kl", 0.1, [nats], measure=[exact.log_prior], exact=True)
    pools = draw(toy_prior(), parts, toy_prompts(), 1500, Key(4), lambda: None)
    found = solve("kl", 0.1, pools, Key(4))
    assert found.beta[1] < truth.beta[0] < found.beta[2]
    config = EvidenceConfig(
        ended=EndedConfig(cut=-2.0),
        constraint=(
            ConstraintConfig(contains=("b",), otherwise=-3.0),  # pyright: ignore[reportCallIssue]
            ConstraintConfig(matches="x"),  # pyright: ignore[reportCallIssue]
        ),
    )
    assert dict(settings(config, parts, truth)) == pytest.approx(
        {"evidence.ended.cut": -2 / truth.beta[0], "evidence.constraint.0.otherwise": -3 / truth.beta[0]}
    )


def test_several_rewards_keep_their_proportion(exact: Exact, reward: torch.Tensor) -> None:
    evidence = Product((Reward(toy_reward, 0.5), Reward(toy_reward, 2.0, name="again")))
    parts = weighed(evidence, "kl")
    assert parts.tempers
    truth = budget("kl", 0.5, [reward / 0.5 + reward / 2.0], measure=[exact.log_prior], exact=True)
    config = EvidenceConfig(reward=(RewardConfig(fn="vader", beta=0.5), RewardConfig(fn="vader", beta=2.0)))  # pyright: ignore[reportCallIssue]
    written = dict(settings(config, parts, truth))
    assert 1 / written["evidence.reward.0.beta"] + 1 / written["evidence.reward.1.beta"] == pytest.approx(
        1 / 0.525010, abs=4e-6
    )
    with pytest.raises(ConfigError, match="--reward with 2 rewards"):
        weighed(evidence, "reward")
    with pytest.raises(ConfigError, match="--reward with 0 rewards"):
        weighed(Ended(-1.0), "reward")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_goals_that_are_no_numbers_are_refused(reward: torch.Tensor, bad: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        beta_for_reward([reward], bad)
