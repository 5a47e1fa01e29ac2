"""Tests of draws against enumeration: unbiasedness over many runs, and a stated law, each as a p-value.

Runs are copies of one prompt, whose uniforms differ by row, so they are independent.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Draws, Prompts
from credence.diagnose.calibration import chi_square_tail
from credence.posterior.exact import Exact
from credence.prior.table import Tokens

LEAST_DRAWS = 500
"""Draws below which a chi-square test sees nothing."""

LEAST_CELL = 20.0
"""Draws that a cell must be expected to hold."""


def copies(prompts: Prompts, runs: int) -> Prompts:
    """`runs` independent runs of each prompt: all of the first prompt, then all of the second."""
    return prompts.take([b for b in range(len(prompts)) for _ in range(runs)])


def features(sequence: Tokens, end: int) -> list[float]:
    """Test functions: 1, what it starts with, how long it is, whether it ended, something that tells all apart."""
    code = sum((token + 1) * 5**i for i, token in enumerate(sequence))
    return [1.0, float(sequence[0] == 0), float(len(sequence)), float(sequence[-1] == end), 1.5 + math.sin(2.0 * code)]


def p_unbiased(draws: Draws, exacts: Sequence[Exact], end: int) -> float:
    """p-value of E[Ẑ Σ w̄ f] = Z E_p*[f] for all features and prompts, Bonferroni among them.

    Args:
        draws: of copies(prompts, runs).
        exacts: one a prompt.
        end: the end token.
    """
    count = len(draws.prompts)
    runs, n = count // len(exacts), len(draws.log_w) // count
    values = torch.tensor([features(s, end) for s in draws.texts()], dtype=torch.float64).view(len(exacts), runs, n, -1)
    weights = draws.weights().view(len(exacts), runs, n, 1)
    log_z = draws.log_z.view(len(exacts), runs)
    least = 1.0
    tests = len(exacts) * values.shape[-1]
    for b, exact in enumerate(exacts):
        truth = torch.tensor([features(s, end) for s in exact.sequences], dtype=torch.float64)
        mean = (torch.exp(exact.log_p)[:, None] * truth).sum(0)
        kept = mean > 0  # a feature that the posterior never shows has no ratio
        ratio = (torch.exp(log_z[b] - exact.log_z)[:, None] * (weights[b] * values[b]).sum(1))[:, kept] / mean[kept]
        z = (ratio.mean(0) - 1) / ratio.std(0) * math.sqrt(runs)
        least = min(least, *(tests * math.erfc(abs(float(x)) / math.sqrt(2)) for x in z))
    return least


def p_law(draws: Draws, exact: Exact, log_law: Float[Tensor, " N"]) -> float:
    """p-value that equally weighted draws follow this law: `p_texts` of their tokens."""
    return p_texts(draws.texts(), exact, log_law)


def p_texts(texts: Sequence[Tokens], exact: Exact, log_law: Float[Tensor, " N"]) -> float:
    """p-value that sequences follow this law, by chi-square; cells expected under 20 times are pooled.

    Raises:
        ConfigError: fewer than 500 draws, which would see nothing.
    """
    place, total = exact.index(), len(texts)
    if total < LEAST_DRAWS:
        raise ConfigError(f"{total} draws: fewer than {LEAST_DRAWS} see nothing. Draw more, or more runs.")
    observed = torch.bincount(torch.tensor([place[s] for s in texts]), minlength=len(place)).double()
    return p_counts(observed, total * torch.exp(log_law))


def p_counts(observed: Float[Tensor, " K"], expected: Float[Tensor, " K"]) -> float:
    """p-value of counts in cells by chi-square; cells expected under 20 times are pooled, an impossible one rejects."""
    if bool((observed[expected == 0] > 0).any()):
        return 0.0
    order = expected.argsort(descending=True)
    observed, expected = observed[order], expected[order]
    cells = int((expected >= LEAST_CELL).sum())
    if cells < len(expected):  # the rest as one cell, joined to the smallest if it is small itself
        cells -= int(expected[cells:].sum() < LEAST_CELL)
        observed = torch.cat([observed[:cells], observed[cells:].sum(0, keepdim=True)])
        expected = torch.cat([expected[:cells], expected[cells:].sum(0, keepdim=True)])
    if len(expected) < 2:
        return 1.0
    return chi_square_tail(float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1)
