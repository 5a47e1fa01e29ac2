"""Wrong beliefs over a reward and wrong rules for them; each must fail the very check that the right one passes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from credence.evidence import feedback, rules, scores
from credence.evidence.feedback import Head, Opinions
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical import reward_checks as checks

Patch = pytest.MonkeyPatch


def conjugate_with(patch: Patch, change: Any) -> None:
    right = scores.conjugate
    patch.setattr(scores, "conjugate", lambda phi, y, scale, tau, noise: change(right, phi, y, scale, tau, noise))


def scores_twice(patch: Patch) -> None:
    """Each score counts twice."""
    conjugate_with(patch, lambda right, phi, y, *rest: right(torch.cat([phi, phi]), torch.cat([y, y]), *rest))


def noise_as_variance(patch: Patch) -> None:
    """σ² stands where σ belongs."""
    conjugate_with(patch, lambda right, phi, y, scale, tau, noise: right(phi, y, scale, tau, noise**2))


def width_twice(patch: Patch) -> None:
    """The prior variance is divided by the number of features twice."""

    def change(right: Any, phi: Any, y: Any, scale: Any, tau: float, noise: float) -> Head:
        return right(phi, y, scale, tau / len(scale) ** 0.5, noise)

    conjugate_with(patch, change)


def no_level(patch: Patch) -> None:
    """The scores' level is left out: what is common to all texts is laid to the features."""

    def change(right: Any, phi: Any, y: Any, scale: Any, tau: float, noise: float) -> Head:
        precision = phi.T @ phi / noise**2 + len(scale) / tau**2 * torch.eye(len(scale)).double()
        cov = torch.zeros(len(scale) + 1, len(scale) + 1).double()
        cov[:-1, :-1] = torch.linalg.inv(precision)
        mean = torch.cat([cov[:-1, :-1] @ phi.T @ y / noise**2, torch.zeros(1).double()])
        return Head(mean, cov, scale)

    conjugate_with(patch, change)


def pairs_twice(patch: Patch) -> None:
    """Each comparison counts twice."""
    right = feedback.fit_head

    def wrong(said: Opinions, scale: Any, tau: float) -> Head:
        return right(replace(said, weight=2 * said.weights), scale, tau)

    patch.setattr(feedback, "fit_head", wrong)


def rule_with(patch: Patch, name: str, nats: Any) -> None:
    right = rules.by_rule

    def wrong(rule: Any, mean: Any, sd: Any, beta: float, k: float) -> Any:
        return nats(mean, sd, beta) if rule == name else right(rule, mean, sd, beta, k)

    patch.setattr(rules, "by_rule", wrong)


def no_half(patch: Patch) -> None:
    """log E[e^{r/β}] without the ½ of the variance."""
    rule_with(patch, "posterior_averaged", lambda mean, sd, beta: mean / beta + sd.square() / beta**2)


def one_beta(patch: Patch) -> None:
    """The variance divided by β once."""
    rule_with(patch, "posterior_averaged", lambda mean, sd, beta: (mean + sd.square() / 2) / beta)


def sure(patch: Patch) -> None:
    """Predictive by the mean alone."""
    rule_with(patch, "predictive", lambda mean, sd, beta: torch.nn.functional.logsigmoid(mean) / beta)


def jensen(patch: Patch) -> None:
    """E[log σ(r)] in place of log E[σ(r)]."""

    def nats(mean: Any, sd: Any, beta: float) -> Any:
        z = torch.linspace(-8, 8, 1601, dtype=torch.float64)
        weight = torch.softmax(-0.5 * z.square(), 0)
        return torch.nn.functional.logsigmoid(mean[:, None] + sd[:, None] * z) @ weight / beta

    rule_with(patch, "predictive", nats)


MUTANTS: Sequence[Mutant] = (
    Mutant("scores counted twice", checks.check_score_ranks, scores_twice),
    Mutant("variance for noise", checks.check_score_ranks, noise_as_variance),
    Mutant("prior divided by d twice", checks.check_score_ranks, width_twice),
    Mutant("level left out", checks.check_score_ranks, no_level),
    Mutant("comparisons counted twice", checks.check_laplace_coverage, pairs_twice),
    Mutant("averaged without the half", checks.check_rules, no_half),
    Mutant("averaged with one beta", checks.check_rules, one_beta),
    Mutant("predictive by the mean", checks.check_rules, sure),
    Mutant("predictive by the mean log", checks.check_rules, jensen),
)
LONG = (
    "scores counted twice", "variance for noise", "prior divided by d twice", "level left out",
    "comparisons counted twice",
)  # fmt: skip
"""Left to the slow part: each takes some seconds a seed."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(tuple(MUTANTS), LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
