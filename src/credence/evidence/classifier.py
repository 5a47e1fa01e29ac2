"""Sentiment of an English text by VADER's lexicon (Hutto & Gilbert 2014), as a reward function."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from credence.core.errors import MissingExtraError


@cache
def _vader() -> Any:  # noqa: ANN401 - the package has no types
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise MissingExtraError(
            "sentiment needs VADER's lexicon. Run: pip install 'credence-lm[examples]'  (package vaderSentiment)."
        ) from error
    return SentimentIntensityAnalyzer()


def vader(prompts: Sequence[Any], completions: Sequence[str]) -> list[float]:
    """VADER's compound sentiment of each reply, from -1 (bad) to 1 (good). English only."""
    return [float(_vader().polarity_scores(text)["compound"]) for text in completions]
