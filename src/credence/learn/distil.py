"""Distillation of a sampler: the policy learns to say at once what an engine finds by search.

Target: the law of the engine's weighted draws, by maximum likelihood, the forward KL: the posterior where the engine
promises it (EXACT, UNBIASED_Z, CONSISTENT), else the engine's own law, named:

    loss = −mean_i n w̄_i log π(x_i)      w̄: the engine's weights, which sum to one over a prompt's n draws

Held by tests/oracle/test_weighted_fits.py.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import DegeneracyError
from credence.core.keys import Key
from credence.core.protocols import Batch, Guarantee, Sampler, Scored
from credence.core.types import Completions, Draws, Info, Prompts
from credence.evidence.product import measure
from credence.learn.losses.forward_kl import log_posterior_weights
from credence.learn.losses.weighted import likelihood
from credence.learn.settings import Stored
from credence.posterior.posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class Distil(Stored):
    """Maximum likelihood on the draws of an engine.

    Args:
        sampler: any engine that draws: SMC(...), Rejection(...), SoftBestOfN(...).

    Cost: the engine's draws once; a step as DPG's without its baseline. Errors: those of the engine, and of n draws: a
    policy that can be any law ends at the draws' own, KL(p*‖π) ≈ (outcomes − 1)/(2 effective draws).

    Raises:
        ConfigError: fewer than one prompt or draw.
    """

    sampler: Sampler

    @property
    def target(self) -> str:
        """The posterior, or the engine's own law by name."""
        biased = self.sampler.guarantee is Guarantee.BIASED
        return f"the law of {type(self.sampler).__name__}: not p*" if biased else "posterior"

    def draw(self, key: Key, posterior: Posterior, prompts: Prompts) -> Batch:
        """`group` draws a prompt of the engine, as `fit` recalls them: fit on the batch's own prompts.

        Raises:
            DegeneracyError: no prompt has a possible draw.
        """
        return recalled(posterior, self.sampler.draw(key, posterior, prompts, self.group))

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]:
        """The engine's weights, which `recalled` has put between log_q and log_lik. Info: as losses.weighted."""
        return likelihood(scored, log_posterior_weights(scored))


def recalled(posterior: Posterior, draws: Draws) -> Batch:
    """An engine's weighted draws as stored rows whose π0 e^log_lik/(q Z) is n w̄, prompts without one left out.

    A reply drawn several times, as resampling makes them, is one row with their weights together: nothing is learnt
    from another pass over it.

    What an SMC particle was sampled from has no density: its log_q is set to π0 e^log_lik/(Z n w̄), with log Z the
    engine's estimate, else log mean e^log_lik of the rows. For exact draws, w̄ = 1/n, that is p* itself: what they were
    sampled from. So every learner of stored draws reads them rightly.

    Raises:
        DegeneracyError: no prompt has a possible draw.

    Cost: one scoring pass of the prior and one of the evidence.
    """
    log_lik, readings = measure(posterior.evidence, draws.prompts, draws.completions)
    w = torch.where(torch.isneginf(log_lik), 0.0, draws.weights().to(log_lik))  # a biased engine may keep such a draw
    w = _together(draws.completions, w)
    total = w.new_zeros(len(draws.prompts)).index_add(0, draws.completions.prompt, w)
    alive = torch.nonzero(total > 0).flatten()
    if not len(alive):
        raise DegeneracyError(
            "the engine found no possible draw for any prompt: nothing to distil. Give it more effort (particles, "
            "draws), or a softer evidence (a larger beta)."
        )
    index = torch.nonzero(w > 0).flatten()
    w, log_lik = (w / total[draws.completions.prompt])[index], log_lik[index]
    place = torch.zeros_like(total, dtype=torch.long).scatter(0, alive, torch.arange(len(alive)).to(alive))
    whole = draws.completions.rows(index)
    rows, prompts = replace(whole, prompt=place[whole.prompt]), draws.prompts.take(alive.tolist())
    log_prior = posterior.prior.score(prompts, rows)
    count = torch.bincount(rows.prompt, minlength=len(alive))
    mean = log_lik.new_zeros(len(alive)).index_add(0, rows.prompt, torch.exp(log_lik)) / count
    given = draws.log_z.to(log_lik)[alive]
    log_z = torch.where(torch.isfinite(given), given, torch.log(mean))
    whole_q = log_prior.sum(-1) + log_lik - log_z[rows.prompt] - torch.log(w * count[rows.prompt])
    log_q = log_prior.clone()
    log_q[:, 0] += whole_q - log_prior.sum(-1)  # by token it has no meaning; the sums are what counts
    return Batch(
        prompts,
        rows,
        log_q,
        log_prior,
        log_lik,
        log_z=log_z,
        readings={name: values[index] for name, values in readings.items()},
    )


def _together(rows: Completions, w: Tensor) -> Tensor:
    """Weights with each reply's at its first row, and 0 at its further ones."""
    tokens = torch.where(rows.mask, rows.ids, -1)
    named = torch.cat([rows.prompt[:, None], rows.ended[:, None].long(), tokens], 1)
    _, same = named.unique(dim=0, return_inverse=True)
    place = torch.arange(len(same), device=same.device)
    first = torch.full_like(place, len(same)).scatter_reduce(0, same, place, "amin")[same]
    return torch.zeros_like(w).index_add(0, first, w)
