"""Wrong learners of values, and twists that move the target; each must fail a check that the right one passes.

Gradients are held to enumeration, without chance; the seed moves the values at which they are taken.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from credence.core.protocols import Valued
from credence.core.types import Completions, Info, Prompts
from credence.learn.losses.groups import log_sums, row_weights, sums
from credence.learn.values import ctl, fudge, gumbel, path, sixo, soft_q
from credence.learn.values.rows import following, prior_weights
from credence.posterior.twist import Twisted
from credence.prior.guided_table import GuidedTable
from tests import valuing
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.valuing import (
    check_ctl_gradient,
    check_fudge_gradient,
    check_gumbel_gradient,
    check_learns_from_draws,
    check_path_gradient,
    check_sixo_gradient,
    check_soft_q_gradient,
    check_span_gradient,
    check_twist_keeps_log_lik,
)

Patch = pytest.MonkeyPatch


def linear_backup(patch: Patch) -> None:
    """V(s) = Σ π0 Q where the log-mean-exp should stand: linear values called soft (SCIENCE, mistake 5)."""
    right = GuidedTable.look

    def wrong(self: GuidedTable, batch: object) -> Valued:
        seen = right(self, batch)  # pyright: ignore
        place, _ = self.start_law.locate(batch.prompts, batch.completions)  # pyright: ignore
        base = torch.log_softmax(self.start_law.logits.detach(), -1)
        mean = (base.exp() * self.q.detach()).sum(-1)[place]
        object.__setattr__(seen, "ahead", lambda: torch.where(seen.mask, mean, 0.0))
        return seen

    patch.setattr(GuidedTable, "look", wrong)


def kl_twice(patch: Patch) -> None:
    """The KL paid at the next token is taken off the target again: V contains it already (SCIENCE 4.2)."""

    def wrong(soft: torch.Tensor, valued: Valued) -> torch.Tensor:
        paid = torch.nn.functional.pad((valued.chosen().detach() - valued.soft().detach())[:, 1:], (0, 1))
        return following(soft, valued) - torch.where(valued.mask, paid, 0.0)

    patch.setattr(soft_q, "following", wrong)


def end_is_worth_nothing(patch: Patch) -> None:
    """The last token's target is 0: the evidence is never paid."""

    def wrong(soft: torch.Tensor, valued: Valued) -> torch.Tensor:
        return torch.where(valued.mask, torch.nn.functional.pad(soft[:, 1:], (0, 1)), 0.0)

    patch.setattr(soft_q, "following", wrong)


def discounted(patch: Patch) -> None:
    """γ = 0.9: a value that fades with length."""
    patch.setattr(soft_q, "following", lambda soft, valued: following(0.9 * soft, valued))


def value_before_forgotten(patch: Patch) -> None:
    """Path residuals of Q alone, without V of where the path ends."""

    def wrong(soft: torch.Tensor, valued: Valued) -> torch.Tensor:
        return following(torch.zeros_like(soft), valued)

    patch.setattr(path, "following", wrong)


def evidence_halved(patch: Patch) -> None:
    """Whole paths that must gain half the nats: β is doubled."""
    right = path.variance

    def wrong(valued: Valued, tilt: float) -> tuple[torch.Tensor, Info]:
        object.__setattr__(valued, "log_lik", valued.log_lik / 2)
        return right(valued, tilt)

    patch.setattr(path, "variance", wrong)


def unweighted(module: object, patch: Patch) -> None:
    """Rows of another proposal taken for the prior's."""
    patch.setattr(module, "prior_weights", row_weights)


def gumbel_upside_down(patch: Patch) -> None:
    """e^(u − r): the minimiser is −log E e^−r, the pessimist's value."""

    def wrong(self: gumbel.Gumbel, valued: Valued) -> tuple[torch.Tensor, Info]:
        u = valued.chosen()
        terms = torch.where(valued.mask, torch.exp(u - valued.log_lik[:, None]) - u, 0.0)
        return (prior_weights(valued) * terms.sum(-1)).sum(), {}

    patch.setattr(gumbel.Gumbel, "value_loss", wrong)


