"""β for a budget, from a config: which evidence it weighs, draws of the prior, and what to write into the config."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Evidence, Prior
from credence.core.types import Prompts
from credence.diagnose.budget import Budget, Kind, budget
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback
from credence.evidence.product import measure
from credence.evidence.strength import Strong, factors
from credence.study.evidence_config import EvidenceConfig, TargetConfig


@dataclass(frozen=True)
class Weighed:
    """Evidence taken apart: what β weighs, and what is held fixed.

    Attributes:
        rewards: the pieces with a β; none where the whole evidence is tempered.
        rest: the other pieces; what is tempered where there is no reward.
        unit: reward units per nat of λ = 1/beta: β itself of a single reward, 1 where nats are scaled.
    """

    rewards: tuple[Evidence, ...]
    rest: tuple[Evidence, ...]
    unit: float

    @property
    def tempers(self) -> bool:
        """Whether the answer is a power of nats: of all evidence without a reward, of several rewards at once."""
        return len(self.rewards) != 1


def weighed(evidence: Evidence, kind: Kind) -> Weighed:
    """What a β can weigh in this evidence.

    Raises:
        ConfigError: a goal in reward units where there is not one reward, or nats that no β scales.
    """
    parts = factors(evidence)
    if any(isinstance(part, Feedback | Ensemble) and part.rule == "posterior_averaged" for part in parts):
        raise ConfigError(
            'belief = "posterior_averaged" is log E[exp(r/beta)], which does not grow in proportion to 1/beta: no beta '
            "can be solved for. Take belief plug_in, pessimistic or predictive (mean or min of an ensemble)."
        )
    rewards = tuple(part for part in parts if isinstance(part, Strong))
    if kind == "reward" and len(rewards) != 1:
        raise ConfigError(
            f"--reward with {len(rewards)} rewards in the config: a goal in reward units needs exactly one. Give --kl, "
            "or leave one reward, e.g. --set evidence.reward.beta=0.1 with a single [evidence.reward]."
        )
    unit = rewards[0].beta if len(rewards) == 1 else 1.0
    return Weighed(rewards, tuple(part for part in parts if part not in rewards), unit)


@dataclass(frozen=True)
class Pools:
    """Prior draws as numbers, one tensor (n,) a prompt.

    Attributes:
        reward: what λ scales: the reward in its own unit, or nats.
        other: nats that are held fixed.
        tokens: drawn.
    """

    reward: tuple[Tensor, ...]
    other: tuple[Tensor, ...]
    tokens: int


def draw(prior: Prior, parts: Weighed, prompts: Prompts, n: int, key: Key, tick: Callable[[], None]) -> Pools:
    """n draws of the prior a prompt, each piece of evidence read once a draw; tells `tick` after every prompt."""
    scaled, fixed = (parts.rewards, parts.rest) if parts.rewards else (parts.rest, ())
    reward: list[Tensor] = []
    other: list[Tensor] = []
    tokens = 0
    for b, piece in enumerate(prompts.split(1)):
        completions, _ = prior.sample(key.fold("beta", b), piece, n)
        tokens += int(completions.mask.sum())
        zero = torch.zeros(n, dtype=torch.float64)
        reward.append(sum((measure(e, piece, completions)[0].cpu() for e in scaled), zero) * parts.unit)
        other.append(sum((measure(e, piece, completions)[0].cpu() for e in fixed), zero))
        tick()
    return Pools(tuple(reward), tuple(other), tokens)


def solve(kind: Kind, goal: float, pools: Pools, key: Key) -> Budget:
    """The β (or 1/tau) for a goal, with its interval and trust.

    Raises:
        ConfigError: the goal cannot be had. DegeneracyError: every draw of a prompt is impossible.
    """
    return budget(kind, goal, pools.reward, pools.other, key=key.fold("bootstrap"))


def settings(config: EvidenceConfig, parts: Weighed, found: Budget) -> tuple[tuple[str, float], ...]:
    """What to write into the config, setting by setting: every β, or every nat where all evidence is tempered.

    A hard constraint (−inf) stays as it is: no power changes it.
    """
    beta = found.beta[0]
    taught = _taught(config)
    if parts.rewards:
        scale = beta / parts.unit  # by which each β grows
        names = _numbered("evidence.reward", len(config.reward))
        betas = [(f"{n}.beta", r.beta * scale) for n, r in zip(names, config.reward, strict=True)]
        names = _numbered("evidence.classifier", len(config.classifier))
        betas += [(f"{n}.beta", c.beta * scale) for n, c in zip(names, config.classifier, strict=True)]
        # an ensemble has no β of its own: it is held fixed
        return (*betas, *((name, own * scale) for name, own, alone in taught if alone))
    out = (
        [("evidence.ended.cut", config.ended.cut / beta)]
        if math.isfinite(config.ended.cut) and config.ended.cut
        else []
    )
    out += [(name, own * beta) for name, own, _ in taught]
    names = _numbered("evidence.constraint", len(config.constraint))
    soft = [(f"{n}.otherwise", c.otherwise / beta) for n, c in zip(names, config.constraint, strict=True)]
    return (*out, *((name, value) for name, value in soft if math.isfinite(value)))


def _taught(config: EvidenceConfig) -> list[tuple[str, float, bool]]:
    """Learnt rewards: the setting of each β, that β, and whether it is one head's."""
    if not isinstance(config, TargetConfig):
        return []
    one = config.preference
    out = [] if one is None else [("evidence.preference.beta", one.beta, one.members == 1)]
    names = _numbered("evidence.reward_head", len(config.reward_head))
    return out + [(f"{n}.beta", h.beta, not h.ensemble) for n, h in zip(names, config.reward_head, strict=True)]


def _numbered(name: str, count: int) -> Sequence[str]:
    return [name] if count == 1 else [f"{name}.{i}" for i in range(count)]
