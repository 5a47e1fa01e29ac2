"""From what was measured of a classification to its report: laws, table, reliability, strips, sentences."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.belief.bag_of_words import BagOfWords
from credence.belief.classify import channel_law, corrected, direct_law, log_odds_steps, mean_answer
from credence.belief.temper import fit_tau, log_loss
from credence.belief.verbaliser import Verbaliser
from credence.core.keys import Key
from credence.diagnose.scoring_rules import Interval, reliability, score_labels
from credence.evidence.classifier import LabelHead
from credence.report.classify import BAG, ClassifierRow, ClassifyReport, Point, Reliability, Strip
from credence.report.phrases import number
from credence.report.schema import Estimate
from credence.study.classify_config import ClassifyConfig
from credence.study.labelled import Parts

MAJORITY, MEAN, CHANNEL, PLAIN, DIRECT, HEAD = (
    "majority", "channel_mean", "channel", "direct_mean", "direct", "head"
)  # fmt: skip
ANSWERING = (HEAD, CHANNEL, DIRECT)
"""Classifiers that a run keeps whole in its folder, so that they can answer later."""
SHOWN = 60
"""Most characters' worth of tokens of a text that a strip is picked from."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What the language model said of the validation texts and then the test texts.

    Attributes:
        log_lik: by verbaliser, (N, K) log p(x | y), nats.
        answers: by verbaliser, (N, K) log p(word of y | x), nats.
        steps: of each text, (T, K) nats of its tokens, mean over verbalisers.
        pieces: the tokens of a text by its number, as texts.
        cut: texts that were longer than could be read.
        longest: tokens of a text that are read at most.
    """

    log_lik: Mapping[str, Float[Tensor, "N K"]]
    answers: Mapping[str, Float[Tensor, "N K"]]
    steps: Sequence[Tensor]
    pieces: Callable[[int], Sequence[str]]
    cut: int
    longest: int


@dataclass(frozen=True, eq=False)
class Found:
    """Everything that the report is made from."""

    parts: Parts
    remarks: tuple[str, ...]
    verbalisers: tuple[Verbaliser, ...]
    log_prior: Float[Tensor, " K"]
    heard: Heard
    bag: BagOfWords
    head: LabelHead | None
    vectors: Float[Tensor, "N d"] | None

    @property
    def labels(self) -> tuple[str, ...]:
        """K names."""
        return self.parts.test.names

    @property
    def tuned(self) -> Int[Tensor, " M"]:
        """Truth of the validation texts."""
        return torch.tensor(self.parts.validation.truth)

    @property
    def truth(self) -> Int[Tensor, " N"]:
        """Truth of the test texts."""
        return torch.tensor(self.parts.test.truth)


@dataclass(frozen=True, eq=False)
class Laws:
    """What each classifier says: by name, of the validation texts and of the test texts; and what was tuned."""

    validation: Mapping[str, Tensor]
    test: Mapping[str, Tensor]
    tau: float
    mean: Float[Tensor, " K"]
    chosen: str


def laws(found: Found) -> Laws:
    """Every classifier's log p(y | x) in the table's order. Nothing here looks at the test texts' labels."""
    heard, prior, m = found.heard, found.log_prior, len(found.parts.validation)
    n, names = m + len(found.parts.test), [v.name for v in found.verbalisers]
    both: dict[str, Tensor] = {MAJORITY: prior.expand(n, -1)}
    told = [*found.parts.validation.texts, *found.parts.test.texts]
    both[BAG] = found.bag.log_p(told)
    both |= {f"{CHANNEL}_{name}": channel_law(heard.log_lik[name], prior) for name in names}
    spoken = torch.stack([heard.log_lik[name] for name in names]).mean(0)
    if len(names) > 1:
        both[MEAN] = channel_law(spoken, prior)
    tau = fit_tau(spoken[:m], found.tuned, prior)
    both[CHANNEL] = channel_law(spoken, prior, tau)
    both |= {f"{DIRECT}_{name}": direct_law(heard.answers[name]) for name in names}
    asked = direct_law(torch.stack([heard.answers[name] for name in names]).mean(0))
    if len(names) > 1:
        both[PLAIN] = asked
    mean = mean_answer(asked[:m])
    both[DIRECT] = corrected(asked, mean, prior)
    if found.head is not None and found.vectors is not None:
        both[HEAD] = found.head.log_p(found.vectors)
    validation = {name: law[:m] for name, law in both.items()}
    chosen = min(
        (name for name in ANSWERING if name in both),
        key=lambda name: float(log_loss(validation[name], found.tuned).mean()),
    )
    return Laws(validation, {name: law[m:] for name, law in both.items()}, tau, mean, chosen)


