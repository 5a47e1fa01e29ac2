"""What can be sampled but not trained towards, refused with the reason before anything is loaded."""

import math

from credence.core.errors import ConfigError
from credence.study.balance_learners import TrajectoryBalanceConfig
from credence.study.config import RunConfig
from credence.study.recorded_learners import RecordedConfig
from credence.study.values import check_learner, takes_impossible


def check_training(config: RunConfig) -> None:
    """Refuse what can be sampled but not trained towards, with the reason.

    Raises:
        ConfigError: as check_learnable and, where a stage cannot take replies of -inf nats, as check_finite.
    """
    check_learnable(config)
    train = config.train
    if (train.chosen.steps > 0 and train.chosen.finite) or not takes_impossible(train.value):
        check_finite(config)


def check_learnable(config: RunConfig) -> None:
    """Refuse what no learner can train towards, and settings that no learner can have.

    Raises:
        ConfigError: top_k or top_p, other models as evidence, a learner of values without values, or settings that it
            does not have.
    """
    if config.evidence.compares:
        name = "expert" if config.evidence.expert else "realign"
        raise ConfigError(
            f"evidence.{name} states what other models make of the prior while it decodes: `credence sample` draws "
            "from it, nothing is trained towards it (a run that is resumed could not tell whether those models are "
            "still the same). Train on the reward itself."
        )
    if config.train.value.learner != "none" and config.train.method != "value":
        raise ConfigError(
            f"train.value.learner = {config.train.value.learner!r} trains a value of prefixes, and train.method = "
            f'{config.train.method!r} trains weights of the model. Set train.method = "value", or remove the learner.'
        )
    check_learner(config.train.value, config.train.dpg.draws)
    _check_engine(config)
    for name in ("top_k", "top_p"):
        if (value := getattr(config.prior, name)) is not None:
            raise ConfigError(
                f"prior.{name} = {value} makes tokens impossible, so KL(posterior‖policy) would be inf during "
                f"training. Remove it for `credence run` and use prior.temperature; `credence sample` allows it."
            )


def check_finite(config: RunConfig) -> None:
    """Refuse evidence that forbids replies, for learners whose divergence is then infinite.

    Raises:
        ConfigError: names the entry of -inf nats.
    """
    hard = [
        f"evidence.constraint.{i}.otherwise"
        for i, c in enumerate(config.evidence.constraint)
        if math.isinf(c.otherwise)
    ]
    hard += ["evidence.ended.cut"] if math.isinf(config.evidence.ended.cut) else []
    if hard:
        raise ConfigError(
            f"{hard[0]} = -inf forbids replies, so KL(policy‖posterior) would be inf for every policy that still "
            "says one. Give finite nats (-10 is nearly as strict), train on weighted draws alone (train.engine = "
            f'"distil", or train.{config.train.engine}.steps = 0 and the stage dpg), or use `credence sample`: these '
            "allow -inf."
        )


def _check_engine(config: RunConfig) -> None:
    """Refuse settings of the engine of stage 2 that cannot be, before anything is drawn.

    Raises:
        ConfigError: what the engine itself refuses, or more draws a prompt than are stored.
    """
    given, stored = config.train.chosen, config.train.dpg.draws
    if given.steps == 0 or isinstance(given, RecordedConfig):  # whose own file is checked where it is read
        return
    learner = given.learner()
    if not learner.on_policy and config.train.replay.groups:
        raise ConfigError(
            f"train.replay.groups = {config.train.replay.groups} joins past draws of the policy, and "
            f"train.{config.train.engine} learns from stored draws and makes none. Remove train.replay."
        )
    moves = config.train.beta.schedule != "fixed"
    if moves and isinstance(given, TrajectoryBalanceConfig) and not given.log_z_lr and not learner.on_policy:
        raise ConfigError(
            f"train.beta.schedule = {config.train.beta.schedule!r} moves the target, and with it log Z, which "
            "train.trajectory_balance.log_z_lr = 0 holds where it began: on the prior's draws the minimum would be "
            'another law. Let it be learnt (log_z_lr = 0.02), draw from the policy (draws = "policy"), or take vargrad.'
        )
    if given.on_prior and not learner.on_policy and given.group > stored:
        raise ConfigError(
            f"train.{config.train.engine}.group = {given.group} draws a prompt are asked for, and train.dpg.draws = "
            f"{stored} are made. Raise train.dpg.draws, or lower train.{config.train.engine}.group."
        )
