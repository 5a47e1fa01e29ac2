"""A reward head whose prior the data chose: τ of the largest evidence p(opinions | τ), with none kept apart for it.

log p(D | τ) ≈ log p(D | θ̂) + log p(θ̂ | τ) + ½ log |2π Σ|        Laplace; exact for scores (evidence.scores)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.evidence.feedback import Head, Opinions, fit_head

TAUS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Prior standard deviations of a usual reply's reward that are tried, in logits."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head and what its fit chose.

    Attributes:
        head: the belief over the reward.
        tau: prior standard deviation, in reward units, of the reward of a reply whose features are all one unit.
        noise: standard deviation of a score given its reward, points; 0 of thumbs and pairs, whose noise is σ's own.
        log_evidence: log p(opinions | tau, noise), nats.
    """

    head: Head
    tau: float
    noise: float
    log_evidence: float


def log_evidence(head: Head, opinions: Opinions, tau: float) -> float:
    """Laplace's log p(opinions | τ), nats, of a head that `fit_head` fitted to them at this τ.

    Test: against a grid of a one-dimensional problem in tests/oracle/test_score_head.py.
    """
    d = len(head.scale)
    unit = torch.cat([head.scale, torch.ones(1, dtype=torch.float64)])
    said = -torch.nn.functional.softplus(-(opinions.rows() / unit @ head.mean)) @ opinions.weights
    precision = torch.full((d + 1,), d / tau**2, dtype=torch.float64)
    precision[d] = 1.0
    # log N(θ̂; 0, Λ⁻¹) + ½ log |Σ|; the 2π of both cancel
    prior = 0.5 * precision.log().sum() - 0.5 * (precision * head.mean.square()).sum()
    return float(said + prior + torch.linalg.cholesky(head.cov).diagonal().log().sum())


def fit_by_evidence(opinions: Opinions, scale: Float[Tensor, " d"], taus: Sequence[float] = TAUS) -> Fitted:
    """The Laplace belief of thumbs and pairs at the τ of largest evidence.

    Raises:
        ConfigError, DegeneracyError: as fit_head.

    Cost: a fit a τ.
    """
    fits = [(fit_head(opinions, scale, tau), tau) for tau in taus]
    found = [Fitted(head, tau, 0.0, log_evidence(head, opinions, tau)) for head, tau in fits]
    return max(found, key=lambda one: one.log_evidence)
