"""From what was measured of a translation study to its report: laws, table, intervals, choices, sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from credence.belief.ibm1 import IBM1
from credence.belief.temper import log_loss
from credence.belief.translate import (
    BAYES,
    CHANCE,
    CHANNEL,
    COMBINED,
    DIRECT,
    LIKENESS,
    PER_UNIT,
    PRIOR,
    TEMPERED,
    TUNED,
    Readings,
    Weights,
    fit_laws,
    translation_laws,
)
from credence.belief.units import units
from credence.core.keys import Key
from credence.diagnose.intervals import tail_share
from credence.diagnose.scoring_rules import LEVEL, Interval, score_labels
from credence.evidence.chrf import Counts, chrf_counts, chrf_score
from credence.report.schema import Estimate
from credence.report.translate import Choice, ScorerRow, TranslateReport
from credence.study.pairs import PairParts
from credence.study.translate_config import TranslateConfig
from credence.study.translate_policy import Translator
from credence.study.translate_told import facts, policy_report

ANSWERING = (TUNED, COMBINED, TEMPERED, PER_UNIT, LIKENESS)
"""Scorers whose weights validation has set; the one of least log-loss there answers later."""
RESAMPLES = 2000
EXACT = 1e-9
NEAREST, BEST = "nearest", "best_of_memory"
TITLES = {
    CHANCE: ("chance", "prior", "every candidate alike"),
    PRIOR: ("language model alone", "prior", "p(y), whatever the source"),
    DIRECT: ("direct", "draw", "p(y | x), IBM model 1"),
    PER_UNIT: ("direct, per unit", "draw", "p(y | x)^(w/|y|), w by validation"),
    CHANNEL: ("channel", "train", "p(x | y), IBM model 1, every candidate as likely before"),
    TEMPERED: ("channel, tempered", "train", "p(x | y)^τ, τ by validation"),
    BAYES: ("both: Bayes proper", "target", "p(y) p(x | y)"),
    TUNED: ("both: tuned", "target", "p(y)^λ p(x | y)^τ, λ and τ by validation"),
    COMBINED: ("direct and both (Yee et al.)", "target", "log-linear, by length, three weights by validation"),
    LIKENESS: ("embeddings", "draw", "cosine of multilingual vectors, its weight by validation"),
    NEAREST: ("translation memory", "prior", "the translation of the nearest source, by BM25"),
    BEST: ("best in the memory", "prior", "an upper bound: the distractor of largest chrF"),
}


@dataclass(frozen=True, eq=False)
class Found:
    """Everything that the report is made from; rows are validation sources and then test sources.

    Attributes:
        parts: pairs.
        remarks: on how they were read.
        texts: candidates of each source.
        truth: where each reference stands.
        nearest: the memory's first translation of each, "" where it has none.
        readings: what the models say.
        channel: p(x | y).
        direct: p(y | x).
        translator: the small one, if trained.
    """

    parts: PairParts
    remarks: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    truth: tuple[int, ...]
    nearest: tuple[str, ...]
    readings: Readings
    channel: IBM1
    direct: IBM1
    translator: Translator | None = None

    @property
    def tuned(self) -> int:
        """Validation sources."""
        return len(self.parts.validation)

    def places(self, test: bool) -> Int[Tensor, " N"]:
        """Where the references stand."""
        return torch.tensor(self.truth[self.tuned :] if test else self.truth[: self.tuned])


@dataclass(frozen=True, eq=False)
class Chosen:
    """What validation set, and what every scorer says of the test sources."""

    weights: Weights
    test: Mapping[str, Float[Tensor, "N K"]]
    validation: Mapping[str, Float[Tensor, "N K"]]
    answers: str


def choose(found: Found) -> Chosen:
    """Every scorer's law. Nothing here looks at where the test references stand."""
    tuned, test = found.readings.rows(slice(0, found.tuned)), found.readings.rows(slice(found.tuned, None))
    truth = found.places(test=False)
    weights = fit_laws(tuned, truth)
    validation = translation_laws(tuned, weights)
    answers = min(
        (name for name in ANSWERING if name in validation),
        key=lambda name: float(log_loss(validation[name], truth).mean()),
    )
    return Chosen(weights, translation_laws(test, weights), validation, answers)


@dataclass(frozen=True, eq=False)
class Resampled:
    """How often each of N sources is drawn in each of R resamples: one matrix for every figure, so that they pair."""

    counts: NDArray[np.float64]

    @classmethod
    def of(cls, n: int, key: Key, resamples: int = RESAMPLES) -> "Resampled":
        """Sources drawn with replacement."""
        drawn = key.generator().integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
        return cls(np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64))

    def around(self, value: float, found: NDArray[np.float64]) -> Estimate:
        """The percentile interval, expanded for few sources."""
        tail = tail_share(self.counts.shape[1], LEVEL)
        low, high = np.quantile(found, (tail, 1 - tail))
        return Estimate(value, min(value, float(low)), max(value, float(high)))

    def chrf(self, counts: Counts) -> NDArray[np.float64]:
        """(R,) corpus chrF of each resample."""
        n = len(counts)
        return chrf_score((self.counts @ counts.reshape(n, -1)).reshape(len(self.counts), *counts.shape[1:]))

    def corpus(self, counts: Counts) -> Estimate:
        """Corpus chrF with its interval."""
        return self.around(float(chrf_score(counts.sum(0))), self.chrf(counts))

    def corpus_gain(self, after: Counts, before: Counts) -> Estimate:
        """The difference of two corpus scores on the same sources."""
        value = float(chrf_score(after.sum(0))) - float(chrf_score(before.sum(0)))
        return self.around(value, self.chrf(after) - self.chrf(before))

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """A mean over sources."""
        return self.around(float(values.mean()), self.counts @ values / len(values))


