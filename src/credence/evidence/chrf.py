"""chrF: how much of a reference translation's character n-grams a translation has; as a reward, and over a corpus.

Popović 2015 (W15-3049), as sacrebleu counts it (chrF2: orders 1 to 6, recall weighs four times, no white space). The
n-grams are sacrebleu's own; the score is formed here, because an interval needs it for thousands of resamples: equal to
sacrebleu's sentence and corpus scores in tests/unit/test_chrf.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from credence.core.errors import MissingExtraError, ShapeError

ORDER = 6
WEIGHT = 4.0
"""β² of chrF2: of recall against precision."""

Counts = NDArray[np.float64]
"""(…, 6, 3): n-grams of the translation, of the reference, of both, for each order."""


def chrf_counts(texts: Sequence[str], references: Sequence[str]) -> Counts:
    """(N, 6, 3) counts. They add up over sentences to those of a corpus.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        ShapeError: not one reference a text.
    """
    if len(texts) != len(references):
        raise ShapeError(f"{len(texts)} texts, {len(references)} references: one each is needed.")
    grams = _grams()
    out = np.zeros((len(texts), ORDER, 3))
    for i, (text, reference) in enumerate(zip(texts, references, strict=True)):
        for n, (own, theirs) in enumerate(zip(grams(text, ORDER), grams(reference, ORDER), strict=True)):
            if theirs:  # an order that the reference is too short for counts for neither side
                both = sum(min(count, theirs[gram]) for gram, count in own.items() if gram in theirs)
                out[i, n] = sum(own.values()), sum(theirs.values()), both
    return out


def _grams() -> Any:  # noqa: ANN401 - a function of an optional package
    try:
        from sacrebleu.metrics.helpers import extract_all_char_ngrams
    except ImportError:
        raise MissingExtraError("chrF needs sacrebleu. Run: pip install 'credence-lm[believe]'") from None
    return extract_all_char_ngrams


def chrf_score(counts: Counts) -> NDArray[np.float64]:
    """(…,) chrF2 of counts, 0 to 100; of summed counts the corpus' score. Orders that one side lacks are left out."""
    own, theirs, both = counts[..., 0], counts[..., 1], counts[..., 2]
    known = (own > 0) & (theirs > 0)
    orders = np.maximum(known.sum(-1), 1)
    precision = np.where(known, both / np.maximum(own, 1), 0.0).sum(-1) / orders
    recall = np.where(known, both / np.maximum(theirs, 1), 0.0).sum(-1) / orders
    whole = WEIGHT * precision + recall
    return np.where(whole > 0, 100 * (1 + WEIGHT) * precision * recall / np.where(whole > 0, whole, 1.0), 0.0)


def chrf(completions: Sequence[str], reference: Sequence[str]) -> list[float]:
    """A reward: each completion's sentence chrF against its column `reference`, as a share, 0 to 1."""
    return [float(x) / 100 for x in chrf_score(chrf_counts(completions, reference))]
