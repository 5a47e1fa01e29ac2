"""From checked settings to the parts of a control run: environments, their table, the prior policy."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from credence.core.errors import ConfigError, MissingExtraError
from credence.posterior.mdp import MDP, from_table
from credence.study.control_config import ControlConfig
from credence.study.examples import read_text
from credence.study.grid import NAMES, TOLD, TOLD_ANY, Grid, grid_of

if TYPE_CHECKING:
    from credence.prior.choices import Choices


@dataclass(frozen=True, eq=False)
class Found:
    """A world ready to learn in: `make` gives a fresh environment, cut after `horizon` steps."""

    make: Callable[[], Any]
    mdp: MDP
    horizon: int
    actions: tuple[str, ...]
    grid: Grid | None


def world(config: ControlConfig) -> Found:
    """The environment and its table.

    Raises:
        MissingExtraError: gymnasium is not installed.
        ConfigError: no such environment, no table, no time limit, or words that do not fit its actions.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise MissingExtraError("control needs gymnasium: pip install 'credence-lm[control]'") from error
    given = config.environment

    def make(limit: int | None = given.max_steps) -> Any:  # noqa: ANN401 - any environment
        try:
            return gymnasium.make(given.id, max_episode_steps=limit, disable_env_checker=True, **given.options)
        except (gymnasium.error.Error, TypeError, ModuleNotFoundError, KeyError, ValueError) as error:
            raise ConfigError(f"environment.id = {given.id!r} with options {given.options}: {error}") from None

    env = make()
    limit = given.max_steps or getattr(env.spec, "max_episode_steps", None)
    if limit is None:
        raise ConfigError(
            f"{given.id} has no time limit of its own, and a policy may walk for ever. Give environment.max_steps."
        )
    table, start = (getattr(env.unwrapped, name, None) for name in ("P", "initial_state_distrib"))
    if table is None or start is None:
        raise ConfigError(
            f"{given.id} has no table P and initial_state_distrib: what its actions lead to is not written down, so no "
            "policy can be judged exactly. Take a toy-text environment (FrozenLake-v1, CliffWalking-v1, Taxi-v3) or "
            "give yours these two. To learn in it without the ruler, call credence.learn.temporal.learn_values."
        )
    mdp = from_table(table, list(start))
    named = given.actions or NAMES.get(type(env.unwrapped).__name__, tuple(f"action {a}" for a in range(mdp.actions)))
    if len(named) != mdp.actions:
        raise ConfigError(f"environment.actions = {list(named)}: {given.id} has {mdp.actions} actions.")
    return Found(make, mdp, int(limit), named, grid_of(env, named))


@dataclass(frozen=True, eq=False)
class ActionPrior:
    """A prior policy.

    Attributes:
        log_q: (S, A) nats.
        name: what it is, in words.
        remarks: further sentences about it.
    """

    log_q: Tensor
    name: str
    remarks: tuple[str, ...] = ()


def written(config: ControlConfig, found: Found) -> ActionPrior:
    """The prior policy that needs no model: a law by name, or a table.

    Raises:
        ConfigError: a law that is not known, a table that does not fit, or an action of probability 0.
    """
    given = config.prior
    if given.law == "uniform":
        log_q, name = torch.zeros(found.mdp.states, found.mdp.actions, dtype=torch.float64), "uniform"
    elif given.law == "goalward":
        if found.grid is None:
            raise ConfigError('prior.law = "goalward" needs a map, and this world has none. Use "uniform" or a file.')
        nearer = [found.grid.nearer(s) for s in range(found.mdp.states)]
        log_q, name = (
            given.strength * torch.tensor(nearer, dtype=torch.float64),
            f"goalward, strength {given.strength:g}",
        )
    elif given.law.endswith(".json"):
        log_q, name = torch.log(_table(config, found)), f"the table {given.law}"
    else:
        raise ConfigError(f'prior.law = {given.law!r}: "uniform", "goalward" or a .json file is needed.')
    return floored(config, ActionPrior(log_q, name))


