"""What one engine with one seed left on the held-out prompts, as numbers: enough for the ruler, and small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from credence.core.types import Completions, Cost
from credence.study.parts import Packed
from credence.study.ruler import Drawn

LIK, REWARD, ENDED, ELBO = range(1, 5)
"""Columns of `units`; the first is the prompt."""
_FACTS = ("exact", "bound", "answers", "same", "note", "target", "refused", "why", "curve", "memory", "replies")


@dataclass(eq=False)
class Measured:
    """Draws of one engine, and what they cost.

    Attributes:
        drawn: (B, n) columns of a law that has a density; None of another.
        on_prior: (B, m) log-probabilities of the reference's prior draws under it; None also of the prior itself.
        units: (U, 5) independent pieces of a law without density: prompt, log_lik, reward, ended, and what it gives of
            E[log_lik] − KL(law‖π0), NaN where nothing. A piece is a draw, or the weighted mean of a round.
        log_z: (rounds, B) the engine's own log Ẑ, each of an unbiased Ẑ; NaN where it gives none.
        forward: (B,) what bounds KL(p*‖law) from above, NaN where nothing does.
        ess: (B,) effective draws, NaN where they have no weights.
        pareto_k: (B,) likewise.
        unique: (B,) different token sequences among the draws.
        draws: (B,) how many these are.
        exact: the draws follow the posterior by construction.
        bound: "upper" where units' last column is a lower bound, so that divergences are upper ones.
        answers: whether every prompt got a reply.
        same: no step of training was kept: the law is the prior.
        note: one line.
        target: what a learner converges to where that is not the posterior.
        refused: why it did not run; "" if it did.
        why: by measure, why it is not known.
        curve: of training: tokens, seconds and validation ELBO at each look.
        memory: peak in MiB; None where unknown.
        replies: independent replies that `cost` bought; 0 of an engine that trains.
        cost: spent in all.
        each: one more reply.
    """

    drawn: Drawn | None = None
    on_prior: Tensor | None = None
    units: Tensor | None = None
    log_z: Tensor | None = None
    forward: Tensor | None = None
    ess: Tensor | None = None
    pareto_k: Tensor | None = None
    unique: Tensor | None = None
    draws: Tensor | None = None
    exact: bool = False
    bound: str = ""
    answers: bool = True
    same: bool = False
    note: str = ""
    target: str = ""
    refused: str = ""
    why: Mapping[str, str] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()
    memory: float | None = None
    replies: int = 0
    cost: Cost = field(default_factory=Cost)
    each: Cost | None = None

    def pack(self) -> Packed:
        """As tensors and a JSON tree."""
        names = ("on_prior", "units", "log_z", "forward", "ess", "pareto_k", "unique", "draws")
        tensors = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.drawn is not None:
            tensors |= {f"drawn/{name}": value for name, value in vars(self.drawn).items()}
        state = {name: getattr(self, name) for name in _FACTS}
        each = None if self.each is None else [self.each.tokens, self.each.seconds]
        return tensors, {**state, "cost": [self.cost.tokens, self.cost.seconds], "each": each}


def unpack(found: Packed) -> Measured:
    """The inverse of Measured.pack, tested in tests/unit/test_contest.py."""
    tensors, state = found
    drawn = {name.removeprefix("drawn/"): value for name, value in tensors.items() if name.startswith("drawn/")}
    plain = {name: value for name, value in tensors.items() if not name.startswith("drawn/")}
    return Measured(
        drawn=Drawn(**drawn) if drawn else None,
        **plain,
        **{name: state[name] for name in _FACTS},
        cost=Cost(*state["cost"]),
        each=None if state["each"] is None else Cost(*state["each"]),
    )


def distinct(rows: Completions, possible: Tensor, prompts: int) -> Tensor:
    """(B,) how many different token sequences the possible rows of each prompt hold."""
    tokens = torch.where(rows.mask, rows.ids, -1)
    each = torch.cat([rows.prompt[:, None], tokens], 1)[possible].unique(dim=0)
    return torch.bincount(each[:, 0], minlength=prompts).double()