def report(config: ClassifyConfig, found: Found, said: Laws, made: Mapping[str, Any]) -> ClassifyReport:
    """The report, the manifest in it."""
    scores = score_labels(said.test, found.truth, Key(config.seed).fold("bootstrap"), BAG)
    rows: list[ClassifierRow] = []
    for name, score in scores.items():
        title, kind, note = _titled(name, found, said)
        accuracy, loss, brier, ece = map(_estimate, (score.accuracy, score.log_loss, score.brier, score.ece))
        against = None if score.against is None else _estimate(score.against)
        rows.append(ClassifierRow(name, title, kind, accuracy, loss, brier, ece, against, note))
    several = len(found.verbalisers) > 1
    panels = (BAG, MEAN if several else f"{CHANNEL}_{found.verbalisers[0].name}", CHANNEL,
              PLAIN if several else f"{DIRECT}_{found.verbalisers[0].name}", DIRECT, HEAD)  # fmt: skip
    sizes = {"train": len(found.parts.train), "validation": len(found.parts.validation), "test": len(found.parts.test)}
    return ClassifyReport(
        title=config.name,
        labels=found.labels,
        sizes=sizes,
        rows=tuple(rows),
        reliability=tuple(_panel(name, found, said) for name in panels if name in said.test),
        strips=tuple(_strips(found, said)),
        facts=tuple(_facts(config, found, said, rows)),
        tau=said.tau,
        chosen=said.chosen,
        manifest=made,
    )


def _estimate(value: Interval) -> Estimate:
    return Estimate(*value)


def _titled(name: str, found: Found, said: Laws) -> tuple[str, str, str]:
    """Title, kind and note of a row."""
    fixed = {
        MAJORITY: ("majority", "prior", "the labels' shares of the training texts, whatever the text"),
        BAG: ("bag of words", "prior", f"{found.bag.units} and their pairs, {found.bag.size:,} counted"),
        MEAN: ("channel, mean", "train", "mean log-likelihood over the verbalisers"),
        CHANNEL: ("channel, tempered", "train", f"τ = {said.tau:.3g}, fitted on validation"),
        PLAIN: ("direct, mean", "draw", "mean log p of the words over the verbalisers"),
        DIRECT: ("direct, corrected", "draw", "divided by the mean answer over validation texts"),
        HEAD: ("head on embeddings", "target", "logistic regression, its prior's strength by the evidence"),
    }
    if name in fixed:
        return fixed[name]
    how, _, verbaliser = name.partition("_")
    return f"{how}: {verbaliser}", "train" if how == CHANNEL else "draw", ""


def _panel(name: str, found: Found, said: Laws) -> Reliability:
    title, kind, _ = _titled(name, found, said)
    bins = reliability(said.test[name], found.truth)
    return Reliability(name, title, kind, tuple(Point(b.stated, _estimate(b.right), b.count) for b in bins))


