"""A belief over a reward put to the test: opinions kept apart, and intervals of rewards whose truth is known.

Three laws say what a person will say next: by the mean reward alone (plug-in), averaged over the belief (Laplace's; of
scores the exact one), averaged over a bootstrapped ensemble. Their log-loss and calibration are read off opinions that
none of them was fitted on. A score that was kept apart shows whether intervals cover; a thumb or a comparison does not,
since nobody ever sees the reward behind it. There rewards are drawn from the head's own prior, opinions of them are
simulated on the very features of the data, and every head is fitted anew: simulation-based coverage.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.diagnose.densities import LEVELS, DensityScores, Normals, score_densities
from credence.diagnose.intervals import student
from credence.diagnose.scoring_rules import Bin, Interval, LabelScores, reliability, score_labels
from credence.evidence.feedback import fit_head
from credence.evidence.fitted import Fitted
from credence.evidence.reward_head import Heard, resampled
from credence.evidence.rules import log_mean_sigmoid

BASE, PLUG_IN, AVERAGED, ENSEMBLE = "base", "plug_in", "averaged", "ensemble"
LAWS = (BASE, PLUG_IN, AVERAGED, ENSEMBLE)
SIMULATIONS = 20
"""Rewards drawn from the prior, each with its opinions and its fits."""
Covered = Mapping[float, Interval]


@dataclass(frozen=True, eq=False)
class Learnt:
    """The heads under trial, all fitted on the same opinions.

    Attributes:
        fitted: the belief.
        members: (M, d + 1) means of the ensemble.
        level: what a law without features says: the share of thumbs up, ½ of comparisons, the scores' mean.
        spread: the scores' standard deviation; 0 of the others.
    """

    fitted: Fitted
    members: Float[Tensor, "M k"]
    level: float
    spread: float


def learn(heard: Heard, fitted: Fitted, key: Key, members: int) -> Learnt:
    """The ensemble and the baseline beside a fitted head."""
    value, n = heard.value.double(), len(heard)
    shares = {"labels": (float(value.sum()) + 0.5) / (n + 1), "comparisons": 0.5, "scores": float(value.mean())}
    spread = float(value.std()) if heard.kind == "scores" else 0.0
    return Learnt(fitted, resampled(heard, fitted, key, members), shares[heard.kind], spread)


def decided(heard: Heard) -> Heard:
    """Without comparisons that are ties: no law can be right or wrong about one."""
    return heard.take(torch.nonzero(heard.value != 0.5).flatten()) if heard.kind == "comparisons" else heard


def label_laws(learnt: Learnt, heard: Heard) -> dict[str, Float[Tensor, "N 2"]]:
    """log P(down), log P(up) of each law; of comparisons whether the first text wins."""
    rows = heard.rows(learnt.fitted.head.scale)
    mean, sd = learnt.fitted.head.told(rows)
    each = rows @ learnt.members.T
    up = torch.nn.functional.logsigmoid
    base = torch.tensor([1 - learnt.level, learnt.level], dtype=torch.float64).log()
    return {
        BASE: base.expand(len(heard), 2),
        PLUG_IN: torch.stack([up(-mean), up(mean)], 1),
        AVERAGED: torch.stack([log_mean_sigmoid(-mean, sd), log_mean_sigmoid(mean, sd)], 1),
        ENSEMBLE: torch.stack([torch.logsumexp(up(s * each), 1) - math.log(each.shape[1]) for s in (-1, 1)], 1),
    }


def score_laws(learnt: Learnt, heard: Heard) -> dict[str, Normals]:
    """The law of each score: the reward's and the noise's together."""
    rows = heard.rows(learnt.fitted.head.scale)
    mean, sd = learnt.fitted.head.told(rows)
    each, noise = rows @ learnt.members.T, learnt.fitted.noise
    one = torch.ones(len(heard), 1, dtype=torch.float64)
    return {
        BASE: Normals(learnt.level * one, learnt.spread * one),
        PLUG_IN: Normals(mean[:, None], noise * one),
        AVERAGED: Normals(mean[:, None], (sd.square() + noise**2).sqrt()[:, None]),
        ENSEMBLE: Normals(each, torch.full_like(each, noise)),
    }


@dataclass(frozen=True)
class Judged:
    """What each law is worth on the opinions kept apart.

    Attributes:
        labels: by law, of thumbs and comparisons; empty of scores.
        scores: by law, of scores; else empty.
        bins: by law, points of the reliability diagram; empty of scores.
        below: by law, P(score ≤ what it was), sorted; empty of the others.
    """

    labels: Mapping[str, LabelScores]
    scores: Mapping[str, DensityScores]
    bins: Mapping[str, tuple[Bin, ...]]
    below: Mapping[str, tuple[float, ...]]


def judge(learnt: Learnt, heldout: Heard, key: Key) -> Judged:
    """Every law on the opinions kept apart.

    Raises:
        ConfigError: none of them is decided.
    """
    heard = decided(heldout)
    if not len(heard):
        raise ConfigError("every comparison kept apart is a tie: no law can be judged. Bring more, or keep more apart.")
    if heard.kind == "scores":
        laws = score_laws(learnt, heard)
        below = {name: tuple(sorted(law.below(heard.value).tolist())) for name, law in laws.items()}
        return Judged({}, score_densities(laws, heard.value, key, BASE), {}, below)
    if heard.kind == "comparisons":  # the better text stands first in a file: else every truth were the same
        turned = torch.from_numpy(key.fold("sides").generator().uniform(size=len(heard))) < 0.5
        side = torch.where(turned, -1.0, 1.0).double()
        heard = Heard(heard.kind, heard.phi * side[:, None], torch.where(turned, 1 - heard.value, heard.value))
    said = label_laws(learnt, heard)
    truth: Int[Tensor, " N"] = (heard.value > 0.5).long()
    bins = {name: reliability(law, truth) for name, law in said.items()}
    return Judged(score_labels(said, truth, key, BASE), {}, bins, {})


def intervals(mean: Tensor, sd: Tensor, level: float, members: int = 0) -> tuple[Tensor, Tensor]:
    """Central intervals of a normal belief; of an ensemble Student's, as if the truth were one more member of it."""
    if members:
        half = student(members - 1, level) * math.sqrt(1 + 1 / members)
    else:
        half = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)))
    return mean - half * sd, mean + half * sd


