"""Values of prefixes in a run: which learner a setting names, and where a run keeps what it learnt."""

from credence.learn.collect import ValueLearner
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.gumbel import Gumbel
from credence.learn.values.ilql import ILQL
from credence.learn.values.linear import Linear
from credence.learn.values.path import PathConsistency
from credence.learn.values.sixo import SIXO
from credence.learn.values.soft_q import TokenSoftQ
from credence.study.config import ValueConfig

VALUES = "values"
"""The folder of a run that holds its guide, in place of `policy`."""

LEARNERS = {
    "soft_q": TokenSoftQ,
    "path": PathConsistency,
    "gumbel": Gumbel,
    "fudge": Fudge,
    "ctl": CTL,
    "sixo": SIXO,
    "linear": Linear,
    "ilql": ILQL,
}


def learner(given: ValueConfig, draws: int) -> ValueLearner:
    """The learner that [train.value] names, on this many stored draws a prompt."""
    return LEARNERS[given.learner](prompts=given.batch, group=draws, lr=given.lr)
