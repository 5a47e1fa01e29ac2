"""Another β for the rewards, and for nothing else."""

import math

import pytest
import torch
from pydantic import ValidationError

from credence.core.errors import ConfigError
from credence.core.soft import check_beta
from credence.core.types import Completions, Prompts
from credence.evidence.ended import Ended
from credence.evidence.feedback import Feedback, Head
from credence.evidence.reward import Reward
from credence.evidence.sentence import Near
from credence.evidence.strength import at_beta, beta_of, factors
from credence.study.control_config import ControlConfig
from credence.study.evidence_config import RewardConfig
from tests.toys import toy_prior, toy_prompts, toy_reward


def test_rewards_change_in_proportion_and_endings_stay() -> None:
    def other(prompts: list, completions: list) -> list[float]:
        return [0.1 * len(c) for c in completions]

    first, second, cut = Reward(toy_reward, 0.5), Reward(other, 2.0), Ended(-3.0)
    evidence = cut * first * second
    assert beta_of(evidence) == 0.5
    changed = at_beta(evidence, 0.25)
    prompts = toy_prompts()
    from credence.core.keys import Key

    rows, _ = toy_prior().sample(Key(1), prompts, 20)
    wanted = cut.log_lik(prompts, rows) + 2 * first.log_lik(prompts, rows) + 2 * second.log_lik(prompts, rows)
    assert torch.allclose(changed.log_lik(prompts, rows), wanted)
    assert len(factors(changed)) == 3
    assert at_beta(evidence, 0.5) is evidence
    assert beta_of(at_beta(first, 3.0)) == 3.0


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_no_posterior_exists_there(beta: float) -> None:
    with pytest.raises(ConfigError, match="finite and above 0"):
        at_beta(Reward(toy_reward, 0.5), beta)


@pytest.mark.parametrize("beta", [1e-320, 1e-300, 4e-13])
def test_a_beta_whose_nats_would_be_no_numbers_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match="at least 5e-13"):
        at_beta(Reward(toy_reward, 0.5), beta)
    assert beta_of(at_beta(Reward(toy_reward, 0.5), 6e-13)) == pytest.approx(6e-13)


def test_a_reward_needs_a_finite_inverse_of_its_beta() -> None:
    with pytest.raises(ConfigError, match="1/beta"):
        Reward(toy_reward, 1e-320)
    with pytest.raises(ValidationError, match="1/beta"):
        RewardConfig(fn="vader", beta=1e-320)


def test_whatever_divides_by_beta_needs_a_finite_inverse() -> None:
    head = Head(torch.zeros(2), torch.eye(2), torch.ones(1))
    for made in (lambda: Near((1, 0), 1e-320), lambda: Feedback(_no_features, head, beta=1e-320)):
        with pytest.raises(ConfigError, match=r"beta=1e-320.*1/beta"):
            made()
    with pytest.raises(ValidationError, match="1/beta"):
        ControlConfig.model_validate({"beta": 1e-320, "environment": {"id": "FrozenLake-v1"}})
    with pytest.raises(ConfigError, match="1/beta"):
        check_beta(1e-320)
    assert check_beta(0.0) == 0  # the limit, without a KL: nothing is divided


def _no_features(prompts: Prompts, completions: Completions) -> torch.Tensor:
    return torch.zeros(len(completions.ids), 1)


def test_where_there_is_no_reward_there_is_no_beta() -> None:
    assert beta_of(Ended()) is None
    with pytest.raises(ConfigError, match="no reward"):
        at_beta(Ended(), 0.2)