def scorer_rows(found: Found, chosen: Chosen, key: Key) -> list[ScorerRow]:
    """The table: every scorer with its intervals, then what the memory alone is worth."""
    truth, texts = found.places(test=True), found.texts[found.tuned :]
    references = list(found.parts.test.targets)
    again, scores = Resampled.of(len(truth), key), score_labels(chosen.test, truth, key.fold("labels"), DIRECT)
    counts = [chrf_counts(row, [reference] * len(row)) for row, reference in zip(texts, references, strict=True)]
    rows: list[ScorerRow] = []
    right = {name: (law.argmax(1) == truth).double().numpy() for name, law in chosen.test.items()}
    for name, law in chosen.test.items():
        picked = np.stack([counts[i][k] for i, k in enumerate(law.argmax(1).tolist())])
        others = law.clone()
        others[torch.arange(len(truth)), truth] = -torch.inf
        without = np.stack([counts[i][k] for i, k in enumerate(others.argmax(1).tolist())])
        score, title = scores[name], TITLES[name]
        own = name == DIRECT
        rows.append(ScorerRow(
            name, *title[:2], Estimate(*score.accuracy), again.corpus(picked), _estimate(score.log_loss),
            None if own else again.mean(right[name] - right[DIRECT]),
            None if own or score.against is None else _estimate(score.against),
            again.corpus(without), title[2],
        ))  # fmt: skip
    memory = chrf_counts(found.nearest[found.tuned :], references)
    best = np.stack([
        max((c[k] for k in range(len(c)) if k != t), key=lambda one: float(chrf_score(one)))
        for c, t in zip(counts, truth.tolist(), strict=True)
    ])  # fmt: skip
    for name, own in ((NEAREST, memory), (BEST, best)):
        title = TITLES[name]
        rows.append(ScorerRow(name, *title[:2], None, None, None, None, None, again.corpus(own), title[2]))
    return rows


def _estimate(found: Interval) -> Estimate:
    """What is the same for every source is known exactly, but for the last digits of its resamples."""
    value, low, high = found
    return Estimate(value, value, value) if high - low < EXACT else Estimate(value, low, high)


def report(config: TranslateConfig, found: Found, chosen: Chosen, made: Mapping[str, Any]) -> TranslateReport:
    """The report, the manifest in it."""
    key = Key(config.seed).fold("bootstrap")
    w = chosen.weights
    sizes = {"train": len(found.parts.train), "validation": found.tuned, "test": len(found.parts.test),
             "candidates": len(found.texts[0])}  # fmt: skip
    policy = None
    if found.translator is not None and config.seq2seq is not None:
        measured = found.translator.measured
        again = Resampled.of(len(measured.sources), key.fold("greedy"))
        greedy = (again.corpus(measured.counts["before"]), again.corpus(measured.counts["after"]),
                  again.corpus_gain(measured.counts["after"], measured.counts["before"]))  # fmt: skip
        policy = policy_report(config.seq2seq, found.translator, greedy, len(found.parts.test))
    return TranslateReport(
        title=config.name,
        sizes=sizes,
        rows=tuple(scorer_rows(found, chosen, key)),
        choices=tuple(_choices(found, chosen)),
        facts=(*found.remarks, *facts(sizes, found.readings.rows(slice(found.tuned, None)), w, chosen.test[BAYES],
                                      _known(found), (found.channel, found.direct), TITLES[chosen.answers][0])),
        weights={"lambda": w.lam, "tau": w.tau, "channel": w.channel, "direct": w.direct,
                 "combined": list(w.combined), "likeness": w.likeness},
        chosen=chosen.answers,
        policy=policy,
        manifest=made,
    )  # fmt: skip


def _known(found: Found) -> tuple[int, int]:
    """Units of the test sources, and how many of them training has seen."""
    texts = [units(x) for x in found.parts.test.sources]
    return sum(map(len, texts)), sum(found.channel.knows(x) for x in texts)


def _choices(found: Found, chosen: Chosen) -> list[Choice]:
    """Where direct and both part, and where the answering scorer is wrong most surely."""
    truth, laws = found.places(test=True), chosen.test
    right = {name: law.argmax(1) == truth for name, law in laws.items()}
    answers = chosen.answers
    shown = (
        ("right by both, tuned; wrong by direct", right[TUNED] & ~right[DIRECT], laws[TUNED]),
        ("right by direct; wrong by both, tuned", right[DIRECT] & ~right[TUNED], laws[DIRECT]),
        ("tuned mends what Bayes proper gets wrong", right[TUNED] & ~right[BAYES], laws[TUNED]),
        (f"wrong by {TITLES[answers][0]}, and most surely", ~right[answers], -laws[answers]),
        (f"right by {TITLES[answers][0]}, and least surely", right[answers], -laws[answers]),
    )
    out: list[Choice] = []
    for why, where, by in shown:
        here = torch.nonzero(where).flatten()
        if len(here):
            own = by[here, truth[here]]
            out.append(_choice(found, chosen, int(here[own.argmax()]), why))
    return out


def _choice(found: Found, chosen: Chosen, i: int, why: str) -> Choice:
    names: Sequence[str] = list(dict.fromkeys((DIRECT, CHANNEL, BAYES, TUNED, chosen.answers)))
    laws, place = chosen.test, int(found.places(test=True)[i])
    return Choice(
        found.parts.test.sources[i], found.parts.test.targets[i], found.texts[found.tuned + i],
        {name: int(laws[name][i].argmax()) for name in names},
        {name: float(laws[name][i, place].exp()) for name in names}, why,
    )  # fmt: skip