def floored(config: ControlConfig, prior: ActionPrior) -> ActionPrior:
    """With a little of the uniform law mixed in, as prior.floor asks for.

    Raises:
        ConfigError: an action of probability 0.
    """
    given, actions = config.prior, prior.log_q.shape[1]
    law = torch.softmax(prior.log_q, -1)
    law = (1 - given.floor) * law + given.floor / actions
    if bool((law == 0).any()):
        raise ConfigError(
            "the prior calls an action impossible, so the runs without the KL would stand at KL = inf. Mix in a little "
            "of the uniform law: prior.floor = 0.01."
        )
    name = prior.name + (f", {given.floor:g} of it uniform" if given.floor else "")
    return ActionPrior(torch.log(law), name, prior.remarks)


def _table(config: ControlConfig, found: Found) -> Tensor:
    path = config.folder / config.prior.law
    try:
        rows = torch.tensor(json.loads(read_text(path, "prior table")), dtype=torch.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no table of numbers in JSON: {error}") from None
    wanted = (found.mdp.states, found.mdp.actions)
    if rows.shape == wanted[1:]:
        rows = rows.expand(wanted)
    sums = rows.sum(-1) if rows.ndim == 2 else rows
    if rows.shape != wanted or bool((rows < 0).any()) or not bool(((sums - 1).abs() < 1e-6).all()):
        raise ConfigError(
            f"{path} holds {tuple(rows.shape)} numbers: {wanted[0]} rows (or one for all) of {wanted[1]} probabilities "
            "that sum to 1 are needed."
        )
    return rows


def questions(config: ControlConfig, found: Found) -> list[str]:
    """Each state told in words.

    Raises:
        ConfigError: a template with a name that is not known.
    """
    plain = ", ".join(found.actions[:-1]) + " or " + found.actions[-1]
    template = config.prior.told or (TOLD if found.grid else TOLD_ANY)
    out: list[str] = []
    for s in range(found.mdp.states):
        known = found.grid.words(s) if found.grid else {"state": str(s), "words": plain}
        try:
            out.append(template.format(**known))
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(f"prior.told: {error} is not known; there are {', '.join(sorted(known))}.") from None
    return out


class Words:
    """The prior policy of a language model that is told each state in words.

    Raises:
        ConfigError: no such model, or a template that does not fit.
    """

    def __init__(self, config: ControlConfig, found: Found) -> None:
        from credence.prior.load import load

        given = config.prior
        self.config, self.found, self.told = config, found, questions(config, found)
        beside = config.folder / given.model
        self.model = load(
            str(beside) if beside.is_dir() else given.model, system=given.system, style=given.style, device=given.device
        )

    def _answer(self, told: Sequence[str], tick: Callable[[float], None] = lambda share: None) -> "Choices":
        from credence.prior.choices import choices

        return choices(self.model, told, self.found.actions, self.config.prior.temperature, tick)

    def numbers(self) -> list[float]:
        """What the model says of the first state, nats: by these its weights are told apart. Cost: one question."""
        first = self._answer(self.told[:1])
        return [*first.log_q[0].tolist(), *first.log_mass.tolist()]

    def ask(self, tick: Callable[[float], None]) -> ActionPrior:
        """Of every state. Cost: a question each."""
        given, actions = self.config.prior, self.found.actions
        answer = self._answer(self.told, tick)
        mass, law = answer.log_mass.exp(), answer.log_q.exp()
        entropy = float(-(law * answer.log_q).sum(-1).mean())
        told_apart = float((law * (answer.log_q - law.mean(0).log())).sum(-1).mean())
        first = ", ".join(f"{word} {p:.2f}" for word, p in zip(actions, law[0].tolist(), strict=True))
        remark = (
            f"Of the model's replies the actions' words hold {float(mass.min()):.2g} to {float(mass.max()):.2g} of the "
            f"probability, {float(mass.mean()):.2g} on average; the rest is left out and q normalised over the actions "
            f"(mean entropy {entropy:.2f} of {math.log(len(actions)):.2f} nats). "
            f"What it is told of the state moves its answer by {told_apart:.2g} nats (mean KL of q(·|s) to its mean). "
            f"The first state was told as: {' '.join(self.told[0].split())} Its answer: {first}."
        )
        name = f"the language model {given.model}, told the state in words"
        return floored(self.config, ActionPrior(answer.log_q, name, (remark,)))
