"""Checks of learnt rewards that their mutants must fail: calibration by simulation, coverage, rules as integrals."""

import math

import numpy as np
import torch
from scipy import stats

from credence.core.keys import Key
from credence.diagnose.calibration import ALARM, calibration, ranks
from credence.evidence import feedback, rules, scores
from credence.evidence.feedback import Opinions

RUNS, N, D, DRAWS = 1500, 5, 3, 9
TAU, NOISE = 1.3, 0.7
ONE = torch.ones(D, dtype=torch.float64)
Z = float(stats.norm.isf(ALARM / 2))


def check_score_ranks(seed: int) -> None:
    """θ ~ prior, scores of it, exact posterior: the true reward of a text ranks uniformly among nine posterior draws.

    1,500 runs, ten ranks, chi-square of 9 degrees of freedom at a false-alarm rate of 1e-6 (critical value 44.8).
    Power at seed 20: scores counted twice give 106, σ² taken for σ 112, a prior divided by d twice 212, no level 3,342.
    """
    rng = Key(seed).fold("scores").generator()
    truth, drawn = torch.empty(RUNS, dtype=torch.float64), torch.empty(RUNS, DRAWS, dtype=torch.float64)
    for run in range(RUNS):
        phi = torch.from_numpy(rng.normal(size=(N, D)))
        theta = torch.from_numpy(rng.normal(size=D)) * TAU / math.sqrt(D)
        y = phi @ theta + 4.0 + NOISE * torch.from_numpy(rng.normal(size=N))
        head = scores.conjugate(phi, y, ONE, TAU, NOISE)
        looked = torch.from_numpy(rng.normal(size=(1, D)))
        mean, sd = head.reward(looked)
        truth[run] = float(looked[0] @ theta)
        drawn[run] = float(mean) + float(sd) * torch.from_numpy(rng.normal(size=DRAWS))
    found = calibration(ranks(truth, drawn, Key(seed).fold("ties")), DRAWS)
    assert found.p > ALARM, found


def covered(seed: int, pairs: int, runs: int) -> float:
    """Share of 95 % intervals of θ's first coordinate that hold it: θ from the prior, three features, one fit a run."""
    rng = Key(seed).fold("pairs", pairs).generator()
    half, hits = float(stats.norm.isf(0.025)), 0
    for _ in range(runs):
        gap = torch.from_numpy(rng.normal(size=(pairs, D)))
        theta = torch.from_numpy(rng.normal(size=D)) * TAU / math.sqrt(D)
        won = torch.from_numpy(rng.uniform(size=pairs)) < torch.sigmoid(gap @ theta)
        said = Opinions(gap[:0], torch.zeros(0, dtype=torch.bool), torch.where(won[:, None], gap, -gap))
        head = feedback.fit_head(said, ONE, TAU)
        hits += abs(float(head.mean[0] - theta[0])) <= half * float(head.cov[0, 0].sqrt())
    return hits / runs


def check_laplace_coverage(seed: int) -> None:
    """Laplace's 95 % intervals of a Bradley–Terry head hold the truth as often as they say, at 200 pairs (SCIENCE 6.4).

    500 runs; a share within 4.9 standard errors (0.048) of 0.95: false-alarm rate 1e-6. Power: each pair counted twice
    gives 0.864 at seed 20.
    """
    assert abs(covered(seed, 200, 500) - 0.95) < Z * math.sqrt(0.95 * 0.05 / 500)


def check_rules(seed: int) -> None:
    """Posterior-averaged and predictive nats are the logs of means over the belief: exact to 1e-6, no chance in it."""
    rng = Key(seed).fold("rules").generator()
    mean = torch.from_numpy(rng.normal(size=20) * 2 - 1)
    sd = torch.from_numpy(rng.uniform(0.3, 2.0, size=20))
    z = torch.linspace(-12, 24, 7201, dtype=torch.float64)
    weight = torch.exp(-0.5 * z.square()) * float(z[1] - z[0]) / math.sqrt(2 * math.pi)
    beta = float(rng.uniform(0.5, 2.0))
    r = mean[:, None] + sd[:, None] * z
    averaged = torch.log((torch.exp(r / beta) * weight).sum(1))
    predictive = torch.log((torch.sigmoid(r) * weight).sum(1)) / beta
    for rule, wanted in (("posterior_averaged", averaged), ("predictive", predictive)):
        found = rules.by_rule(rule, mean, sd, beta, 1.0)  # pyright: ignore[reportArgumentType]
        assert np.allclose(found.numpy(), wanted.numpy(), atol=1e-6), rule


CHECKS = (check_score_ranks, check_laplace_coverage, check_rules)
