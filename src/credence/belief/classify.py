"""From likelihoods of labels to beliefs about them: the noisy channel, tempered or not, and direct answers, corrected.

Channel: p(y | x) ∝ p(y) p(x | y)^τ. Direct: the model's own p(y | x), which leans towards the words it likes to say,
whatever the text. By Bayes' rule p(y | x)/p(y) is the evidence of the text; the model's own p(y) is estimated by its
mean answer over texts whose labels are not looked at, and the true shares put in its place:

    p'(y | x) ∝ p(y) · p(y | x) / mean_x p(y | x)

(contextual calibration, Zhao et al. 2021, 2102.09690, with texts of the domain in place of an empty one).
Tested in tests/oracle/test_classify.py.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.logspace import log_mean_exp, normalise


def label_prior(truth: Int[Tensor, " N"], labels: Sequence[str]) -> Float[Tensor, " K"]:
    """log p(y): each label's share of the training texts, in nats.

    Raises:
        ConfigError: a label with fewer than two of them: from one text nothing is learnt that could be checked.
    """
    counts = torch.bincount(truth, minlength=len(labels)).double()
    for label, count in zip(labels, counts.tolist(), strict=True):
        if count < 2:
            raise ConfigError(
                f"label {label!r} has {int(count)} training text{'s' if count != 1 else ''}: at least two are needed. "
                "Add examples of it, leave it out, or join it with another."
            )
    return (counts / counts.sum()).log()


def channel_law(
    log_lik: Float[Tensor, "N K"], log_prior: Float[Tensor, " K"], tau: float = 1.0
) -> Float[Tensor, "N K"]:
    """log p(y | x) of the noisy channel, nats: p(y) p(x | y)^τ, normalised.

    Raises:
        ContractError: a text that is impossible under every label, or a NaN.
    """
    joint = log_prior + tau * log_lik.double()
    if bool(torch.isnan(joint).any()) or bool(torch.isneginf(joint).all(1).any()):
        raise ContractError(
            "a text's log-likelihood is NaN, or -inf under every label: the model cannot say it at all."
        )
    return normalise(joint)


def direct_law(log_p: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """log p(y | x) of the model's answers, nats: normalised over the labels' words."""
    return channel_law(log_p, torch.zeros(log_p.shape[1], dtype=torch.float64))


def mean_answer(law: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    """log mean_x p(y | x): what the model answers whatever the text, nats.

    Raises:
        ShapeError: no text.
    """
    if not len(law):
        raise ShapeError("the mean answer is over texts, and none was given.")
    return log_mean_exp(law, 0)


def corrected(
    law: Float[Tensor, "N K"], mean: Float[Tensor, " K"], log_prior: Float[Tensor, " K"]
) -> Float[Tensor, "N K"]:
    """log p'(y | x) ∝ log p(y) + log p(y | x) − log mean_x p(y | x), normalised."""
    return normalise(log_prior + law - mean)


def log_odds_steps(
    log_lik: Float[Tensor, "T K"], log_prior: Float[Tensor, " K"], label: int, tau: float = 1.0
) -> Float[Tensor, " T"]:
    """By how many nats each token moves the log-odds of a label against all others; they sum to the text's evidence.

    With two labels it is τ (log p(x_t | x_<t, y) − log p(x_t | x_<t, other)).
    """
    heard = torch.cumsum(tau * log_lik.double(), 0)
    belief = normalise(log_prior + torch.cat([torch.zeros_like(heard[:1]), heard]))
    others = torch.cat([belief[:, :label], belief[:, label + 1 :]], 1)
    odds = belief[:, label] - torch.logsumexp(others, 1)
    return odds[1:] - odds[:-1]
