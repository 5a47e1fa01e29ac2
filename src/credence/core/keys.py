"""Counter-based randomness: a uniform is a pure function of (key, row, step).

So a draw does not depend on how rows are batched, padded, dropped or resumed. The generator is Philox4x32-10
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), checked against its published answers in
tests/unit/test_keys.py.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox4x32-10 on many counters at once.

    Args:
        counter: (N, 4), each entry below 2**32.
        key: two words below 2**32.

    Returns:
        (N, 4) random words below 2**32, held as uint64.
    """
    c0, c1, c2, c3 = (counter[:, i].copy() for i in range(4))
    k0, k1 = key
    for _ in range(10):
        low, high = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (high >> _SHIFT) ^ c1 ^ np.uint64(k0),
            high & _LOW,
            (low >> _SHIFT) ^ c3 ^ np.uint64(k1),
            low & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


@dataclass(frozen=True)
class Key:
    """A seed that can be folded with names and numbers into independent keys.

    The same key gives the same draws on every machine. No function in credence reads a global generator.
    """

    seed: int = 0

    def fold(self, *parts: int | str) -> "Key":
        """Return the key of a named sub-task; `key.fold("train", 3)` never meets `key.fold("eval", 3)`."""
        text = repr((self.seed, *(p if isinstance(p, str) else int(p) for p in parts))).encode()
        return Key(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))

    def uniform(self, rows: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        """One uniform in (0, 1) for each row at this step.

        Args:
            rows: (N,) row numbers, any order, repeats allowed.
            step: the position in the sequence, or any other counter.

        Returns:
            (N,) float64 with 53 random bits, never exactly 0 or 1.
        """
        wide = np.asarray(rows).astype(np.uint64)
        counter = np.empty((wide.size, 4), np.uint64)
        counter[:, 0], counter[:, 1] = wide & _LOW, wide >> _SHIFT
        counter[:, 2], counter[:, 3] = np.uint64(step & 0xFFFFFFFF), np.uint64((step >> 32) & 0xFFFFFFFF)
        words = philox4x32(counter, (self.seed & 0xFFFFFFFF, (self.seed >> 32) & 0xFFFFFFFF))
        bits = (words[:, 0] >> np.uint64(5)) * np.uint64(1 << 26) + (words[:, 1] >> np.uint64(6))
        return (bits.astype(np.float64) + 0.5) / float(1 << 53)

    def generator(self) -> np.random.Generator:
        """A numpy generator for work that has no rows and steps: shuffles, bootstraps, resampling."""
        return np.random.Generator(np.random.Philox(key=self.seed))