def mean_for_likelihood(patch: Patch) -> None:
    """FUDGE that regresses log_lik, as linear values do, in place of e^log_lik."""
    patch.setattr(valuing, "Fudge", valuing.Linear)


def contrast(drop: str, patch: Patch) -> None:
    """CTL against the prior's prefixes, or with the replies that have ended left out."""

    def wrong(self: ctl.CTL, valued: Valued) -> tuple[torch.Tensor, Info]:
        u = torch.where(valued.mask, valued.chosen(), valued.log_lik[:, None])
        from_q = (valued.log_prior - valued.log_q).sum(-1)
        log_w = valued.log_lik + from_q
        w = torch.exp(log_w - log_sums(log_w, valued)[valued.prompt])
        p0 = torch.exp(from_q - log_sums(from_q, valued)[valued.prompt])
        loss = u.new_zeros(())
        for t in range(u.shape[1]):
            here = valued.mask[:, t]
            if drop == "twist":
                against = sums(p0 * u[:, t], valued)
            else:
                against = log_sums(torch.where(here, from_q + u[:, t], -torch.inf), valued)
            loss = loss + (against - sums(w * torch.where(here, u[:, t], 0.0), valued)).sum()
        return loss, {}

    patch.setattr(ctl.CTL, "value_loss", wrong)


def classifier_without_base_rate(patch: Patch) -> None:
    """SIXO whose odds forget that positives and negatives are equally many: values off by log Z."""
    right = sixo.log_mean_lik

    def wrong(valued: Valued) -> torch.Tensor:
        return torch.zeros_like(right(valued))

    def loss(self: sixo.SIXO, valued: Valued) -> tuple[torch.Tensor, Info]:
        c = right(valued)[valued.prompt]
        odds, w = valued.chosen() - wrong(valued)[valued.prompt][:, None], torch.exp(valued.log_lik - c)[:, None]
        softplus = torch.nn.functional.softplus
        terms = torch.where(valued.mask, w * softplus(-odds) + softplus(odds), 0.0)
        return (prior_weights(valued) * terms.sum(-1)).sum(), {}

    patch.setattr(sixo.SIXO, "value_loss", loss)


def twist_in_the_final_weight(patch: Patch) -> None:
    """log_lik + log ψ where a reply has ended: the twist is counted twice and moves the target."""
    right = Twisted.measure

    def wrong(self: Twisted, prompts: Prompts, completions: Completions) -> object:
        nats, readings = right(self, prompts, completions)
        return nats + self.value.log_value(prompts, completions), readings

    patch.setattr(Twisted, "measure", wrong)


WRONG: tuple[tuple[str, Callable[[int], None], Callable[[Patch], None]], ...] = (
    ("linear backup called soft", check_soft_q_gradient, linear_backup),
    ("KL counted twice in the target", check_soft_q_gradient, kl_twice),
    ("end without its evidence", check_soft_q_gradient, end_is_worth_nothing),
    ("discount below 1", check_soft_q_gradient, discounted),
    ("path without the value at its end", check_span_gradient, value_before_forgotten),
    ("whole paths at twice β", check_path_gradient, evidence_halved),
    ("FUDGE on rows of another law", check_fudge_gradient, partial(unweighted, fudge)),
    ("Gumbel upside down", check_gumbel_gradient, gumbel_upside_down),
    ("mean reward for likelihood, training", check_learns_from_draws, mean_for_likelihood),
    ("CTL against the prior", check_ctl_gradient, partial(contrast, "twist")),
    ("CTL without replies that have ended", check_ctl_gradient, partial(contrast, "ended")),
    ("SIXO without its base rate", check_sixo_gradient, classifier_without_base_rate),
    ("twist in the final weight", check_twist_keeps_log_lik, twist_in_the_final_weight),
)
MUTANTS = tuple(Mutant(*wrong) for wrong in WRONG)
LONG = ("mean reward for likelihood, training",)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
