"""A policy and a prior that do not say the same replies: refused by name, with what to do, never a NaN."""

import math

import pytest
import torch

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.protocols import Learner
from credence.core.status import Status
from credence.evidence.reward import Reward
from credence.learn.balance import VarGrad
from credence.learn.collect import Learner as LoopLearner
from credence.learn.dpg import DPG
from credence.learn.f_dpg import FDPG
from credence.learn.grpo import GRPO
from credence.learn.loop import Fit, fit
from credence.learn.losses.f_divergence import Divergence
from credence.learn.ppo import PPO
from credence.learn.rao_blackwell import RaoBlackwell
from credence.learn.reinforce import Reinforce
from credence.learn.reward_weighted import RewardWeighted
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.prior.tabular import tabular_policy
from tests.learning import PROMPTS, every_sequence

WIDE = TablePrior(lambda said: [0.0, 0.3, 0.5], 3, 2, 3)
NARROW = TablePrior(lambda said: [0.0, 0.3 if said else -math.inf, 0.5], 3, 2, 3)


def trained(prior: TablePrior, own: TablePrior, learner: LoopLearner) -> Fit:
    """Two steps towards a posterior on `prior`, of a policy that is `own`."""
    target = Posterior(prior, Reward(lambda _, replies: [float(len(x)) for x in replies], 1.0))
    stored = None if learner.on_policy else every_sequence(target, PROMPTS)
    return fit(target, tabular_policy(own, PROMPTS), PROMPTS, learner, Key(1), 2, stored=stored)


@pytest.mark.parametrize(
    "learner",
    [DPG(1, 8), DPG(1, 8, baseline=False), FDPG(1, 8), VarGrad(1, 8), RewardWeighted(1, 8)],
    ids=["dpg", "dpg without baseline", "f-dpg", "vargrad", "rwr"],
)
def test_a_policy_without_its_prior_s_support_is_refused(learner: Learner) -> None:
    """Rejects a NaN whose remedy was to lower lr."""
    with pytest.raises(ContractError, match=r"probability 0 to \d+ of \d+ rows that its prior can say.*temperature"):
        trained(WIDE, NARROW, learner)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "learner",
    [
        Reinforce(1, 16), RaoBlackwell(1, 16), PPO(1, 16, value=False), GRPO(1, 16), VarGrad(1, 16, on_policy=True),
        FDPG(1, 16, divergence=Divergence.REVERSE_KL, on_policy=True),
    ],
    ids=["reinforce", "rao-blackwell", "ppo", "grpo", "vargrad", "f-dpg"],
)  # fmt: skip
def test_a_policy_that_says_more_than_its_prior_is_refused_by_the_reverse_kl(learner: Learner) -> None:
    with pytest.raises(ContractError, match=r"the prior gives probability 0 to \d+ of 16 draws.*DPG"):
        trained(NARROW, WIDE, learner)  # pyright: ignore[reportArgumentType]


def test_the_forward_kl_takes_it_back() -> None:
    """On its own draws f-DPG's forward KL weighs what the prior cannot say by 0."""
    done = trained(NARROW, WIDE, FDPG(1, 16, on_policy=True))
    assert done.status is Status.OK
    assert done.history[-1]["kl_prior"] == math.inf


def test_the_kl_of_a_place_has_a_gradient_where_a_token_is_impossible() -> None:
    """0 · log 0 = 0, and its gradient is no NaN."""
    done = trained(WIDE, NARROW, RaoBlackwell(1, 8))
    assert done.status is Status.OK
    assert bool(torch.isfinite(torch.tensor([x["grad_norm"] for x in done.history])).all())


def test_what_neither_can_say_is_to_be_left_out() -> None:
    """Every sequence once, also those that a prior with holes cannot say."""
    with pytest.raises(ContractError, match=r"prior and under the policy alike.*leave them out"):
        trained(NARROW, NARROW, DPG(1, 64))
