"""Every key that an engine writes into the history stands on its page, and in `collect.HISTORY`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import Batch, Policy
from credence.core.types import Prompts
from credence.learn.a_star_po import AStarPO
from credence.learn.balance import TrajectoryBalance, VarGrad
from credence.learn.bond import BOND
from credence.learn.collect import HISTORY, Learner, ValueLearner
from credence.learn.distil import Distil
from credence.learn.dpg import DPG
from credence.learn.dpo import DPO
from credence.learn.expert_iteration import ExpertIteration
from credence.learn.f_dpg import FDPG
from credence.learn.grpo import GRPO
from credence.learn.ipo import IPO
from credence.learn.kto import KTO
from credence.learn.loop import fit
from credence.learn.mpo import MPO
from credence.learn.ppo import PPO
from credence.learn.rao_blackwell import RaoBlackwell
from credence.learn.recorded import stored_comparisons, stored_demonstrations
from credence.learn.reinforce import Reinforce
from credence.learn.reward_weighted import RewardWeighted
from credence.learn.sft import SFT
from credence.learn.values.path import PathConsistency
from credence.learn.values.subtb import SubTB
from credence.prior.flowing import known_log_z, learnt_log_z, with_table_flow
from credence.prior.tabular import tabular_policy
from credence.sample.best_of_n import BestOfN
from tests.learning import PROMPTS, every_sequence
from tests.preferring import believed, every_pair, some_labels, somewhere_on
from tests.toys import toy_a, toy_prior

PAGES = Path(__file__).parents[2] / "docs" / "engines"
Made = tuple[Learner | ValueLearner, Policy, Prompts, Batch | None]


def plain(learner: Learner | ValueLearner, policy: Policy | None = None) -> Made:
    stored = None if learner.on_policy else every_sequence(toy_a(), PROMPTS)
    return learner, policy or tabular_policy(toy_prior(), PROMPTS, value=True), PROMPTS, stored


def flowing(learner: ValueLearner) -> Made:
    return plain(learner, with_table_flow(tabular_policy(toy_prior(), PROMPTS)))


def compared(learner: Learner) -> Made:
    pairs = every_pair(believed).take(range(20))
    return learner, tabular_policy(toy_prior(), PROMPTS), pairs.prompts, stored_comparisons(toy_prior(), pairs, 0.5)


def labelled() -> Made:
    batch = some_labels(toy_prior(), 3)
    return KTO(4), somewhere_on(batch.prompts, 3, 0.0), batch.prompts, batch


def distilled() -> Made:
    learner = Distil(1, 4, sampler=BestOfN(2))
    stored = learner.draw(Key(2), toy_a(), PROMPTS)
    return learner, tabular_policy(toy_prior(), PROMPTS), stored.prompts, stored


def demonstrated() -> Made:
    rows = every_sequence(toy_a(), PROMPTS).completions
    stored = stored_demonstrations(toy_prior(), PROMPTS, rows)
    return SFT(1, group=31), tabular_policy(toy_prior(), PROMPTS), PROMPTS, stored


MADE: dict[str, Callable[[], Made]] = {
    "reinforce": lambda: plain(Reinforce(1, 4)),
    "rao-blackwell": lambda: plain(RaoBlackwell(1, 4)),
    "ppo": lambda: plain(PPO(1, 4)),
    "grpo": lambda: plain(GRPO(1, 4)),
    "dpg": lambda: plain(DPG(1, 8)),
    "f-dpg": lambda: plain(FDPG(1, 8)),
    "trajectory-balance": lambda: plain(
        TrajectoryBalance(1, 8), learnt_log_z(tabular_policy(toy_prior(), PROMPTS), PROMPTS)
    ),
    "vargrad": lambda: plain(VarGrad(1, 8)),
    "a-star-po": lambda: plain(
        AStarPO(1, 8), known_log_z(tabular_policy(toy_prior(), PROMPTS), PROMPTS, torch.tensor([0.8]))
    ),
    "subtb": lambda: flowing(SubTB(1, 8)),
    "path-consistency": lambda: flowing(PathConsistency(1, 8, span=2)),
    "expert-iteration": lambda: plain(ExpertIteration(1, 8)),
    "reward-weighted": lambda: plain(RewardWeighted(1, 8)),
    "mpo": lambda: plain(MPO(1, 8)),
    "bond": lambda: plain(BOND(1, 8)),
    "distillation": distilled,
    "dpo": lambda: compared(DPO(4)),
    "ipo": lambda: compared(IPO(4)),
    "kto": labelled,
    "sft": demonstrated,
}


@pytest.mark.parametrize("page", MADE)
def test_every_key_stands_on_the_page(page: str) -> None:
    """Rejects a page that leaves a reader alone with a number."""
    learner, policy, prompts, stored = MADE[page]()
    done = fit(toy_a(), policy, prompts, learner, Key(1), 1, stored=stored, say=lambda line: None)
    keys = set(done.history[-1]) - {"toy_reward"}  # a reading, under its own name
    shared = (PAGES / "index.md").read_text("utf-8").split("## What every learner logs")[-1]
    named = set(re.findall(r"`(\w+)`", shared + (PAGES / f"{page}.md").read_text("utf-8")))
    assert not keys - named
    assert not keys - set(HISTORY)
