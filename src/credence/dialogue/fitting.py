"""How strongly a helpdesk may believe its embedder: tau and margin, fitted on questions whose entry is known."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.belief.belief import Belief
from credence.belief.temper import fit_weights, log_loss
from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key
from credence.core.logspace import normalise
from credence.diagnose.intervals import Group, bootstrap_all
from credence.dialogue.helpdesk import NOTHING, SHARPNESS, Helpdesk
from credence.dialogue.knowledge import Knowledge
from credence.dialogue.questions import read_questions

FOLDS = 5
FEWEST = 10
"""Questions that two numbers can be fitted on and judged by."""

Interval = tuple[float, float, float]
"""Value, low and high of a 95 % interval over questions."""


@dataclass(frozen=True)
class Pair:
    """Something a user might say, and the entry that answers it; None where none does."""

    text: str
    entry: str | None


@dataclass(frozen=True)
class Quality:
    """How good a belief was on questions that did not fit it.

    Attributes:
        log_loss: −log p(what was meant), mean in nats, with its interval.
        accuracy: share of questions whose likeliest hypothesis was the right one, with its interval.
        outcomes: how many questions ended how: "answered rightly", "answered wrongly", "asked, with the right one among
            the candidates", "asked in vain", "said rightly that nothing fits", "said wrongly that nothing fits".
    """

    log_loss: Interval
    accuracy: Interval
    outcomes: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class HelpdeskFit:
    """Settings fitted on all questions, and what fitting is worth on questions that it did not see.

    Attributes:
        tau: power of the likelihood.
        margin: summed cosine by which a fitting entry lies above unrelated text.
        pairs: questions used; `none` of them fit no entry.
        none: see pairs.
        before: tau = 1 and margin = 0, the embedder's likelihood as it was trained.
        after: each question judged by settings fitted on the other four fifths.
        gain: log-loss before − after, in nats a question, with its interval over the same questions.
    """

    tau: float
    margin: float
    pairs: int
    none: int
    before: Quality
    after: Quality
    gain: Interval


def read_pairs(path: Path, knowledge: Knowledge) -> list[Pair]:
    """Questions from a CSV file with columns text and entry (empty: nothing fits), and optionally language.

    Raises:
        ConfigError: no such file or column, an entry that the knowledge does not hold, too few questions.
    """
    known = {entry.name for entry in knowledge.entries}
    pairs: list[Pair] = []
    for row in read_questions(path):
        if row.language and row.language != knowledge.language:
            continue
        if row.entry and row.entry not in known:
            raise ConfigError(f"{path}, line {row.line}: no entry {row.entry!r}.{nearest(row.entry, known)}")
        if row.text:
            pairs.append(Pair(row.text, row.entry or None))
    if len(pairs) < FEWEST:
        raise ConfigError(
            f"{path} holds {len(pairs)} questions in {knowledge.language!r}: at least {FEWEST} are needed to fit two "
            "numbers and judge them."
        )
    return pairs


def fit_helpdesk(helpdesk: Helpdesk, pairs: Sequence[Pair], key: Key) -> HelpdeskFit:
    """Fit tau and margin by log-loss, and measure the fit by five-fold cross-validation.

    The log-loss is convex in (tau, tau · margin), so there is one best pair (belief/temper.py). Where no question fits
    nothing, the margin cannot be learnt and stays the helpdesk's own.

    Args:
        helpdesk: with any settings.
        pairs: questions with the entry that answers them.
        key: of the folds and of the bootstrap.

    Cost: one embedding a question. Tested in tests/unit/test_fitting.py.
    """
    scored = _Scored(helpdesk, pairs)
    settings = scored.fit(torch.arange(len(pairs)))
    folds = torch.from_numpy(key.fold("folds").generator().permutation(len(pairs)) % FOLDS)
    log_p = torch.empty(len(pairs), len(helpdesk.knowledge) + 1, dtype=torch.float64)
    for fold in range(FOLDS):
        log_p[folds == fold] = scored.law(*scored.fit(torch.nonzero(folds != fold).flatten()))[folds == fold]
    raw = scored.law(1.0, 0.0)
    before, after = (scored.quality(law, key) for law in (raw, log_p))
    saved = (log_loss(raw, scored.truth) - log_loss(log_p, scored.truth))[:, None]
    none = sum(pair.entry is None for pair in pairs)
    return HelpdeskFit(*settings, len(pairs), none, before, after, _interval(saved, key)[0])


class _Scored:
    """Questions embedded once; laws and fits for any settings."""

    def __init__(self, helpdesk: Helpdesk, pairs: Sequence[Pair]) -> None:
        self.helpdesk = helpdesk
        self.prior = helpdesk.start()
        names = self.prior.hypotheses
        self.truth: Int[Tensor, " N"] = torch.tensor([names.index(pair.entry or NOTHING) for pair in pairs])
        self.above = helpdesk.similarities([pair.text for pair in pairs]) - helpdesk.background

    def fit(self, rows: Int[Tensor, " n"]) -> tuple[float, float]:
        """tau and margin with the least log-loss on these rows."""
        n, k = len(rows), self.above.shape[1]
        features = torch.zeros(n, k + 1, 2, dtype=torch.float64)
        features[:, :k, 0] = SHARPNESS * self.above[rows]
        features[:, k, 1] = SHARPNESS
        own = self.helpdesk.margin
        if bool((self.truth[rows] == k).any()):
            tau, level = fit_weights(features, self.truth[rows], self.prior.log_p, 10.0).tolist()
        else:  # nothing says where "nothing fits" begins: only tau is learnt
            features[:, k, 0] = SHARPNESS * own
            tau, level = float(fit_weights(features[:, :, :1], self.truth[rows], self.prior.log_p, 10.0)[0]), None
        tau = max(tau, 1e-3)
        return tau, own if level is None else level / tau

    def law(self, tau: float, margin: float) -> Float[Tensor, "N H"]:
        """log p(hypothesis | question) in nats."""
        none = torch.full((len(self.above), 1), margin, dtype=torch.float64)
        return normalise(self.prior.log_p + tau * SHARPNESS * torch.cat([self.above, none], 1))

    def quality(self, log_p: Float[Tensor, "N H"], key: Key) -> Quality:
        """Log-loss, accuracy and outcomes of these beliefs."""
        right = (log_p.argmax(1) == self.truth).double()
        loss, accuracy = _interval(torch.stack([log_loss(log_p, self.truth), right], 1), key)
        ends = Counter(self._outcome(row, int(truth)) for row, truth in zip(log_p, self.truth, strict=True))
        return Quality(loss, accuracy, tuple(sorted(ends.items())))

    def _outcome(self, log_p: Float[Tensor, " H"], truth: int) -> str:
        names = self.prior.hypotheses
        act = self.helpdesk.act(Belief(names, log_p, self.prior.log_p, updates=1))
        meant = [entry.name for entry in act.entries].count(names[truth]) == 1
        if act.kind == "answer":
            return "answered rightly" if meant else "answered wrongly"
        if act.kind == "clarify":
            return "asked, with the right one among the candidates" if meant else "asked in vain"
        return f"said {'rightly' if names[truth] == NOTHING else 'wrongly'} that nothing fits"


def _interval(columns: Float[Tensor, "N C"], key: Key) -> list[Interval]:
    """Mean and 95 % interval of each column over its rows."""
    groups: list[Group] = [{"row": row[None]} for row in columns]

    def means(resampled: Sequence[Group]) -> dict[str, float]:
        stacked = torch.cat([group["row"] for group in resampled]).mean(0)
        return {str(c): float(value) for c, value in enumerate(stacked)}

    found = bootstrap_all(means, groups, key.fold("bootstrap"), resamples=400)
    return [found[str(c)] for c in range(columns.shape[1])]
