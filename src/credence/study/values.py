"""Values of prefixes in a run: which learner a setting names, and where a run keeps what it learnt."""

from dataclasses import fields
from typing import Any

from credence.core.errors import ConfigError
from credence.learn.collect import ValueLearner
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.gumbel import Gumbel
from credence.learn.values.ilql import ILQL
from credence.learn.values.linear import Linear
from credence.learn.values.path import PathConsistency
from credence.learn.values.sixo import SIXO
from credence.learn.values.soft_q import TokenSoftQ
from credence.study.train_config import ValueConfig

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

FINITE = ("soft_q", "path", "linear", "ilql")
"""Learners that refuse replies of -inf nats: their value of what leads there alone has no number."""

OWN = ("span", "tilt", "expectile", "cql")
"""Settings that some learner has; where one is not given, the learner's own default holds."""


def learner(given: ValueConfig, draws: int) -> ValueLearner:
    """The learner that [train.value] names, on this many stored draws a prompt.

    Raises:
        ConfigError: settings that it does not have or cannot have.
    """
    kind: Any = LEARNERS[given.learner]
    own = {name: value for name in OWN if (value := getattr(given, name)) is not None}
    for name in sorted(own.keys() - _settings(kind)):
        having = " or ".join(repr(other) for other, has in LEARNERS.items() if name in _settings(has))
        raise ConfigError(
            f"train.value.{name} is no setting of train.value.learner = {given.learner!r}, but of {having}: remove it, "
            "or take that learner."
        )
    return kind(prompts=given.batch, group=draws, lr=given.lr, **own)


def takes_impossible(given: ValueConfig) -> bool:
    """Whether the learner that is named, if any, can learn beside impossible replies."""
    return given.learner not in FINITE


def check_learner(given: ValueConfig, draws: int) -> None:
    """Refuse what `learner` would refuse before anything is drawn; without a learner, settings of one.

    Raises:
        ConfigError: names the setting.
    """
    if given.learner != "none":
        learner(given, draws)
    elif idle := [name for name in OWN if getattr(given, name) is not None]:
        raise ConfigError(
            f"train.value.{idle[0]} is a setting of a learner of values, and train.value.learner is none."
        )


def _settings(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
