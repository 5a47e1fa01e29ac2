"""Soft best-of-n, or sampling importance resampling: one of n prior draws, chosen by weight rather than by rank.

Between the prior (n = 1) and the posterior (n → ∞), where best-of-n runs past it. Its law has no closed form, but one
integral: with w = exp(log_lik) and φ(t) = E_π0[e^{−t w}],

    π_n(x) = n π0(x) w(x) E[1/(w(x) + Σ_{j=2..n} w_j)] = n π0(x) w(x) ∫_0^∞ e^{−t w(x)} φ(t)^{n−1} dt
"""

import math
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import log_mean_exp, normalise
from credence.core.protocols import Guarantee, Target
from credence.core.types import Cost, Draws, Prompts
from credence.posterior.exact import Exact
from credence.sample.best_of_n import chosen, in_groups, kl_bound, lots, winners
from credence.sample.importance import Importance

_STEP = 0.2
"""Of the trapezoid rule in log t: its error falls as e^{−π²/step}, below double precision here."""


@dataclass(frozen=True)
class SoftBestOfN:
    """n draws a prompt, each chosen among `of` draws of the prior with probability ∝ exp(log_lik).

    Law: soft_best_of_n_law. Guarantee: BIASED, with KL(soft‖π0) ≤ log n − (n − 1)/n, as of best-of-n (the hard choice
    dominates the soft one stochastically, and both densities rise with the nats), KL(soft‖p*) = log Z − E[log_lik] +
    KL(soft‖π0), and KL(p*‖soft) ≤ E_p*[log(1 + (w/Z − 1)/n)] = O(1/n) by Jensen. No coefficient: a choice
    ∝ exp(λ r) with another λ is this one on evidence ** τ, as β stands in the evidence.

    log_q is the prior's, not the law's. log_z is the mean weight of all draws made, so unbiased for Z. Where all
    candidates of a draw are impossible, it is one of them, with weight zero; the law is that of the others.

    info: kl_bound (nats; bounds KL(soft‖π0)), kl_posterior_bound (nats; the bound on KL(p*‖soft), estimated from all
    draws made; too low where they missed replies of great weight).

    Args:
        of: candidates, n of best-of-n.

    Raises:
        ConfigError: of below 1.

    Cost: n·of draws a prompt. Source: Rubin 1988; Verdun et al. 2025 (2505.03156); SCIENCE 5. Tested against
    enumeration in tests/oracle/test_soft_best_of_n.py and tests/statistical/test_draws.py.
    """

    of: int = 16
    guarantee: ClassVar[Guarantee] = Guarantee.BIASED

    def __post_init__(self) -> None:
        if self.of < 1:
            raise ConfigError(f"of={self.of}: at least one candidate is needed.")

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n draws a prompt, prompt-major."""
        began = time.process_time()
        drawn = Importance().draw(key.fold("candidates"), posterior, prompts, n * self.of)
        return replace(pick_softly(drawn, self.of, key), cost=Cost(drawn.cost.tokens, time.process_time() - began))


def pick_softly(prior_draws: Draws, of: int, key: Key) -> Draws:
    """One of each group of `of` stored prior draws by weight, whose log_w is log_lik (`Importance()` makes them).

    m draws a prompt give m // of groups, disjoint, so that the results are independent; what is left over is not used
    for them, only for log_z.

    Raises:
        ShapeError: the prompts have different numbers of draws, or fewer than `of`.
    """
    nats = in_groups(prior_draws, of)
    gumbel = -torch.log(-torch.log(lots(key.fold("choice"), nats)))
    rows = winners((nats + gumbel).argmax(-1), prior_draws, of)
    each = [soft_best_of_n_kl_bound(prior_draws.log_w[prior_draws.of(b)], of) for b in range(len(nats))]
    info = {
        "kl_bound": torch.full((len(nats),), kl_bound(of), dtype=torch.float64),
        "kl_posterior_bound": torch.tensor(each, dtype=torch.float64),
    }
    out = chosen(prior_draws, rows, key, info)
    return replace(out, log_w=torch.where(torch.isneginf(prior_draws.log_w[rows]), -torch.inf, out.log_w))


def soft_best_of_n_law(exact: Exact, of: int) -> Float[Tensor, " N"]:
    """log π_n of every completion of an enumerated prompt, in nats, given that some candidate is possible.

    The integral by the trapezoid rule in log t, which is exact to rounding for this integrand. Tested against SCIENCE
    5 and 9 (F11), and by enumeration of all pairs and triples, in tests/oracle/test_soft_best_of_n.py.

    Cost: 250 passes over the completions, and five more a nat between least and greatest. Raises ShapeError for of
    below 1.
    """
    if of < 1:
        raise ShapeError(f"of={of}: at least one candidate is needed.")
    possible = ~torch.isneginf(exact.log_p)
    log_w = exact.log_lik - float(exact.log_lik[possible].max())
    low, high = -40 - math.log(of), 4 - float(log_w[possible].min())  # e^{−t w} is 1 below and 0 above, whatever w
    total = torch.full_like(log_w, -torch.inf)
    for u in torch.arange(low, high, _STEP, dtype=torch.float64).tolist():
        decay = torch.where(torch.isneginf(exact.log_prior), 0.0, -torch.exp(log_w + u))
        log_phi = torch.logsumexp(exact.log_prior + decay, 0)
        total = torch.logaddexp(total, u + decay + (of - 1) * log_phi)
    law = exact.log_prior + log_w + total
    return normalise(torch.where(possible, law, -torch.inf))


def soft_best_of_n_kl_bound(log_w: Float[Tensor, " m"], of: int) -> float:
    """E_p*[log(1 + (w/Z − 1)/n)] in nats, a bound on KL(p*‖soft best-of-n), estimated from m prior draws.

    Self-normalised, so at most log(1 + (m/ESS − 1)/n). NaN where no draw has weight.
    """
    if bool(torch.isneginf(log_w).all()):
        return math.nan
    some = log_w > -math.inf  # the others have no share in p*
    excess = torch.expm1(log_w - log_mean_exp(log_w))[some]
    return float((torch.exp(normalise(log_w))[some] * torch.log1p(excess / of)).sum())
