"""Wrong engines that decode; each must fail the very check that the right one passes in tests/statistical."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from credence.core.types import Completions
from credence.prior.loglinear import LogLinear
from credence.sample import sequence_product, speculative, stochastic_beam
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import decoding_checks as checks

Patch = pytest.MonkeyPatch


def acceptance_upside_down(patch: Patch) -> None:
    """min(1, q/p) in place of min(1, p/q)."""
    right = speculative.log_acceptance
    patch.setattr(speculative, "log_acceptance", lambda log_p, log_q: right(log_q, log_p))


def residual_not_subtracted(patch: Patch) -> None:
    """A refused draft is replaced by a draw of p, not of (p − q)_+."""
    patch.setattr(speculative, "log_residual", lambda log_p, log_q: log_p)


def residual_upside_down(patch: Patch) -> None:
    """(q − p)_+."""
    right = speculative.log_residual
    patch.setattr(speculative, "log_residual", lambda log_p, log_q: right(log_q, log_p))


def residual_not_renormalised(patch: Patch) -> None:
    """The uniform is not scaled to what is left of p: where it lies beyond, the draft's token stands after all."""
    right = speculative.log_residual

    def wrong(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
        left = (torch.exp(log_p) - torch.exp(log_q)).clamp(min=0.0)
        rest = (1 - left.sum(-1, keepdim=True)).clamp(min=0.0) * torch.exp(log_q)
        return torch.where(torch.isfinite(right(log_p, log_q)).any(-1, keepdim=True), torch.log(left + rest), log_p)

    patch.setattr(speculative, "log_residual", wrong)


def acceptance_lenient(patch: Patch) -> None:
    """√(p/q) in place of p/q: quicker, and no longer the target."""
    right = speculative.log_acceptance
    patch.setattr(speculative, "log_acceptance", lambda log_p, log_q: right(log_p, log_q) / 2)


def draft_recorded(patch: Patch) -> None:
    """log q is the draft's, as if it had been sampled from."""
    right = speculative.speculate

    def wrong(target: Any, draft: Any, key: Any, prompts: Any, n: int, ahead: int) -> speculative.Speculation:
        found = right(target, draft, key, prompts, n, ahead)
        return replace(found, log_q=draft.score(prompts, found.completions))

    patch.setattr(speculative, "speculate", wrong)


def mass_forgotten(patch: Patch) -> None:
    """Logits are mixed token by token and the result is called the sequence's law (mistake 6 of SCIENCE 10)."""
    right = LogLinear.next_product

    def wrong(self: LogLinear, state: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits, mass = right(self, state)
        return logits, 0 * mass

    patch.setattr(LogLinear, "next_product", wrong)


def mass_of_the_first_token_forgotten(patch: Patch) -> None:
    """C of the empty reply is left out, as if it were the same for all and did not touch Z."""
    right = sequence_product._Crowd.__init__

    def wrong(self: Any, *args: Any) -> None:
        right(self, *args)
        self.log_w = torch.zeros_like(self.log_w)

    patch.setattr(sequence_product._Crowd, "__init__", wrong)


def weights_not_reset(patch: Patch) -> None:
    """After resampling each particle keeps its ancestor's weight."""
    right = sequence_product._Crowd._resample

    def wrong(self: Any, t: int) -> None:
        before, old = self.log_w.clone(), self.resamplings.clone()
        right(self, t)
        due = (self.resamplings > old).repeat_interleave(self.particles)
        self.log_w = torch.where(due, before, self.log_w)

    patch.setattr(sequence_product._Crowd, "_resample", wrong)


def state_not_copied(patch: Patch) -> None:
    """Particles are copied and the models' states are not: a copy goes on in another text's state."""

    def wrong(self: Any, ancestor: torch.Tensor) -> None:
        place = torch.zeros_like(ancestor)
        place[self.growing] = torch.arange(len(self.growing))
        for name in ("ids", "log_q", "length", "ended"):
            setattr(self, name, getattr(self, name)[ancestor])
        self.growing = torch.nonzero(~self.ended).flatten()
        source = place[self.growing]
        self.state, self.logits = self.law.take(self.state, source), self.logits[source]

    patch.setattr(sequence_product._Crowd, "_copy", wrong)


def other_evidence_forgotten(patch: Patch) -> None:
    """The reward beside the experts weighs nothing."""
    right = sequence_product.measure

    def wrong(evidence: Any, prompts: Any, completions: Completions) -> Any:
        nats, readings = right(evidence, prompts, completions)
        return 0 * nats, readings

    patch.setattr(sequence_product, "measure", wrong)


def noise_not_conditioned(patch: Patch) -> None:
    """Children are perturbed afresh, without regard to their parent's noise."""
    patch.setattr(stochastic_beam, "conditioned", lambda gumbel, largest: gumbel)


def plain_probabilities(patch: Patch) -> None:
    """Draws without replacement weighted by π0, as an ordinary beam's are."""
    patch.setattr(stochastic_beam, "log_inclusion", lambda log_prior, kappa: 0 * log_prior)


def with_replacement_weights(patch: Patch) -> None:
    """Weighted as n independent draws are, 1/n each."""
    patch.setattr(stochastic_beam, "log_inclusion", lambda log_prior, kappa: log_prior + 1.6094379124341003)


def deterministic_beam(patch: Patch) -> None:
    """An ordinary beam search: the largest probabilities, no noise at all."""
    right = stochastic_beam._Beam._children

    def wrong(self: Any, growing: torch.Tensor, log_p: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        right(self, growing, log_p, t)
        top = (self.log_q[growing].sum(-1)[:, None] + log_p).topk(min(self.width, log_p.shape[1]), -1)
        return top.values, top.indices

    patch.setattr(stochastic_beam._Beam, "_children", wrong)


MUTANTS = (
    Mutant("acceptance upside down", checks.check_speculative, acceptance_upside_down),
    Mutant("acceptance upside down, its share", checks.check_acceptance, acceptance_upside_down),
    Mutant("residual not subtracted", checks.check_speculative, residual_not_subtracted),
    Mutant("residual upside down", checks.check_speculative, residual_upside_down),
    Mutant("residual not renormalised", checks.check_speculative, residual_not_renormalised),
    Mutant("residual not subtracted, cut target", checks.check_speculative_cut, residual_not_subtracted),
    Mutant("acceptance too lenient", checks.check_speculative, acceptance_lenient),
    Mutant("the draft's log q recorded", checks.check_speculative_product, draft_recorded),
    Mutant("the token law called the sequence's", checks.check_sequence_product_weights, mass_forgotten),
    Mutant("the first token's mass forgotten", checks.check_sequence_product, mass_of_the_first_token_forgotten),
    Mutant("product's weights not reset", checks.check_sequence_product, weights_not_reset),
    Mutant("states not copied with their particles", checks.check_sequence_product, state_not_copied),
    Mutant("evidence beside the experts forgotten", checks.check_sequence_product, other_evidence_forgotten),
    Mutant("beam's noise not conditioned on the parent's", checks.check_beam_order, noise_not_conditioned),
    Mutant("an ordinary beam", checks.check_beam_order, deterministic_beam),
    Mutant("beam weighted by plain probabilities", checks.check_beam_estimate, plain_probabilities),
    Mutant("beam weighted as with replacement", checks.check_beam_estimate, with_replacement_weights),
)

LONG = (
    "acceptance upside down, its share",
    "residual not subtracted, cut target",
    "states not copied with their particles",
)
"""Left to the slow part: what they break is broken by a quicker mutant too."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