def _strips(found: Found, said: Laws) -> list[Strip]:
    """For each label the text that the channel got right most surely and the one it got wrong most surely."""
    law, truth, m = said.test[CHANNEL], found.truth, len(found.parts.validation)
    own = log_loss(law, truth)
    short = torch.tensor([len(found.heard.steps[m + i]) <= SHOWN for i in range(len(truth))])
    out: list[Strip] = []
    for k, label in enumerate(found.labels):
        for why, order in (("surest of those it got right", own), ("surest of those it got wrong", -own)):
            wanted = (law.argmax(1) == truth) if order is own else (law.argmax(1) != truth)
            here = torch.nonzero((truth == k) & wanted & short).flatten()
            if len(here):
                i = int(here[order[here].argmin()])
                out.append(_strip(found, said, i, label, why))
    return out


def _strip(found: Found, said: Laws, i: int, label: str, why: str) -> Strip:
    at, towards = len(found.parts.validation) + i, found.labels[-1] if len(found.labels) == 2 else label
    k = found.labels.index(towards)
    nats = log_odds_steps(found.heard.steps[at], found.log_prior, k, said.tau)
    start = float(found.log_prior[k] - torch.log1p(-found.log_prior[k].exp()))
    p = math.exp(float(said.test[CHANNEL][i, k]))
    return Strip(
        found.parts.test.texts[i], label, towards, tuple(found.heard.pieces(at)), tuple(nats.tolist()), start, p, why
    )


def _facts(config: ClassifyConfig, found: Found, said: Laws, rows: Sequence[ClassifierRow]) -> list[str]:
    """Sentences about what was done and found."""
    parts, heard = found.parts, found.heard
    shares = ", ".join(
        f"{label} {100 * math.exp(p):.0f} %" for label, p in zip(found.labels, found.log_prior.tolist(), strict=True)
    )
    out = [
        *found.remarks,
        f"{len(parts.train):,} texts to train on ({shares}), {len(parts.validation)} for validation, "
        f"{len(parts.test)} to test; {parts.left:,} were not needed.",
    ]
    if heard.cut:
        out.append(
            f"{heard.cut} of the {len(heard.steps)} validation and test texts are longer than {heard.longest} tokens: "
            "the language model reads their beginning."
        )
    if len(found.verbalisers) > 1:
        out += [_spread(how, rows) for how in (CHANNEL, "direct")]
    tokens = sum(map(len, heard.steps)) / len(heard.steps)
    out.append(
        f"τ = {said.tau:.3g}: a text of {tokens:.0f} tokens, the mean, is believed as {said.tau * tokens:.1f} "
        "independent ones would be."
    )
    answer = ", ".join(f"{y} {math.exp(p):.3f}" for y, p in zip(found.labels, said.mean.tolist(), strict=True))
    out.append(
        f"Asked directly, the model's mean answer over {len(parts.validation)} validation texts, their labels unseen, "
        f"is {answer}: the correction divides by it."
    )
    out.append(
        f"Bag of words: {found.bag.units}, single and in pairs; C = {found.bag.strength:g} by validation log-loss."
    )
    if found.head is not None:
        out.append(
            f"Head: logistic regression on {found.head.embedder}, s = {found.head.spread:g} nats by its evidence, "
            f"{number(found.head.log_evidence, 1)} nats for {len(parts.train):,} labels."
        )
    title = _titled(said.chosen, found, said)[0]
    out.append(f"--text and --file answer by: {title}, the least log-loss on validation of those that the run keeps.")
    return out


def _spread(how: str, rows: Sequence[ClassifierRow]) -> str:
    """How much the wording matters."""
    named = [row for row in rows if row.title.startswith(f"{how}: ")]
    right = [row.accuracy.value for row in named]
    worst, best = min(named, key=lambda row: row.accuracy.value), max(named, key=lambda row: row.accuracy.value)
    sd = float(torch.tensor(right, dtype=torch.float64).std())
    return (
        f"Over {len(named)} verbalisers the accuracy of {how} runs from {100 * min(right):.0f} % "
        f"({worst.title.partition(': ')[2]}) to {100 * max(right):.0f} % ({best.title.partition(': ')[2]}), standard "
        f"deviation {100 * sd:.1f} points."
    )
