"""What a run has found so far: each part fills in its own."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from credence.core.types import Completions, Cost, Draws, Prompts
from credence.learn.loop import Fit, Measure
from credence.posterior.posterior import Posterior
from credence.prior.guided import GuidedLM
from credence.prior.policy import LMPolicy
from credence.study.recorded import Recorded
from credence.study.ruler import Ruler


@dataclass(eq=False)
class Found:
    """The state of a run.

    Attributes:
        posterior: the target.
        heldout: prompts of the ruler; they choose nothing.
        validation: prompts that choose the checkpoint.
        train: prompts to learn on.
        products: format of the matrix products that carry gradients, None where it is the weights' own.
        recorded: replies to learn from, for an engine that draws none.
        gold: what the reward stands for, where the config names it.
        reward: name of the reading that reports call the reward.
        prior: the prior's draws on the held-out prompts.
        exact: exact posterior draws among them.
        smc: independent SMC runs, each held-out prompt repeated once a run.
        ruler: the numbers.
        policy: what is trained.
        fits: what each stage left, by its name.
        shown: each stage's held-out replies, log q and prior log-probabilities (R, T).
        history: a record a step of all stages.
        cost: spent, by part.
    """

    posterior: Posterior
    heldout: Prompts
    validation: Prompts
    train: Prompts
    products: torch.dtype | None = None
    recorded: Recorded | None = None
    gold: Measure | None = None
    reward: str = ""
    prior: Draws | None = None
    exact: Draws | None = None
    smc: Draws | None = None
    ruler: Ruler | None = None
    policy: LMPolicy | GuidedLM | None = None
    fits: dict[str, Fit] = field(default_factory=dict)
    shown: dict[str, tuple[Completions, Tensor, Tensor]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Cost] = field(default_factory=dict)


def said(given: object) -> str:
    """A prompt as one text: what the user wrote, or the last message of a conversation."""
    return str(given[-1]["content"]) if isinstance(given, list) else str(given)
