"""The baseline that any classifier of texts must beat: logistic regression on counts of words, or of characters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, MissingExtraError

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Of scikit-learn's C, 1/variance of the weights' prior; the one of least log-loss on validation is taken."""
SPACED = 0.05
"""Share of white space below which a text writes no spaces between words: Chinese has about 0.01, English 0.17."""


@dataclass(frozen=True, eq=False)
class BagOfWords:
    """A fitted baseline.

    Attributes:
        units: "words" or "characters", of which single ones and pairs are counted.
        strength: C.
        size: different units counted.
        counts, model: scikit-learn's parts.
    """

    units: str
    strength: float
    size: int
    counts: Any
    model: Any

    def log_p(self, texts: Sequence[str]) -> Float[Tensor, "N K"]:
        """log p(y | x) in nats."""
        return torch.from_numpy(self.model.predict_log_proba(self.counts.transform(list(texts)))).double()


def fit_bag_of_words(
    texts: Sequence[str], truth: Int[Tensor, " N"], tuning: Sequence[str], tuned: Int[Tensor, " M"]
) -> BagOfWords:
    """Fit on texts, with the prior's strength chosen on others.

    Args:
        texts: to learn from; every label is among them.
        truth: index of each one's label.
        tuning: texts that choose C.
        tuned: index of each one's label.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ConfigError: no text holds a word.

    Cost: six fits, a few seconds for 2,000 texts. Test: tests/unit/test_bag_of_words.py.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError(
            "the bag of words needs scikit-learn. Run: pip install 'credence-lm[believe]'"
        ) from None
    written = "".join(texts)
    spaced = sum(char.isspace() for char in written) >= SPACED * max(1, len(written))
    units = "words" if spaced else "characters"
    kind: dict[str, Any] = {"analyzer": "word", "token_pattern": r"(?u)\b\w+\b"} if spaced else {"analyzer": "char"}
    counter: Any = CountVectorizer(ngram_range=(1, 2), **kind)
    try:
        seen = counter.fit_transform(list(texts))
    except ValueError:
        raise ConfigError("no training text holds a word: there is nothing to count.") from None
    others, best, least = counter.transform(list(tuning)), None, math.inf
    for strength in STRENGTHS:
        model: Any = LogisticRegression(C=strength, max_iter=5000)
        model.fit(seen, truth.numpy())
        law = torch.from_numpy(model.predict_log_proba(others)).double()
        loss = float(-law[torch.arange(len(tuned)), tuned].mean())
        if best is None or loss < least:
            best, least = BagOfWords(units, strength, len(counter.vocabulary_), counter, model), loss
    if best is None:
        raise ConfigError("no strength of the prior was tried.")
    return best
