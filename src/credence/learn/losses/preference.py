"""Losses of comparisons: two recorded replies a prompt, and how many judgements each of them won.

h(x) = log π(x)/π0(x). With v votes of w a comparison for its first reply x and w − v for the other x', p = v/w, and β
the logits (IPO: the probability) of preference per nat, which travels with the judgements as the reading
`preference_beta`:

    DPO    −p log σ(βΔ) − (1 − p) log σ(−βΔ)              Δ = g(h(x)) − g(h(x')),  g(log t) = f'(t) of D_f(π‖π0)
    IPO    p (Δ − 1/2β)² + (1 − p)(Δ + 1/2β)²             Δ = h(x) − h(x')

each times w, a mean over comparisons. The readings are what the judges said, so they are evidence, and β stands with
it: no learner has one. Tested by enumeration in tests/oracle/test_preferences.py.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.protocols import Scored
from credence.core.types import Info
from credence.learn.losses.groups import sizes

VOTES, BETA = "votes", "preference_beta"
"""Readings that carry a row's judgements, and their logits per nat."""

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
DIVERGENCES: tuple[str, ...] = get_args(Divergence)


def log_ratio(scored: Scored) -> Float[Tensor, " R"]:
    """h = log π/π0 of each row in nats, with gradient.

    Raises:
        ContractError: a reply that the policy cannot make although its prior can, or the other way round: h is
        infinite.
    """
    log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
    log_prior = torch.where(scored.mask, scored.log_prior, 0.0).sum(-1)
    for name, other, values in (("policy", "prior", log_pi), ("prior", "policy", log_prior)):
        lost = int(torch.isneginf(values).sum())
        if lost:
            raise ContractError(
                f"the {name} gives probability 0 to {lost} of {len(values)} recorded replies, so log π/π0 is infinite. "
                f"A policy must be able to say what its {other if name == 'policy' else name} can and nothing else: "
                "start it at the prior, and reshape it by temperature only (top_k and top_p cut replies away)."
            )
    return log_pi - log_prior


@dataclass(frozen=True, eq=False)
class Compared:
    """Rows as comparisons, (N, 2) each: the first and the second row of each prompt."""

    h: Float[Tensor, "N 2"]
    votes: Float[Tensor, "N 2"]
    beta: Float[Tensor, " N"]
    order: Int[Tensor, "N 2"]

    @property
    def weight(self) -> Float[Tensor, " N"]:
        """Judgements a comparison."""
        return self.votes.sum(-1)


def column(scored: Scored, name: str) -> Float[Tensor, " R"]:
    """A reading that a loss learns from.

    Raises:
        ShapeError: the rows carry no such reading.
    """
    if name not in scored.readings:
        raise ShapeError(
            f"the rows carry no {name!r}, only {', '.join(scored.readings) or 'nothing'}: build them with "
            "learn.recorded (stored_comparisons, stored_labels, stored_demonstrations)."
        )
    return scored.readings[name]


def compared(scored: Scored) -> Compared:
    """The rows of `learn.recorded.stored_comparisons` side by side.

    Raises:
        ShapeError: a prompt with other than two rows, or rows without votes.
        ContractError: as log_ratio.
    """
    if bool((sizes(scored) != 2).any()):
        raise ShapeError(
            "each prompt needs exactly two rows, the compared replies: build them with stored_comparisons."
        )
    order = torch.argsort(scored.prompt, stable=True).view(-1, 2)
    return Compared(log_ratio(scored)[order], column(scored, VOTES)[order], column(scored, BETA)[order[:, 0]], order)


def link(h: Float[Tensor, "..."], divergence: Divergence, alpha: float = 0.5) -> Float[Tensor, "..."]:
    """f'(t) up to a constant, t = e^h = π/π0, for D_f(π‖π0) = E_π0[f(t)].

    reverse_kl: t log t, h. forward_kl: −log t, −e^−h. js: t log t − (1 + t) log((1 + t)/2), log 2t/(1 + t). alpha:
    (t^(1−α) − (1 − α)t − α)/(α(α − 1)), (1 − t^−α)/α: the reverse KL as α → 0, the forward at α = 1. All tend to −∞ at
    t = 0, so that no optimum gives up a reply that the prior can say.
    """
    match divergence:
        case "reverse_kl":
            return h
        case "forward_kl":
            return -torch.exp(-h)
        case "js":
            return math.log(2) - torch.nn.functional.softplus(-h)
        case "alpha":
            return -torch.expm1(-alpha * h) / alpha


def bradley_terry(
    scored: Scored, divergence: Divergence = "reverse_kl", alpha: float = 0.5
) -> tuple[Float[Tensor, ""], Info]:
    """DPO: −log-likelihood of the judgements where the reward is β f'(π/π0). Info: see `told`."""
    at = compared(scored)
    logit = at.beta * torch.diff(link(at.h, divergence, alpha), dim=-1)[:, 0]  # of the second reply over the first
    signed = torch.stack([-logit, logit], -1)
    loss = -(at.votes * torch.nn.functional.logsigmoid(signed)).sum() / len(at.h)
    return loss, told(scored, at, loss)


def identity_preference(scored: Scored) -> tuple[Float[Tensor, ""], Info]:
    """IPO: squared distance of Δh from ±1/(2β), for each judgement. Info: see `told`."""
    at = compared(scored)
    gap = torch.diff(at.h, dim=-1)
    loss = (at.votes * (torch.cat([-gap, gap], -1) - 0.5 / at.beta[:, None]) ** 2).sum() / len(at.h)
    return loss, told(scored, at, loss)


def told(scored: Scored, at: Compared, loss: Float[Tensor, ""]) -> dict[str, float]:
    """What learners of comparisons report.

    preference_loss: the loss. agreed: share of judgements that the policy's h agrees with, half for a draw. h_margin:
    mean over judgements of h of the reply they chose minus h of the other, nats. h_chosen, h_rejected: the two parts of
    it. seen: π's mass on the two replies of a comparison, mean over those of the step; the loss never looks at the
    rest. seen_prior: the same of π0.
    """
    h, votes = at.h.detach(), at.votes
    total = votes.sum()
    ahead = torch.sign(h - h.flip(-1))
    chosen, rejected = float((votes * h).sum() / total), float((votes * h.flip(-1)).sum() / total)
    mass = [torch.exp(x.detach().sum(-1))[at.order].sum(-1).mean() for x in (scored.log_pi, scored.log_prior)]
    return {
        "preference_loss": float(loss.detach()),
        "agreed": float((votes * (1 + ahead) / 2).sum() / total),
        "h_margin": chosen - rejected,
        "h_chosen": chosen,
        "h_rejected": rejected,
        "seen": float(mass[0]),
        "seen_prior": float(mass[1]),
    }