def simulated_coverage(
    train: Heard,
    heldout: Heard,
    fitted: Fitted,
    key: Key,
    members: int,
    runs: int = SIMULATIONS,
    tick: Callable[[], None] = no_tick,
) -> dict[str, Covered]:
    """How often intervals of the reward hold it, where it is drawn from the head's own prior.

    Args:
        train: whose features opinions are simulated on, one each.
        heldout: at whose features rewards are looked at.
        fitted: whose τ and scale hold throughout.
        key: of all draws.
        members: of each ensemble.
        runs: rewards drawn.
        tick: called after each.

    Returns:
        by "averaged" (the belief) and "ensemble", the share of each level with its 95 % Student interval over runs.

    Raises:
        ConfigError: scores, which show their coverage themselves.

    Cost: (1 + members) fits a run. Test: tests/statistical/test_reward_heads.py.
    """
    if train.kind == "scores":
        raise ConfigError("scores that were kept apart show their coverage themselves: nothing need be simulated.")
    scale, d = fitted.head.scale, train.phi.shape[1]
    design, looked = train.rows(scale), heldout.rows(scale)
    hits: dict[tuple[str, float], list[float]] = {}
    for run in range(runs):
        here = key.fold("simulated", run)
        rng = here.generator()
        theta = torch.from_numpy(rng.normal(size=d + 1))
        theta[:d] *= fitted.tau / math.sqrt(d)
        said = torch.from_numpy(rng.uniform(size=len(train))) < torch.sigmoid(design @ theta)
        heard = Heard(train.kind, train.phi, said.double())
        head = fit_head(heard.opinions(), scale, fitted.tau)
        one = Fitted(head, fitted.tau, 0.0, 0.0)
        each = looked @ resampled(heard, one, here.fold("members"), members).T
        mean, sd = head.told(looked)
        told = {AVERAGED: (mean, sd, 0), ENSEMBLE: (each.mean(1), each.std(1), members)}
        truth = looked @ theta
        for name, (middle, width, count) in told.items():
            for level in LEVELS:
                low, high = intervals(middle, width, level, count)
                hits.setdefault((name, level), []).append(float(((low <= truth) & (truth <= high)).double().mean()))
        tick()
    return {name: {level: _over_runs(hits[name, level]) for level in LEVELS} for name in (AVERAGED, ENSEMBLE)}


def _over_runs(shares: list[float]) -> Interval:
    found = torch.tensor(shares, dtype=torch.float64)
    value = float(found.mean())
    half = student(len(shares) - 1, 0.95) * float(found.std()) / math.sqrt(len(shares)) if len(shares) > 1 else 1.0
    return value, max(0.0, value - half), min(1.0, value + half)
