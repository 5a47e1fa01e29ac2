"""Sentiment of an English text by VADER's lexicon (Hutto & Gilbert 2014): a reward function, and the evidence of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, MissingExtraError
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable
from credence.evidence.reward import Reward


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


def _gloom(prompts: Sequence[Any], completions: Sequence[str]) -> list[float]:
    return [-value for value in vader(prompts, completions)]


@dataclass(frozen=True, eq=False)
class Sentiment(Composable):
    """The mood of an English reply as evidence: sign · compound / β nats, compound from −1 to 1 by VADER's lexicon.

    p* ∝ π0 · exp(sign · compound/β): β = 0.1 makes a delighted reply worth 10 nats more than a neutral one. The nats
    never exceed 1/β, so rejection works without a bound of the user's.

    Args:
        beta: sentiment per nat. Small is strong evidence.
        sign: 1 prefers good moods, -1 bad ones.
        on_prefix: whether half a reply already tells its mood: SMC then steers by it. It never changes the target.
        name: of the reading, which is sign · compound; "vader" or "-vader" by default.
        timeout: seconds after which one look is given up.

    Raises:
        ConfigError: beta or 1/beta not finite and positive, or another sign.
        MissingExtraError: VADER's lexicon is not installed (when it is first read).

    Cost: about 0.1 ms a reply. A text in another language, or with none of the lexicon's words, reads 0.
    Tested in tests/unit/test_sentiment.py and, as any evidence, in tests/contract/test_evidence_laws.py.
    """

    beta: float
    sign: int = 1
    on_prefix: bool = True
    name: str = ""
    timeout: float = 60.0
    _reward: Reward = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise ConfigError(
                f"Sentiment(sign={self.sign}): 1 prefers good moods, -1 bad ones; beta says how strongly."
            )
        if not self.name:
            object.__setattr__(self, "name", "vader" if self.sign > 0 else "-vader")
        fn = vader if self.sign > 0 else _gloom
        reward = Reward(fn, self.beta, self.name, self.on_prefix, self.timeout, bound=1.0)
        object.__setattr__(self, "_reward", reward)

    @property
    def max_log_lik(self) -> float:
        """1/β nats."""
        return self._reward.max_log_lik

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """sign · compound / β in nats."""
        return self._reward.log_lik(prompts, completions)

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """log_lik and readings from one look."""
        return self._reward.measure(prompts, completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The nats of the text so far where `on_prefix`, else 0 until the row has ended."""
        return self._reward.log_twist(prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """sign · compound under its name."""
        return self._reward.readings(prompts, completions)
