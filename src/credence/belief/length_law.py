"""How long a translation is: a negative binomial whose mean follows the length of what is translated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError

LEAST, MOST, ROUNDS = -3.0, 12.0, 60
"""Ends of log k, and golden sections of that stretch: far below what the figures of any corpus could show."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class LengthLaw:
    """log p(m | l) with mean μ = ratio · (l + 1) and variance μ + μ²/spread, over m = 0, 1, 2 and so on.

    IBM's model 1 leaves p(m | l) as a constant ε; over candidates of different lengths that would be no law at all.

    Attributes:
        ratio: units of one side for each unit of the other (and one for the sentence).
        spread: k; the larger, the nearer to a Poisson law.
    """

    ratio: float
    spread: float

    def log_p(self, length: Int[Tensor, " N"], given: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Nats of a length m given l. Sums to one over m: tests/oracle/test_ibm1.py."""
        m, k = length.double(), torch.tensor(self.spread, dtype=torch.float64)
        mean = self.ratio * (given.double() + 1)
        choose = torch.lgamma(m + k) - torch.lgamma(k) - torch.lgamma(m + 1)
        return choose - k * torch.log1p(mean / k) + m * (mean.log() - (k + mean).log())


def fit_length_law(lengths: Sequence[int], given: Sequence[int]) -> LengthLaw:
    """The ratio of the sums, and the spread of the largest likelihood for it.

    Raises:
        ConfigError: nothing to learn from.
    """
    if not lengths or sum(lengths) == 0:
        raise ConfigError("no unit in any text: the length of a translation cannot be learnt.")
    m, l = torch.tensor(lengths), torch.tensor(given)  # noqa: E741 - the letter of the formula
    ratio = float(m.sum()) / float((l + 1).sum())

    def nats(log_spread: float) -> float:
        return float(LengthLaw(ratio, float(torch.exp(torch.tensor(log_spread)))).log_p(m, l).sum())

    low, high = LEAST, MOST
    for _ in range(ROUNDS):  # the likelihood has one peak in log k
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, b) if nats(a) >= nats(b) else (a, high)
    return LengthLaw(ratio, float(torch.exp(torch.tensor((low + high) / 2))))
